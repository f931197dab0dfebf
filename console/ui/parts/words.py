"""Sizes, times and counts as people say them."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta

import humanize
import streamlit as st

_JOINERS = "\u200c\u200d"
"""Some scripts and emoji need them between letters."""
_MINUTE = timedelta(minutes=1)
_LINK_MIDDLES = re.compile(r"(?<=http:)(?=//)|(?<=https:)(?=//)|(?<=www)(?=\.)|(?<=@)(?=.)", re.I)


def size(count: float) -> str:
    """Bytes, like "1.6 MB" (1 MB is 1,000,000 bytes)."""
    return str(humanize.naturalsize(count))


def count(number: int | None) -> str:
    """A whole number with separators; a dash where it is not known."""
    return "–" if number is None else f"{number:,}"


def ago(moment: datetime | float) -> str:
    """How long ago a moment (UTC; a datetime or seconds since the epoch) was, like
    "3 minutes ago"; "just now" below a minute, and where two clocks differ."""
    when = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
    passed = datetime.now(UTC) - when
    return "just now" if passed < _MINUTE else f"{span(passed)} ago"


def span(length: timedelta) -> str:
    """A length of time, like "3 days" or "less than a second"."""
    if length < timedelta(seconds=1):
        return "less than a second"
    return str(humanize.naturaldelta(length))


def span_of_days(seconds: float) -> str:
    """A length of time to look back on, like "13 days" or "5 hours"."""
    days = seconds / 86_400
    return f"{days:,.0f} days" if days >= 2 else span(timedelta(seconds=seconds))


def local(moment: datetime | float) -> str:
    """A moment in the time zone of the person's browser, like "Mon 23 Nov 2026, 14:05"."""
    when = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
    zone = st.context.timezone_offset
    if zone is None:
        return f"{when.astimezone(UTC):%a %d %b %Y, %H:%M} UTC"
    return f"{when.astimezone(UTC) - timedelta(minutes=zone):%a %d %b %Y, %H:%M}"


def day(moment: datetime) -> str:
    """The day of a moment in the person's time zone, like "Sunday 22 Nov"; with the year, where
    it is another than this one."""
    there = moment.astimezone(UTC) - timedelta(minutes=st.context.timezone_offset or 0)
    year = f" {there:%Y}" if there.year != datetime.now(UTC).year else ""
    return f"{there:%A} {there.day} {there:%b}{year}"


def plain(text: str) -> str:
    """`text` from outside (a label, a table's name) as one line without a meaning in Markdown.

    Addresses are taken apart by an empty span: what they look like is made a link of otherwise,
    escaped or not.
    """
    return ":small[]".join(map(_escaped, _LINK_MIDDLES.split(" ".join(text.splitlines()))))


def _escaped(text: str) -> str:
    return "".join(_shown(sign) for sign in text)


def _shown(sign: str) -> str:
    """A sign as it may stand in Markdown. One that cannot be seen, and could turn what follows
    around, shows as what it is: not a letter."""
    if unicodedata.category(sign) in ("Cc", "Cf") and sign not in _JOINERS:
        return "\ufffd"
    return f"\\{sign}" if sign in r"\`*_{}[]()#+-.!|~$:<>&" else sign

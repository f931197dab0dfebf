"""How health is judged here: thresholds, what was put aside, what Redis is for."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.findings import forget_reports
from console.ui.parts.session import noted
from console.ui.parts.words import plain
from ops import dialect_of
from ops.checks import redis as redis_checks
from ops.checks.base import Check, Finding
from ops.checks.purpose import Purpose
from ops.health_settings import (
    REDIS,
    Threshold,
    purpose_of,
    put_aside,
    set_purpose,
    set_threshold,
    take_back,
    thresholds_of,
)
from ops.target import Target

_LONGEST_DAYS = 365


def store_name(target: Target, finding_id: str) -> str:
    """Under which name the store keeps what is decided about a finding."""
    return REDIS if finding_id.startswith("redis.") else target.name


def ask_purpose() -> None:
    """Ask once what the Redis is for; afterwards it can be changed."""
    if console().settings.redis_url is None:
        return
    known = purpose_of(console().store)
    place = st.expander("What this Redis is for") if known else st.container(border=True)
    with place:
        st.markdown(
            "**What does the app keep in Redis?** The same figures are normal for one use and a "
            "loss for another."
        )
        choices = list(Purpose)
        chosen = st.radio(
            "What the app keeps in Redis",
            choices,
            index=choices.index(known) if known else None,
            format_func=lambda purpose: purpose.in_words,
            label_visibility="collapsed",
        )
        is_new = chosen is not None and chosen is not known
        if st.button("Keep this answer", disabled=not is_new) and chosen is not None:
            with guarded():
                with noted("setting", detail=f"what Redis is for: {chosen.value}") as who:
                    set_purpose(console().store, chosen, who=who)
                _drawn_anew()


def offer_aside(target: Target, finding: Finding) -> None:
    """The button that puts a finding aside, or lets it count again."""
    if finding.aside is None:
        key = f"aside-{finding.id}"
        if st.button("Put aside …", key=key, icon=":material/snooze:", type="tertiary"):
            _put_aside(target, finding)
    elif st.button("Let it count again", key=f"back-{finding.id}", icon=":material/undo:"):
        with guarded():
            with noted("take-back", target.name, detail=finding.title):
                take_back(console().store, store_name(target, finding.id), finding.id)
            _drawn_anew()


@st.dialog("Put this aside?")
def _put_aside(target: Target, finding: Finding) -> None:
    st.markdown(f"**{plain(finding.sentence)}**")
    st.markdown(
        "It stays on this page, but no longer counts until the day that you choose, unless it "
        "gets worse."
    )
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    day = st.date_input(
        "Until",
        tomorrow + timedelta(days=6),
        min_value=tomorrow,
        max_value=tomorrow + timedelta(days=_LONGEST_DAYS),
    )
    reason = st.text_input("Why it can wait")
    if st.button("Put it aside", type="primary"):
        with guarded():
            with noted("put-aside", target.name, detail=f"{finding.title}: {reason}") as who:
                put_aside(
                    console().store,
                    store_name(target, finding.id),
                    finding,
                    until=_start_of(day),
                    reason=reason,
                    who=who,
                )
            _drawn_anew()


def _start_of(day: date) -> float:
    """The beginning of the day in the person's time zone, in seconds since the epoch."""
    offset = timedelta(minutes=st.context.timezone_offset or 0)
    return (datetime.combine(day, time(), UTC) + offset).timestamp()


def draw_thresholds(target: Target) -> None:
    """Every threshold with its default and source beside; one at a time can be changed."""
    store = console().store
    known = {check.id: check for check in dialect_of(target.engine).checks()}
    found = list(thresholds_of(store, target.name, tuple(known.values())))
    if console().settings.redis_url is not None:
        known |= {check.id: check for check in redis_checks.CHECKS}
        found += thresholds_of(store, REDIS, redis_checks.CHECKS)
    rows = [
        {
            "Question": plain(one.title),
            "Soon from": _figure(one.warning),
            "Now from": _figure(one.critical),
            "Unit": plain(one.unit),
            "Default": f"{_figure(one.default_warning)} / {_figure(one.default_critical)}",
            "Where the default is from": plain(one.source),
        }
        for one in found
    ]
    by_id = {one.id: one for one in found}
    chosen = st.selectbox(
        "Which question",
        list(by_id),
        format_func=lambda id: by_id[id].title + (" (changed)" if by_id[id].is_changed else ""),
    )
    if chosen is not None:
        _edit(target, known[chosen], by_id[chosen])
    st.table(rows, hide_index=True, alt="Every threshold, its default and its source.")
    st.caption("“Own” means: chosen by the makers of this console.")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,g}"


def _edit(target: Target, check: Check, threshold: Threshold) -> None:
    left, right = st.columns(2)
    key = f"threshold-{check.id}"
    warning = left.number_input(
        f"Look soon from ({threshold.unit or 'as it is counted'})",
        value=threshold.warning,
        disabled=threshold.default_warning is None,
        key=f"{key}-warning",
        help=f"Default: {_figure(threshold.default_warning)}",
    )
    critical = right.number_input(
        f"Act now from ({threshold.unit or 'as it is counted'})",
        value=threshold.critical,
        disabled=threshold.default_critical is None,
        key=f"{key}-critical",
        help=f"Default: {_figure(threshold.default_critical)}",
    )
    st.caption(plain(f"Where the default is from: {threshold.source}"))
    with st.container(horizontal=True):
        if st.button("Judge by these", key=f"{key}-set"):
            _set(target, check, warning, critical)
        if st.button("Back to the default", key=f"{key}-back", disabled=not threshold.is_changed):
            _set(target, check, None, None)


def _set(target: Target, check: Check, warning: float | None, critical: float | None) -> None:
    with guarded():
        told = f"{check.title}: soon from {_figure(warning)}, now from {_figure(critical)}"
        with noted("setting", target.name, detail=told) as who:
            set_threshold(
                console().store,
                store_name(target, check.id),
                check,
                warning=None if warning == check.warning else warning,
                critical=None if critical == check.critical else critical,
                who=who,
            )
        _drawn_anew()


def _drawn_anew() -> None:
    forget_reports()
    st.rerun()

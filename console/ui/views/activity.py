"""Activity: who did what, when, from where."""

from __future__ import annotations

import time
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.session import current_target
from console.ui.parts.words import local, plain
from ops.activity import Entry, Filter, Outcome, choices, count, entries
from ops.activity.words import sentence, title_of

_SHOWN = 50
_PERIODS = {"At any time": None, "In the last 24 hours": 1, "In the last 7 days": 7}
_PERIODS |= {"In the last 30 days": 30, "In the last year": 365}
_OUTCOMES = {
    Outcome.DONE: "done",
    Outcome.FAILED: "failed",
    Outcome.CANCELLED: "stopped",
    Outcome.INTERRUPTED: "interrupted",
}


def draw() -> None:
    """The page."""
    current_target()
    st.title("Activity")
    st.caption(
        "Everything that changed something or handed data out. Lines are only added: nobody can "
        f"change them. They are kept for {console().settings.activity_days} days."
    )
    with guarded():
        wanted = _filter()
        number = count(console(), wanted)
        if not number:
            st.info("Nothing was found. Choose less narrowly above.")
            return
        shown = st.session_state.get("shown_activity", _SHOWN)
        _table(entries(console(), wanted, limit=shown))
        st.html(_export_link(wanted))
        if number > shown and st.button(f"Show older ({number - shown:,} more)"):
            st.session_state["shown_activity"] = shown + 4 * _SHOWN
            st.rerun()


def _filter() -> Filter:
    known = choices(console())
    text = st.text_input("Search", placeholder="words that must all be in the line")
    columns = st.expander("Choose more narrowly").columns(5)
    days = _PERIODS[columns[0].selectbox("When", list(_PERIODS))]
    who = columns[1].selectbox("Who", ["", *known["who"]], format_func=_or_all)
    what = columns[2].selectbox("What", ["", *known["what"]], format_func=_kind)
    target = columns[3].selectbox("Database", ["", *known["target"]], format_func=_or_all)
    outcome = columns[4].selectbox("Outcome", ["", *_OUTCOMES], format_func=_outcome)
    since = None if days is None else time.time() - days * 86_400
    return Filter(who, what, target, outcome, since=since, text=text)


def _or_all(name: str) -> str:
    return name or "All"


def _kind(what: str) -> str:
    return title_of(what) if what else "All"


def _outcome(outcome: str) -> str:
    return _OUTCOMES[Outcome(outcome)].capitalize() if outcome else "All"


def _table(found: list[Entry]) -> None:
    rows = [{"When": plain(local(entry.at)), "What": _what(entry)} for entry in found]
    st.table(pd.DataFrame(rows), hide_index=True, alt="Who did what, newest first.")


def _what(entry: Entry) -> str:
    """Who did what, from where; a sign where it did not go well, and what else is known."""
    bad = entry.outcome in (Outcome.FAILED, Outcome.INTERRUPTED)
    sign = ":material/error: " if bad else ""
    who, where = plain(entry.who), plain(entry.where)
    more = f": {plain(entry.detail)}" if entry.detail else ""
    return f"{sign}**{who}** ({where}) {plain(sentence(entry, local))}{more}"


def _export_link(wanted: Filter) -> str:
    asked = {name: value for name, value in vars(wanted).items() if value}
    return (
        f'<a href="/api/activity.csv?{urlencode(asked)}" download style="font-weight:600">'
        "⬇ Save as a file for spreadsheets (CSV)</a>"
    )


draw()

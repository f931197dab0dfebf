"""How figures went over time, and what is to come."""

from __future__ import annotations

import time

import streamlit as st

from console.context import console
from console.ui.parts.charts import count_trend, size_trend
from console.ui.parts.words import plain, size, span_of_days
from ops.outlook import findings_about_disks
from ops.samples import (
    BACKUP_SIZE,
    FREE_DISK,
    JOB_SECONDS,
    SESSIONS,
    SIZE,
    TABLE_ROWS,
    TABLE_SIZE,
    names_of,
    samples_of,
)
from ops.target import Target
from ops.trends import DAY, change

_ENOUGH = 3
_PERIODS = {"2 days": 2, "30 days": 30, "1 year": 365, "All": 3650}
_DATABASE, _FREE, _BACKUPS = "The whole database", "Free on its disk", "Its backups"
_DURATION = "How long a backup takes"


def draw_outlook(target: Target) -> None:
    """The size of the last 30 days, and when the disk will be full."""
    samples = samples_of(console().store, target.name, SIZE, since=time.time() - 30 * DAY)
    if len(samples) < _ENOUGH:
        return
    st.subheader("Size over time")
    size_trend(samples)
    told = [
        _grown(samples),
        *(found.sentence for found in findings_about_disks(console(), target)[:1]),
    ]
    st.caption(plain(" ".join(told)))


def draw_growth(target: Target) -> None:
    """The database, its disk, its backups or one of its tables over time, as a person chooses:
    sizes, and rows of a table."""
    store, tables = console().store, names_of(console().store, target.name, TABLE_SIZE)
    known = {_DATABASE: SIZE, _FREE: FREE_DISK, _BACKUPS: BACKUP_SIZE}
    known[_DURATION] = f"{JOB_SECONDS}backup"
    st.subheader("Over time")
    left, right = st.columns([2, 1])
    what = left.selectbox("What", [*known, *tables])
    days = _PERIODS[right.selectbox("How long", list(_PERIODS), index=1)]
    since = time.time() - days * DAY
    samples = samples_of(store, target.name, known.get(what, TABLE_SIZE + what), since=since)
    if len(samples) < _ENOUGH:
        st.caption("It is too early to draw this: there are not three figures yet.")
        return
    if what == _DURATION:
        count_trend(samples, "Seconds")
        st.caption("Seconds that each backup took.")
        return
    size_trend(samples, what)
    rows = [] if what in known else samples_of(store, target.name, TABLE_ROWS + what, since=since)
    if len(rows) >= _ENOUGH:
        count_trend(rows, "Rows")
        st.caption("Above its size with its indexes, below its rows.")
    st.caption(plain(_grown(samples)))


def draw_connections(target: Target) -> None:
    """How many connections there were."""
    samples = samples_of(console().store, target.name, SESSIONS, since=time.time() - 30 * DAY)
    if len(samples) < _ENOUGH:
        return
    st.subheader("Over the last 30 days")
    count_trend(samples, "Connections")
    highest = max(value for _, value in samples)
    st.caption(f"At most {highest:,.0f} were taken at once. Looked at every 15 minutes.")


def _grown(samples: list[tuple[float, float]]) -> str:
    """By how much it grew or shrank, and in which time."""
    difference = change(samples, 0) or 0.0
    passed = span_of_days(samples[-1][0] - samples[0][0])
    if not difference:
        return f"The same as {passed} ago."
    return f"{size(abs(difference))} {'more' if difference > 0 else 'less'} than {passed} ago."

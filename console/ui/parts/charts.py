"""The console's charts. Each says in words what it shows, for those who cannot see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import altair as alt
import pandas as pd
import streamlit as st

from console.ui.parts.words import size
from ops.dialects.base import RelationSize

_BARS = 15
_BYTES_LABEL = (
    "datum.value >= 1e9 ? format(datum.value / 1e9, '.1~f') + ' GB' : "
    "datum.value >= 1e6 ? format(datum.value / 1e6, '.1~f') + ' MB' : "
    "datum.value >= 1e3 ? format(datum.value / 1e3, '.1~f') + ' kB' : datum.value + ' B'"
)


def size_bars(relations: Sequence[RelationSize]) -> None:
    """Horizontal bars of the largest tables and indexes."""
    shown = list(relations)[:_BARS]
    frame = pd.DataFrame(
        {
            "Name": [relation.name for relation in shown],
            "Kind": [relation.kind.capitalize() for relation in shown],
            "Bytes": [relation.size_bytes for relation in shown],
            "Size": [size(relation.size_bytes) for relation in shown],
        }
    )
    axis = alt.Axis(labelExpr=_BYTES_LABEL, title=None, tickCount=4)
    chart = (
        alt.Chart(frame)
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            x=alt.X("Bytes:Q", axis=axis),
            y=alt.Y("Name:N", sort="-x", title=None, axis=alt.Axis(labelLimit=180)),
            color=alt.Color(
                "Kind:N", title=None, legend=alt.Legend(orient="top"), sort=["Table", "Index"]
            ),
            tooltip=["Name", "Kind", "Size"],
        )
        .properties(height=max(120, 28 * len(shown)))
    )
    told = ", ".join(f"{relation.name} {size(relation.size_bytes)}" for relation in shown)
    st.altair_chart(chart, alt=f"Sizes of tables and indexes, largest first: {told}")


def size_trend(samples: Sequence[tuple[float, float]], what: str = "Size") -> None:
    """Bytes over time, from samples of (seconds since the epoch, bytes)."""
    axis = alt.Axis(labelExpr=_BYTES_LABEL, title=None, tickCount=3)
    _trend(samples, what, axis, size)


def count_trend(samples: Sequence[tuple[float, float]], what: str) -> None:
    """Numbers over time, from samples of (seconds since the epoch, number)."""
    axis = alt.Axis(title=None, tickCount=3, tickMinStep=1, format=",d")
    _trend(samples, what, axis, lambda number: f"{number:,.0f}")


def _trend(
    samples: Sequence[tuple[float, float]],
    what: str,
    axis: alt.Axis,
    say: Callable[[float], str],
) -> None:
    frame = pd.DataFrame(
        {
            "Time": [datetime.fromtimestamp(taken, UTC) for taken, _ in samples],
            "Value": [value for _, value in samples],
            "Said": [say(value) for _, value in samples],
        }
    )
    chart = (
        alt.Chart(frame)
        .mark_area(line=True, opacity=0.3)
        .encode(
            x=alt.X("Time:T", title=None, axis=alt.Axis(labelOverlap=True, tickCount=5)),
            y=alt.Y("Value:Q", axis=axis),
            tooltip=["Time:T", alt.Tooltip("Said:N", title=what)],
        )
        .properties(height=180)
    )
    values = [value for _, value in samples]
    told = f"from {say(values[0])} to {say(values[-1])}"
    ends = f"at least {say(min(values))}, at most {say(max(values))}"
    st.altair_chart(chart, alt=f"{what} over time: {told}; {ends}.")


def change_bars(changes: Sequence[tuple[str, int, int, int]]) -> None:
    """For each table (name, rows that go, come back, change): one bar in three parts."""
    shown = sorted(changes, key=lambda change: sum(change[1:]), reverse=True)[:_BARS]
    kinds = ("Go", "Come back", "Change back")
    frame = pd.DataFrame(
        [
            {"Table": name, "Rows": rows, "What": kind}
            for name, *numbers in shown
            for kind, rows in zip(kinds, numbers, strict=True)
            if rows
        ]
    )
    colours = alt.Scale(domain=list(kinds), range=["#d1495b", "#2a9d6f", "#4c8dd6"])
    chart = (
        alt.Chart(frame)
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            x=alt.X("Rows:Q", title="Rows", axis=alt.Axis(tickMinStep=1, tickCount=4)),
            y=alt.Y("Table:N", sort="-x", title=None, axis=alt.Axis(labelLimit=180)),
            color=alt.Color("What:N", title=None, scale=colours, legend=alt.Legend(orient="top")),
            tooltip=["Table", "What", "Rows"],
        )
        .properties(height=110 + 32 * len(shown))
    )
    told = "; ".join(
        f"{name}: {lost:,} go, {back:,} come back, {changed:,} change"
        for name, lost, back, changed in shown
    )
    st.altair_chart(chart, alt=f"Rows that a restore changes in each table. {told}")

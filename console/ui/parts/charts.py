"""The console's charts. Each says in words what it shows, for those who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
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


def size_trend(samples: Sequence[tuple[float, int]]) -> None:
    """The database's size over time, from samples of (seconds since the epoch, bytes)."""
    frame = pd.DataFrame(
        {
            "Time": [datetime.fromtimestamp(taken, UTC) for taken, _ in samples],
            "Bytes": [count for _, count in samples],
        }
    )
    axis = alt.Axis(labelExpr=_BYTES_LABEL, title=None, tickCount=3)
    chart = (
        alt.Chart(frame)
        .mark_area(line=True, opacity=0.3)
        .encode(x=alt.X("Time:T", title=None), y=alt.Y("Bytes:Q", axis=axis))
        .properties(height=180)
    )
    first, last = samples[0][1], samples[-1][1]
    st.altair_chart(chart, alt=f"Size over time: from {size(first)} to {size(last)}.")


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

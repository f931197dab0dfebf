"""Size: what takes the room."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from console.context import console
from console.ui.parts.charts import size_bars, size_trend
from console.ui.parts.errors import guarded
from console.ui.parts.heading import heading
from console.ui.parts.session import current_target
from console.ui.parts.words import plain, size
from ops import dialect_of
from ops.dialects.base import RelationSize, SizeReport
from ops.samples import size_samples

_EXACT = "size_exact"


def draw() -> None:
    """The page."""
    target = current_target()
    heading("Size", target)
    with guarded():
        exact = st.session_state.pop(_EXACT, False)
        report = dialect_of(target.engine).sizes(target.engine, exact=exact)
        _totals(report)
        if report.unmeasured:
            st.caption(report.unmeasured)
            if st.button("Measure exactly", icon=":material/straighten:"):
                st.session_state[_EXACT] = True
                st.rerun()
        if report.relations:
            st.markdown(_in_words(report))
            size_bars(report.relations)
            _table(report)
        samples = size_samples(console().store, target.name)
        if len(samples) > 1:
            st.subheader("Over time")
            size_trend(samples)


def _totals(report: SizeReport) -> None:
    left, right = st.columns(2)
    left.metric("Whole database", size(report.total_bytes), border=True)
    if report.free_bytes is not None:
        right.metric(
            "Empty space inside the file",
            size(report.free_bytes),
            border=True,
            help="Left by deletions; new data fills it. Harmless.",
        )


def _in_words(report: SizeReport) -> str:
    largest = report.relations[0]
    whole = sum(relation.size_bytes for relation in report.relations) or 1
    share = largest.size_bytes / whole
    return (
        f"The largest is the {largest.kind} **{plain(largest.name)}** with "
        f"{size(largest.size_bytes)}, {share:.0%} of all tables and indexes."
    )


def _table(report: SizeReport) -> None:
    frame = pd.DataFrame([_row(relation) for relation in report.relations])
    st.dataframe(
        frame,
        hide_index=True,
        column_config={"Bytes": st.column_config.NumberColumn("Size", format="bytes")},
        alt="Every table and index with its size and rows, largest first.",
    )


def _row(relation: RelationSize) -> dict[str, object]:
    rows = "" if relation.rows is None else f"{relation.rows:,}"
    about = "" if relation.rows_exact or not rows else "about "
    return {
        "Name": relation.name,
        "Kind": relation.kind,
        "Belongs to": relation.table if relation.kind == "index" else "",
        "Bytes": relation.size_bytes,
        "Rows": about + rows,
    }


draw()

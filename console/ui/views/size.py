"""Size: what takes the room."""

from __future__ import annotations

import time

import pandas as pd
import streamlit as st

from console.context import console
from console.ui.parts.charts import size_bars
from console.ui.parts.errors import guarded
from console.ui.parts.heading import heading
from console.ui.parts.session import current_target
from console.ui.parts.trends import draw_growth
from console.ui.parts.words import plain, size
from ops import dialect_of
from ops.dialects.base import RelationSize, SizeReport
from ops.samples import TABLE_SIZE, changes_of
from ops.target import Target
from ops.trends import DAY

_EXACT = "size_exact"
_GROWTH_DAYS = 30


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
            _table(target, report)
        draw_growth(target)


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
    share = min(1.0, largest.size_bytes / max(1, report.total_bytes))  # an estimate can be more
    told = f"{share:.0%}" if share >= 0.01 else "less than 1%"
    return (
        f"The largest is the {largest.kind} **{plain(largest.name)}** with "
        f"{size(largest.size_bytes)}, {told} of the whole database."
    )


def _table(target: Target, report: SizeReport) -> None:
    since = time.time() - _GROWTH_DAYS * DAY
    grown = changes_of(console().store, target.name, TABLE_SIZE, since)
    frame = pd.DataFrame([_row(relation, grown) for relation in report.relations])
    st.dataframe(
        frame,
        hide_index=True,
        column_config={"Bytes": st.column_config.NumberColumn("Size", format="bytes")},
        alt="Every table and index with its size, rows and growth, largest first.",
    )
    if report.is_cut_off:
        st.caption(f"These are the {len(report.relations):,} largest; there may be more.")
    if grown:
        st.caption("The growth of a table is that of its indexes too.")


def _row(relation: RelationSize, grown: dict[str, tuple[float, float]]) -> dict[str, object]:
    rows = "" if relation.rows is None else f"{relation.rows:,}"
    about = "" if relation.rows_exact or not rows else "about "
    return {
        "Name": relation.name,
        "Kind": relation.kind,
        "Belongs to": relation.table if relation.kind == "index" else "",
        "Bytes": relation.size_bytes,
        "Rows": about + rows,
        f"Growth in {_GROWTH_DAYS} days": _growth(*grown.get(relation.name, (0.0, 0.0))),
    }


def _growth(before: float, now: float) -> str:
    """By how much it grew, or shrank."""
    sign = "+" if now > before else "-"
    return f"{sign}{size(abs(now - before))}" if now != before else ""


draw()

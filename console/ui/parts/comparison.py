"""What a restore would change, row by row, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from console.context import console
from console.ui.parts.charts import change_bars
from console.ui.parts.words import ago, count, plain
from ops import jobs
from ops.jobs import State
from ops.target import Target


def draw_comparison(target: Target, archive: Path) -> bool:
    """The newest comparison with this archive; False where there is none."""
    done = [
        job
        for job in jobs.recent(console(), target.name, limit=20)
        if job.kind == "compare" and job.state is State.DONE and _is_of(job.params, archive)
    ]
    if not done or done[0].result is None:
        return False
    _draw(done[0].result)
    return True


def _is_of(params: Mapping[str, Any], archive: Path) -> bool:
    return str(params.get("archive")) == str(archive)


def _draw(result: Mapping[str, Any]) -> None:
    when = ago(datetime.fromisoformat(result["compared_at"]))
    changed = [table for table in result["tables"] if _differs(table)]
    st.markdown(f"**Every row was compared {when}.** {plain(_in_words(changed))}")
    if not changed:
        return
    with_rows = [t for t in changed if t["lost"] or t["back"] or t["changed"]]
    if with_rows:
        change_bars([(t["name"], t["lost"], t["back"], t["changed"]) for t in with_rows])
    frame = pd.DataFrame([_row(table) for table in changed])
    st.dataframe(frame, hide_index=True, alt="What a restore changes in each table.")


def _differs(table: Mapping[str, Any]) -> bool:
    columns = ("columns_lost", "columns_back", "columns_retyped")
    rows = any(table[what] for what in ("lost", "back", "changed", *columns))
    return rows or not (table["exists_now"] and table["exists_after"])


def _in_words(changed: list[Mapping[str, Any]]) -> str:
    if not changed:
        return (
            "Every table has the same columns and the same rows in the backup as it has now. "
            "Other things, such as views, were not compared."
        )
    lost, back, other = (sum(t[what] for t in changed) for what in ("lost", "back", "changed"))
    return (
        f"A restore takes away {count(lost)} rows that are not in the backup, brings back "
        f"{count(back)}, and changes {count(other)} to what they were."
    )


def _row(table: Mapping[str, Any]) -> dict[str, str]:
    effects = [f"loses column {c}" for c in table["columns_lost"]]
    effects += [f"gets column {c} back" for c in table["columns_back"]]
    effects += [f"column {c} gets its former type" for c in table["columns_retyped"]]
    if not table["exists_after"]:
        effects = ["disappears"]
    if not table["exists_now"]:
        effects = ["comes back"]
    return {
        "Table": table["name"],
        "Rows that go": count(table["lost"]),
        "Rows that come back": count(table["back"]),
        "Rows that change": count(table["changed"]),
        "The table itself": ", ".join(effects) or "stays",
    }

"""What came of a test restore, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from console.ui.parts.errors import show_error
from console.ui.parts.words import plain
from ops.checks.words import duration, many


def draw_trial(result: Mapping[str, Any], when: str) -> None:
    """The `result` of a test restore that ended `when`, as `VerifyResult.as_dict` has it."""
    name = Path(result["archive"]).name
    if result["ok"]:
        said = f"**The test restore of {plain(name)} passed {when}.** {plain(_passed(result))}"
        st.success(said, icon=":material/verified:")
        return
    show_error(
        {
            "error": f"The backup {name} could not be brought back. {result['problem']} "
            "Your database was not touched.",
            "hint": "Do not rely on this backup: make a new one, and test that.",
            "detail": result["detail"] or "",
        }
    )


def _passed(result: Mapping[str, Any]) -> str:
    tables, took = result["comparison"], duration(result["seconds"])
    thrown_away = f"It took {took}, and the copy was thrown away again."
    if not result["has_proof"]:
        return f"The backup came back, but holds nothing to compare it with. {thrown_away}"
    rows = many(sum(table["found"] for table in tables), "row")
    content = bool(tables) and all(table["content"] for table in tables)
    values = ", and every value is as it was saved" if content else ""
    return (
        f"{many(len(tables), 'table')} came back with exactly their {rows}{values}. {thrown_away}"
    )

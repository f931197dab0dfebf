"""What came of a fix: whether it helped, and what it said of its own work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from console.ui.parts.words import plain


def draw_repair(result: Mapping[str, Any], when: str) -> None:
    """The outcome of a job of the kind "fix", `when` it ended in words."""
    told = plain(" ".join(result.get("told", ())))
    title, finding = plain(str(result.get("title", "The fix"))), result.get("finding")
    if result.get("helped"):
        st.success(f"**It helped.** {title}, {when}: {told}", icon=":material/check_circle:")
    elif finding is None:
        st.success(f"**Done.** {title}, {when}: {told}", icon=":material/check_circle:")
    else:
        st.warning(
            f"**It was done, but it did not help yet.** {title}, {when}: {told} "
            f"Looking again found: {plain(finding['sentence'])}",
            icon=":material/warning:",
        )

"""Health: what is wrong, how urgent, why it matters, what to do."""

from __future__ import annotations

from collections import Counter

import streamlit as st

from console.ui.parts.errors import guarded
from console.ui.parts.findings import (
    database_report,
    draw_finding,
    findings_about_backups,
    findings_about_messages,
    findings_ahead,
    is_quiet,
    redis_report,
    sign_of,
)
from console.ui.parts.heading import heading
from console.ui.parts.session import current_target
from ops.checks.base import URGENCY, Finding


def draw() -> None:
    """The page."""
    target = current_target()
    heading("Health", target)
    with guarded():
        report = database_report(target.name)
        redis = redis_report()
        groups = [("Database", list(report.findings)), ("Backups", findings_about_backups(target))]
        groups.append(("What is to come", findings_ahead(target)))
        groups.append(("Messages", findings_about_messages()))
        if redis is not None:
            groups.append(("Redis", list(redis.findings)))
        _summary([finding for _, found in groups for finding in found])
        for title, found in groups:
            if found:
                _group(title, found)
        with st.expander("All figures of this report"):
            st.json({"database": report.as_dict(), "redis": redis and redis.as_dict()}, expanded=1)
    if st.button("Look again", icon=":material/refresh:"):
        st.cache_data.clear()
        st.rerun()


def _summary(found: list[Finding]) -> None:
    signs = Counter(sign_of(finding) for finding in sorted(found, key=_order))
    with st.container(horizontal=True):
        for (icon, colour, urgency), number in signs.items():
            st.badge(f"{number} × {urgency}", icon=icon, color=colour)  # type: ignore[arg-type]


def _order(finding: Finding) -> tuple[int, bool]:
    return URGENCY[finding.level], finding.looked_at


def _group(title: str, found: list[Finding]) -> None:
    """What needs a person stands open; what is fine is one click deeper."""
    st.subheader(title)
    quiet = [finding for finding in found if is_quiet(finding)]
    loud = [finding for finding in found if finding not in quiet]
    for finding in sorted(loud, key=_order):
        draw_finding(finding)
    if not loud:
        st.markdown(":material/check_circle: Nothing here needs you.")
    if quiet:
        with st.expander(f"Looked at and fine, or just good to know ({len(quiet)})"):
            for finding in quiet:
                draw_finding(finding)


draw()

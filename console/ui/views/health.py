"""Health: what is wrong, how urgent, why it matters, what to do."""

from __future__ import annotations

import streamlit as st

from console.ui.parts.errors import guarded
from console.ui.parts.findings import (
    SIGNS,
    database_report,
    draw_finding,
    findings_about_backups,
    redis_report,
)
from console.ui.parts.session import current_target
from ops.checks.base import URGENCY, Finding, Level


def draw() -> None:
    """The page."""
    target = current_target()
    st.title("Health")
    with guarded():
        report = database_report(target.name)
        redis = redis_report()
        groups = [("Database", list(report.findings)), ("Backups", findings_about_backups(target))]
        if redis is not None:
            groups.append(("Redis", list(redis.findings)))
        _summary([finding for _, found in groups for finding in found])
        for title, found in groups:
            _group(title, found)
        with st.expander("All figures of this report"):
            st.json({"database": report.as_dict(), "redis": redis and redis.as_dict()}, expanded=1)
    if st.button("Look again", icon=":material/refresh:"):
        st.cache_data.clear()
        st.rerun()


def _summary(found: list[Finding]) -> None:
    levels = [finding.level for finding in found]
    with st.container(horizontal=True):
        for level in sorted(URGENCY, key=URGENCY.__getitem__):
            number = levels.count(level)
            icon, colour, urgency = SIGNS[level]
            if number:
                st.badge(f"{number} × {urgency}", icon=icon, color=colour)  # type: ignore[arg-type]


def _group(title: str, found: list[Finding]) -> None:
    """What needs a person stands open; what is fine is one click deeper."""
    st.subheader(title)
    quiet = [finding for finding in found if finding.level in (Level.GOOD, Level.INFO)]
    loud = [finding for finding in found if finding not in quiet]
    for finding in sorted(loud, key=lambda f: URGENCY[f.level]):
        draw_finding(finding)
    if not loud:
        st.markdown(":material/check_circle: Nothing here needs you.")
    if quiet:
        with st.expander(f"Looked at and fine, or just good to know ({len(quiet)})"):
            for finding in quiet:
                draw_finding(finding)


draw()

"""Findings of a health report, in words, urgent ones first."""

from __future__ import annotations

import streamlit as st

from console.context import console
from console.ui.parts.words import plain
from ops import get_health_report, get_redis_report
from ops.checks.base import Finding, HealthReport, Level
from ops.standing import alerts_of, backups_of, outlook_of
from ops.target import Target

SIGNS = {
    Level.NOW: (":material/error:", "red", "Act now"),
    Level.SOON: (":material/warning:", "orange", "Look at this soon"),
    Level.UNKNOWN: (":material/help:", "gray", "Could not check"),
    Level.INFO: (":material/info:", "blue", "Good to know"),
    Level.GOOD: (":material/check_circle:", "green", "Fine"),
}

_LEFT_OUT = (":material/visibility_off:", "gray", "Not looked at")


@st.cache_data(ttl=10, show_spinner=False)
def database_report(target_name: str) -> HealthReport:
    """The report of one database, at most ten seconds old."""
    return get_health_report(console().target(target_name).engine)


@st.cache_data(ttl=10, show_spinner=False)
def redis_report() -> HealthReport | None:
    """The report of Redis, at most ten seconds old; None where none is set."""
    url = console().settings.redis_url
    return None if url is None else get_redis_report(url.get_secret_value())


def findings_about_backups(target: Target) -> list[Finding]:
    """What there is to say about the kept archives."""
    return backups_of(console(), target)


def findings_ahead(target: Target) -> list[Finding]:
    """What there is to say about the disks' future."""
    return outlook_of(console(), target)


def findings_about_messages() -> list[Finding]:
    """Whether anybody is told when something breaks."""
    return alerts_of(console())


def sign_of(finding: Finding) -> tuple[str, str, str]:
    """Icon, colour and word for how urgent a finding is."""
    return SIGNS[finding.level] if finding.looked_at else _LEFT_OUT


def is_quiet(finding: Finding) -> bool:
    """Whether it was looked at and asks for nothing."""
    return finding.looked_at and finding.level in (Level.GOOD, Level.INFO)


def draw_finding(finding: Finding) -> None:
    """One finding: how urgent, what, why it matters, what to do; the figures in a fold."""
    icon, colour, urgency = sign_of(finding)
    with st.container(border=True):
        st.markdown(f"{icon} :{colour}[**{urgency}**] · {plain(finding.title)}")
        st.markdown(f"**{plain(finding.sentence)}**")
        if finding.level in (Level.GOOD, Level.INFO) and not finding.fix:
            return
        if finding.why:
            st.markdown(f"**Why it matters:** {plain(finding.why)}")
        if finding.fix:
            st.markdown(f"**What to do:** {plain(finding.fix)}")
        if finding.technical:
            with st.expander("Technical details"):
                st.code(finding.technical, language=None, wrap_lines=True)

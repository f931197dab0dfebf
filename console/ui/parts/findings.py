"""Findings of a health report, in words, urgent ones first."""

from __future__ import annotations

import streamlit as st

from console.context import console
from console.ui.parts.words import ago, local, plain
from ops import jobs
from ops.checks.base import Finding, HealthReport, Level
from ops.checkup import Checkup, backups_health_of, outlook_health_of
from ops.health import health_of, redis_health_of
from ops.target import Target

SIGNS = {
    Level.NOW: (":material/error:", "red", "Act now"),
    Level.SOON: (":material/warning:", "orange", "Look at this soon"),
    Level.UNKNOWN: (":material/help:", "gray", "Could not check"),
    Level.INFO: (":material/info:", "blue", "Good to know"),
    Level.GOOD: (":material/check_circle:", "green", "Fine"),
}

_LEFT_OUT = (":material/visibility_off:", "gray", "Not looked at")


def checkup(target: Target) -> Checkup:
    """All there is to say about the target, at most ten seconds old and newer than its newest
    job."""
    return Checkup(
        _database_report(target.name, _newest_job(target.name)),
        backups_health_of(console(), target.name),
        outlook_health_of(console(), target.name),
        redis_report(),
    )


def redis_report() -> HealthReport | None:
    """The report of Redis, at most ten seconds old and newer than the newest job; None where
    none is set."""
    return _redis_report(_newest_job(None))


def forget_reports() -> None:
    """Look anew the next time: somebody has decided something about health."""
    _database_report.clear()
    _redis_report.clear()


@st.cache_data(ttl=10, show_spinner=False)
def _database_report(target_name: str, after: str) -> HealthReport:
    return health_of(console(), target_name)


@st.cache_data(ttl=10, show_spinner=False)
def _redis_report(after: str) -> HealthReport | None:
    return redis_health_of(console())


def _newest_job(target_name: str | None) -> str:
    """What a job did is seen as soon as it has ended."""
    newest = jobs.recent(console(), target_name, limit=1)
    return f"{newest[0].id} {newest[0].state}" if newest else ""


def sign_of(finding: Finding) -> tuple[str, str, str]:
    """Icon, colour and word for how urgent a finding is."""
    return SIGNS[finding.level] if finding.looked_at else _LEFT_OUT


def is_quiet(finding: Finding) -> bool:
    """Whether it was looked at and asks for nothing."""
    return finding.looked_at and finding.level in (Level.GOOD, Level.INFO)


def draw_words(finding: Finding, about: str = "") -> None:
    """One finding in words: how urgent and since when, what, why it matters, what to do."""
    icon, colour, urgency = sign_of(finding)
    since = f" · seen first {ago(finding.since)}" if finding.since and not is_quiet(finding) else ""
    looked = f" · last looked at {ago(finding.checked_at)}" if finding.checked_at else ""
    part = f"{about} · " if about else ""
    st.markdown(f"{icon} :{colour}[**{urgency}**] · {part}{plain(finding.title)}{since}{looked}")
    st.markdown(f"**{plain(finding.sentence)}**")
    if finding.aside is not None:
        note = finding.aside
        st.caption(
            f"Put aside until {plain(local(note.until))} by {plain(note.who)}: {plain(note.reason)}"
        )
    if finding.level in (Level.GOOD, Level.INFO) and not finding.fix:
        return
    if finding.why:
        st.markdown(f"**Why it matters:** {plain(finding.why)}")
    if finding.fix:
        st.markdown(f"**What to do:** {plain(finding.fix)}")


def draw_details(finding: Finding) -> None:
    """The figures and the rule, folded."""
    if finding.technical:
        with st.expander("Technical details"):
            st.code(finding.technical, language=None, wrap_lines=True)


def draw_finding(finding: Finding) -> None:
    """One finding that asks for nothing more than reading."""
    with st.container(border=True):
        draw_words(finding)
        draw_details(finding)

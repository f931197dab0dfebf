"""Health: what is wrong, how urgent, why it matters, what to do."""

from __future__ import annotations

from collections import Counter
from urllib.parse import quote

import streamlit as st

from console.context import console
from console.ui.parts.cards import draw_cards
from console.ui.parts.errors import guarded
from console.ui.parts.findings import (
    SIGNS,
    checkup,
    draw_finding,
    forget_reports,
    is_quiet,
    sign_of,
)
from console.ui.parts.heading import heading
from console.ui.parts.jobs import is_busy, job_panel, start_job
from console.ui.parts.judging import ask_purpose, draw_thresholds
from console.ui.parts.session import current_target
from console.ui.parts.words import ago, plain
from ops import dialect_of
from ops.checks.base import URGENCY, Finding, Level
from ops.checkup import Checkup
from ops.health_memory import load_history
from ops.report import Format
from ops.target import Target

_ABOUT = {"redis": "Redis", "backups": "Backups", "outlook": "Outlook"}
_FORMATS = {
    Format.HTML: "Download as a web page",
    Format.PDF: "Download as a PDF",
    Format.JSON: "Download as JSON",
}
_BOXES = {Level.NOW: st.error, Level.SOON: st.warning, Level.UNKNOWN: st.info}


def draw() -> None:
    """The page."""
    target = current_target()
    heading("Health", target, shows_jobs=False)
    with guarded():
        top = st.container()
        # Before the rest is read: what ends after this look is seen to, and all is drawn anew.
        job_panel(target, ("fix", "check", "backup"))
        found = checkup(target)
        with top:
            _headline(found)
        _findings(target, found)
        ask_purpose()
        _deep(target)
        with st.expander("When something counts as urgent"):
            draw_thresholds(target)
        _reports(target, found)
    if st.button("Look again", icon=":material/refresh:"):
        forget_reports()
        st.rerun()


def _headline(found: Checkup) -> None:
    """The worst finding in words; figures come second."""
    whole = found.whole
    counting = [finding for finding in whole.findings if finding.aside is None]
    worst = counting[0].level if counting else Level.UNKNOWN
    icon, _, urgency = SIGNS[worst]
    if worst in (Level.GOOD, Level.INFO):
        all_seen = all(finding.looked_at for finding in counting)
        box, icon = (st.success, SIGNS[Level.GOOD][0]) if all_seen else (st.info, icon)
        box(f"**{plain(whole.headline)}**", icon=icon)
    else:
        told = whole.headline if worst is Level.UNKNOWN else f"{urgency}: {whole.headline}"
        _BOXES[worst](f"**{plain(told)}**", icon=icon)
    signs = Counter(sign_of(finding) for finding in sorted(counting, key=_order))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"Score {found.score} of 100")
        for (icon, colour, urgency), number in signs.items():
            st.badge(f"{number} × {urgency}", icon=icon, color=colour)  # type: ignore[arg-type]


def _order(finding: Finding) -> tuple[int, bool]:
    return URGENCY[finding.level], finding.looked_at


def _findings(target: Target, found: Checkup) -> None:
    """What needs a person stands open, the worst first; what is fine is one click deeper."""
    told = [
        (_ABOUT.get(report.backend, "Database"), finding)
        for report in found.reports
        for finding in report.findings
    ]
    told.sort(key=lambda pair: _order(pair[1]))
    loud = [pair for pair in told if not is_quiet(pair[1]) and pair[1].aside is None]
    aside = [pair for pair in told if pair[1].aside is not None]
    draw_cards(target, loud)
    if not loud:
        st.markdown(":material/check_circle: Nothing here needs you.")
    if aside:
        with st.expander(f"Put aside ({len(aside)})"):
            draw_cards(target, aside)
    for group in ("Database", *_ABOUT.values()):
        quiet = [finding for about, finding in told if about == group and is_quiet(finding)]
        if quiet:
            with st.expander(f"{group}: looked at and fine, or good to know ({len(quiet)})"):
                for finding in quiet:
                    draw_finding(finding)


def _deep(target: Target) -> None:
    """Questions that read the whole database are asked by a job."""
    deep = [check for check in dialect_of(target.engine).checks() if check.deep]
    if not deep:
        return
    results = load_history(console().store, target.name).results
    looked = [result.checked_at for result in results.values() if result.checked_at]
    st.subheader("The deep look")
    when = f"Last looked {ago(min(looked))}." if looked else "Not looked at yet."
    st.markdown(
        f"{when} The deep look reads the whole database: "
        f"{plain(', '.join(check.title.lower() for check in deep))}. "
        "Every test restore takes it in a copy, so that nobody has to wait."
    )
    if st.button("Take the deep look now", icon=":material/search:", disabled=is_busy(target)):
        start_job("check", target, {})
    st.caption("It can take minutes in a large database, which is slower meanwhile.")


def _reports(target: Target, found: Checkup) -> None:
    st.subheader("A report to hand to someone")
    links = "".join(
        f'<a href="/api/reports/{quote(target.name)}/{format.value}" download '
        f'style="margin-right: 1.5rem">{word}</a>'
        for format, word in _FORMATS.items()
    )
    st.html(links)
    with st.expander("All figures of this report"):
        st.json(found.as_dict(), expanded=1)


draw()

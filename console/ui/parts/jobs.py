"""Starting work, and showing how far it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import streamlit as st

from console.context import console
from console.ui.parts.announce import announce
from console.ui.parts.errors import guarded, show_error
from console.ui.parts.repairs import draw_repair
from console.ui.parts.session import client_address, noted, signed_in
from console.ui.parts.trial import draw_trial
from console.ui.parts.words import ago, plain, size
from ops import jobs
from ops.aftermath import ASKED_FROM
from ops.checks.words import duration, many
from ops.jobs import Job, State
from ops.jobs.words import progress_line
from ops.target import Target

_NAMES = {
    "backup": "Backup",
    "restore": "Restore",
    "undo": "Undo",
    "test": "Test restore",
    "compare": "Comparison",
    "beside": "Bringing a backup to life",
    "recheck": "Reading the kept backups again",
    "prune": "Deleting old backups",
    "fix": "Fix",
    "check": "Deep look",
}
_LEFT = {
    "fix": "What was not finished was undone.",
    "prune": "Backups that it had deleted by then stay deleted; the others were not touched.",
}
"""What a stopped job leaves, where it is not all as before."""

_ENDS = {State.DONE: "is done", State.CANCELLED: "has stopped"}
_SHOW_ENDED_SECONDS = 15 * 60

_Seen = tuple[str, bool] | None
"""Which job a page was drawn with, and whether it was active."""


def start_job(kind: str, target: Target, params: Mapping[str, Any]) -> None:
    """Start work in a process of its own, then draw the page anew."""
    session = signed_in()
    with guarded():
        asked = {**params, ASKED_FROM: client_address()}
        jobs.start(console(), kind, target.name, session.account, asked)
        st.rerun()


def is_busy(target: Target) -> bool:
    """Whether a job of this target waits or runs."""
    return any(job.is_active for job in jobs.recent(console(), target.name, limit=3))


def job_panel(target: Target, kinds: tuple[str, ...] = tuple(_NAMES)) -> None:
    """What is being done to this target, whoever has begun it: live while it runs, and the
    outcome for a while after, of the `kinds` that the page is about."""
    job = _newest(target)
    _watch(target, job)
    if job is not None and _is_fresh(job) and job.kind in kinds:
        with guarded():
            _ended(job)


def job_line(target: Target) -> None:
    """The same for pages that are about something else: live, and the outcome in one line."""
    job = _newest(target)
    _watch(target, job)
    if job is not None and _is_fresh(job):
        name, when = _name_of(job), ago(job.ended or job.created)
        if job.state is State.DONE:
            st.success(f"**{name} finished {when}.**", icon=":material/check_circle:")
        elif job.state is State.CANCELLED:
            st.info(f"{name} was stopped {when}.", icon=":material/cancel:")
        else:
            told = (job.error or {}).get("error", "")
            st.error(f"**{name} did not finish** ({when}). {plain(told)}", icon=":material/error:")


def _name_of(job: Job) -> str:
    return _NAMES.get(job.kind, job.kind)


def _newest(target: Target) -> Job | None:
    return next(iter(jobs.recent(console(), target.name, limit=1)), None)


def _is_fresh(job: Job) -> bool:
    """Whether it has ended not long ago."""
    return not job.is_active and time.time() - (job.ended or 0) < _SHOW_ENDED_SECONDS


def _watch(target: Target, job: Job | None) -> None:
    """Look at the row again and again, more often while something runs; tell those who do not
    see the page."""
    announce(_told(job) if job else "", key="job-told")
    seen = (job.id, job.is_active) if job else None
    with guarded():
        if job is not None and job.is_active:
            _look_often(target, seen)
        else:
            _look_seldom(target, seen)


@st.fragment(run_every=2)
def _look_often(target: Target, seen: _Seen) -> None:
    _look(target, seen)


@st.fragment(run_every=5)
def _look_seldom(target: Target, seen: _Seen) -> None:
    _look(target, seen)


def _look(target: Target, seen: _Seen) -> None:
    signed_in(is_use=False)
    job = _newest(target)
    if (job and (job.id, job.is_active)) != seen:
        st.rerun(scope="app")  # one has begun or ended: much of the page says something else now
    if job is not None and job.is_active:
        _running(job)


def _running(job: Job) -> None:
    name = _name_of(job)
    with st.container(border=True):
        stands = "waits" if job.state is State.WAITING else "running"
        st.progress(job.share, text=f"**{name} {stands}** · {plain(progress_line(job))}")
        tens = int(job.share * 10) * 10  # each percent would be too much to listen to
        announce(f"{name}: {tens} percent", key=f"told-{job.id}")
        begun = ago(job.started or job.created)
        st.caption(f"Begun by {plain(job.who)}, {begun}. You can close this page; it goes on.")
        if not job.cancel_asked and st.button(
            "Stop", key=f"stop-{job.id}", icon=":material/cancel:"
        ):
            with noted("cancel", job.target, detail=f"{name}, {job.id}"):
                jobs.cancel(console(), job.id)
            st.rerun(scope="fragment")


def _told(job: Job) -> str:
    """How a job stands, for those who do not see the page."""
    name = _name_of(job).lower()
    if job.is_active:
        return f"The {name} has begun."
    return f"The {name} {_ENDS.get(job.state, 'has failed')}." if _is_fresh(job) else ""


def _ended(job: Job) -> None:
    name = _name_of(job)
    when = ago(job.ended or job.created)
    if job.state is State.DONE and job.kind == "test":
        draw_trial(job.result or {}, when)
    elif job.state is State.DONE and job.kind == "fix":
        draw_repair(job.result or {}, when)
    elif job.state is State.DONE:
        _finished(job, name, when)
    elif job.state is State.CANCELLED:
        left = _LEFT.get(job.kind, "Nothing was changed.")
        st.info(f"{name} was stopped {when}. {left}", icon=":material/cancel:")
    else:
        with st.container(border=True):
            st.markdown(f"**{name} did not finish** ({when}).")
            show_error(job.error or {"error": "The reason is not known.", "hint": ""})


def _finished(job: Job, name: str, when: str) -> None:
    """Green only where nothing that came of it speaks against it."""
    proof = (job.result or {}).get("proof")
    if not proof or proof["ok"]:
        st.success(f"**{name} finished {when}.** {_outcome(job)}", icon=":material/check_circle:")
    if proof:
        draw_trial(proof, when)
    for note in (job.result or {}).get("notes", []):
        st.info(plain(note))


def _outcome(job: Job) -> str:
    result = job.result or {}
    if job.kind == "compare":
        return "The Restore page shows the result, under the backup that is chosen there."
    if job.kind == "check":
        return "What it found stands below."
    took = duration((job.ended or 0) - (job.started or 0))
    tables = result.get("tables", [])
    rows = sum(table["rows"] for table in tables)
    held = f"{many(len(tables), 'table')} with {many(rows, 'row')}"
    if job.kind == "backup":
        return f"{held}, {size(result['size'])}. It took {took}."
    if job.kind == "recheck":
        told = f"{many(result['whole'], 'backup')} are as they were written"
        changed = len(result["changed"])
        return f"{told}, {changed} are not." if changed else f"{told}. It took {took}."
    if job.kind == "prune":
        return f"{many(len(result['deleted']), 'backup')} deleted, {size(result['freed'])} freed."
    if job.kind == "beside":
        return f"{held} are there. The Restore page shows its address."
    if job.kind == "restore" and result.get("proven"):
        return f"{held} came back, exactly as they were saved. It took {took}."
    if job.kind == "restore":
        return f"The database is now as in the backup. It took {took}."
    return "The database is as it was before."

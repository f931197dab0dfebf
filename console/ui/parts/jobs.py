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
from console.ui.parts.session import client_address, signed_in
from console.ui.parts.trial import draw_trial
from console.ui.parts.words import ago, plain, size
from ops import jobs
from ops.aftermath import ASKED_FROM
from ops.checks.words import duration, many
from ops.jobs import Job, State
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
_ENDS = {State.DONE: "is done", State.CANCELLED: "has stopped"}
_SHOW_ENDED_SECONDS = 15 * 60


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
    """The newest job of this target: live while it runs, its outcome for a while after."""
    found = [job for job in jobs.recent(console(), target.name, limit=5) if job.kind in kinds]
    announce(_told(found[0]) if found else "", key="job-told")
    if not found:
        return
    with guarded():
        if found[0].is_active:
            _running(target, found[0].id)
        elif time.time() - (found[0].ended or 0) < _SHOW_ENDED_SECONDS:
            _ended(found[0])


def _told(job: Job) -> str:
    """How a job stands, for those who do not see the page."""
    name = _NAMES.get(job.kind, job.kind).lower()
    if job.is_active:
        return f"The {name} has begun."
    if time.time() - (job.ended or 0) >= _SHOW_ENDED_SECONDS:
        return ""
    return f"The {name} {_ENDS.get(job.state, 'has failed')}."


@st.fragment(run_every="2s")
def _running(target: Target, job_id: str) -> None:
    signed_in()
    job = jobs.get(console(), job_id)
    fresh = next((j for j in jobs.recent(console(), target.name, limit=5) if j.id == job_id), job)
    if not fresh.is_active:
        st.rerun(scope="app")
    note = fresh.note or ("Starting" if fresh.state is State.WAITING else "Working")
    name = _NAMES.get(fresh.kind, fresh.kind)
    with st.container(border=True):
        st.progress(fresh.share, text=f"**{name} running** · {plain(note)} · {fresh.share:.0%}")
        tens = int(fresh.share * 10) * 10  # each percent would be too much to listen to
        announce(f"{name}: {tens} percent", key=f"told-{job_id}")
        st.caption("You can close this page; the work goes on.")
        if fresh.cancel_asked:
            st.caption("Stopping …")
        elif st.button("Stop", key=f"stop-{job_id}", icon=":material/cancel:"):
            signed_in()
            jobs.cancel(console(), job_id)
            st.rerun(scope="fragment")


def _ended(job: Job) -> None:
    name = _NAMES.get(job.kind, job.kind)
    when = ago(job.ended or job.created)
    if job.state is State.DONE and job.kind == "test":
        draw_trial(job.result or {}, when)
    elif job.state is State.DONE and job.kind == "fix":
        draw_repair(job.result or {}, when)
    elif job.state is State.DONE:
        _finished(job, name, when)
    elif job.state is State.CANCELLED:
        st.info(f"{name} was stopped {when}. Nothing was changed.", icon=":material/cancel:")
    else:
        with st.container(border=True):
            st.markdown(f"**{name} did not finish** ({when}).")
            show_error(job.error or {"error": "The reason is not known.", "hint": ""})


def _finished(job: Job, name: str, when: str) -> None:
    """Green only where nothing that came of it speaks against it."""
    proof = (job.result or {}).get("proof")
    if proof and not proof["ok"]:
        draw_trial(proof, when)
    else:
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

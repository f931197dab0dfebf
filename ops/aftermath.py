"""What follows the end of a job: its line in the activity, its figures, and who is told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.activity import SCHEDULE, Outcome, record
from ops.installation import Installation
from ops.notify import beat, deliver
from ops.notify.alarms import work_done, work_failed
from ops.samples import BACKUP_SIZE, JOB_SECONDS, note

if TYPE_CHECKING:
    from ops.jobs import Job

log = logging.getLogger(__name__)

ASKED_FROM: Final = "asked_from"
"""The parameter of a job that says where it was asked for: a client's address, a command line."""


def follow_up(home: Installation, job: Job) -> None:
    """Once for each job that has ended, by whoever finds it so first. Never raises."""
    if job.is_active:
        return
    is_news = record(
        home,
        who=job.who,
        where=str(job.params.get(ASKED_FROM) or job.who),
        what=job.kind,
        target=job.target,
        archive=_archive(job),
        outcome=outcome_of(job),
        detail=what_came_of(job),
        job=job.id,
    )
    if is_news:
        try:
            _measure(home, job)
            _tell(home, job)
        except Exception:  # the work itself has ended, and its outcome stands
            log.exception("what follows the end of job %s could not be done", job.id)


def _measure(home: Installation, job: Job) -> None:
    """How long it took, and how large the backup is."""
    if job.state.value != Outcome.DONE:
        return
    figures = {JOB_SECONDS + job.kind: (job.ended or 0.0) - (job.started or job.created)}
    if job.kind == "backup" and job.result is not None:
        figures[BACKUP_SIZE] = float(job.result["size"])
    note(home.store, job.target, figures, job.ended)


def _tell(home: Installation, job: Job) -> None:
    """Tell people, and the watchdog. What a schedule will try again is told by `ops.runs`, when
    it is given up. A process that only found the job dead waits for nobody: the console delivers
    what is in the outbox."""
    outcome = outcome_of(job)
    if outcome is Outcome.CANCELLED:
        return
    if outcome is Outcome.DONE:
        work_done(home, job.target, job.kind)
        if job.kind == "backup" and job.who == SCHEDULE:
            beat(home, job.target)
    elif job.who != SCHEDULE or job.error is None:
        hint = (job.error or {}).get("hint", "")
        work_failed(home, job.target, job.kind, what_came_of(job), hint)
    if outcome is not Outcome.INTERRUPTED:
        deliver(home, most=2)


def outcome_of(job: Job) -> Outcome:
    """What came of a job; one that was done and found a backup bad has failed."""
    outcome = Outcome(job.state.value)
    return Outcome.FAILED if outcome is Outcome.DONE and _verdict(job) else outcome


def what_came_of(job: Job) -> str:
    """Why it failed, or what is worth knowing of what it made."""
    if job.error is not None:
        return job.error["error"]
    deleted = (job.result or {}).get("deleted")
    about = [job.params.get("label"), job.params.get("fix"), *job.params.get("subjects", ())]
    told = [str(name) for name in about if name]
    if deleted:
        told.append(f"deleted {', '.join(str(name) for name in deleted)}")
    return _verdict(job) or "; ".join(told)


def _verdict(job: Job) -> str:
    """What a test restore found wrong, or why a backup could not be tried; empty if nothing."""
    result = job.result or {}
    proof = result if "problem" in result else result.get("proof")
    if proof and not proof["ok"]:
        return str(proof["problem"] or "The backup could not be brought back.")
    if "proof" in result and proof is None and not result.get("stopped"):
        return " ".join(result.get("notes", []))
    return ""


def _archive(job: Job) -> str:
    """The file's name that the work is about."""
    told = job.params.get("archive") or (job.result or {}).get("archive") or ""
    return Path(str(told)).name

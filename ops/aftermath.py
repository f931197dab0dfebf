"""What follows the end of a job: its line in the activity, its figures, and who is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.activity import Outcome, record
from ops.installation import Installation

if TYPE_CHECKING:
    from ops.jobs import Job

ASKED_FROM: Final = "asked_from"
"""The parameter of a job that says where it was asked for: a client's address, a command line."""


def follow_up(home: Installation, job: Job) -> None:
    """Once for each job that has ended, by whoever finds it so first. Never raises."""
    if job.is_active:
        return
    record(
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


def outcome_of(job: Job) -> Outcome:
    """What came of a job; one that was done and found a backup bad has failed."""
    outcome = Outcome(job.state.value)
    return Outcome.FAILED if outcome is Outcome.DONE and _verdict(job) else outcome


def what_came_of(job: Job) -> str:
    """Why it failed, or what is worth knowing of what it made."""
    if job.error is not None:
        return job.error["error"]
    return _verdict(job) or str((job.result or {}).get("label") or "")


def _verdict(job: Job) -> str:
    """What a test restore found wrong, or why a backup could not be tried; empty if nothing."""
    result = job.result or {}
    proof = result if "problem" in result else result.get("proof")
    if proof and not proof["ok"]:
        return str(proof["problem"] or "The backup could not be brought back.")
    if "proof" in result and proof is None:
        return " ".join(result.get("notes", []))
    return ""


def _archive(job: Job) -> str:
    """The file's name that the work is about."""
    told = job.params.get("archive") or (job.result or {}).get("archive") or ""
    return Path(str(told)).name

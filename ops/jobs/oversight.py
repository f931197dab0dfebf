"""Seeing to it that no job stays what it is not, and that nothing half-made stays.

A console does this every few seconds, a worker beside its work, and the command line when it
cancels. What a job's own process can do about itself is in `ops.jobs.minder`.
"""

from __future__ import annotations

import logging
import socket
import time
from dataclasses import dataclass
from typing import Final

import psutil

from ops.errors import OpsError, Refused
from ops.installation import Installation
from ops.jobs import lock_of, look, rows
from ops.jobs.evidence import end_process
from ops.jobs.minder import STALLED_SECONDS, is_at_swap
from ops.jobs.rows import Claim, Job, State
from ops.locks import locks_of
from ops.recovery import settle_one

log = logging.getLogger(__name__)

KEEP_ROWS: Final = 1000
KEEP_DAYS: Final = 400
_HEED_SECONDS: Final = 15
_BORN_APART_SECONDS: Final = 2
_LOST_SECONDS: Final = 20


@dataclass
class _Silence:
    """A job's last heartbeat and the processor time that its process has used, each with the
    moment since when it has been so by our own clock, which stands still while the machine
    sleeps."""

    heartbeat: float | None
    since: float
    used: float
    idle_since: float


_silent: Final[dict[str, _Silence]] = {}


def look_after(home: Installation) -> None:
    """End what is frozen, show what has died, settle what it left, and free its target."""
    claims = rows.all_claims(home)
    for claim in claims:
        try:
            _look_after(home, claim)
        except OpsError as error:
            log.warning("job %s: %s %s", claim.job, error, error.detail)
    for job_id in _silent.keys() - {claim.job for claim in claims}:
        del _silent[job_id]


def thin(home: Installation) -> None:
    """Old jobs are forgotten: the newest 1000 of each target stay, for 400 days."""
    locks = locks_of(home.folder)
    for job_id in rows.thin(home, KEEP_ROWS, time.time() - KEEP_DAYS * 86_400):
        locks.forget(lock_of(job_id))


def _look_after(home: Installation, claim: Claim) -> None:
    job = look(home, claim.job)
    if not job.is_active:
        _clear_up(home, job)
    elif job.state is State.RUNNING:
        _end_if_frozen(home, claim, job)
    elif claim.queued:
        _hand_over_again(home, job)


def _clear_up(home: Installation, job: Job) -> None:
    """Settle what a dead job has left; while it is not quite dead, its locks say so."""
    try:
        is_over = settle_one(home, home.target(job.target))
    except Refused:
        is_over = True  # the settings do not know the target any more
    if is_over:
        rows.free(home, job.id)
        locks_of(home.folder).forget(lock_of(job.id))


def _end_if_frozen(home: Installation, claim: Claim, job: Job) -> None:
    """A process that does not even say that it lives cannot end itself. One that cannot write to
    the store, such as on a full disk, lives nevertheless and uses the processor now and then."""
    now, process = time.monotonic(), _process_of(claim)
    used, told = _processor_time(process), _silent.get(job.id)
    if told is None or told.heartbeat != job.heartbeat:
        _silent[job.id] = _Silence(job.heartbeat, now, used, now)
        return
    if used > told.used:
        told.used, told.idle_since = used, now
    asked = job.cancel_asked and not is_at_swap(home, job.target)
    patience, since = (_HEED_SECONDS, told.since) if asked else (STALLED_SECONDS, told.idle_since)
    if process is not None and now - since > patience:
        log.error("%s of %s does not move at all and is ended", job.kind, job.target)
        end_process(process)


def _processor_time(process: psutil.Process | None) -> float:
    """Seconds that a process has used; 0 where there is none."""
    try:
        return sum(process.cpu_times()[:2]) if process is not None else 0.0
    except psutil.Error:
        return 0.0


def _process_of(claim: Claim) -> psutil.Process | None:
    """The process that does a job, where it is on this machine."""
    if claim.host != socket.gethostname() or claim.pid is None or claim.born is None:
        return None
    try:
        process = psutil.Process(claim.pid)
        is_same = abs(process.create_time() - claim.born) < _BORN_APART_SECONDS
    except psutil.Error:
        return None
    return process if is_same else None


def _hand_over_again(home: Installation, job: Job) -> None:
    """A queue that was emptied, or a worker that died in the instant of taking the job, must
    not leave it waiting for ever. Given twice, it is done once: see `rows.begin`."""
    from ops.jobs import queue

    note = queue.state_of(home)
    if time.time() - job.created > _LOST_SECONDS:
        try:
            if not queue.knows(home, job.id):
                queue.put(home, job.id)
        except OpsError as error:
            note = error.message
    if note != job.note:
        rows.note(home, job.id, note)

"""Jobs: long work as a row in the store and a process of the operating system.

Whatever a page, the command line, a schedule or a worker starts goes through `execute`. A page
only reads the row. A job's process holds a lock as long as it lives, so that a row which says
"running" can be told from one whose process has died.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Final

import psutil

from ops.errors import Cancelled, OpsError, Refused, Stalled
from ops.fixes import goes_beside
from ops.installation import Installation
from ops.jobs import rows
from ops.jobs.minder import JobProgress, Minder, stop_asked
from ops.jobs.rows import ACTIVE, Job, State, get
from ops.jobs.words import time_left
from ops.jobs.work import WORK
from ops.locks import locks_of
from ops.progress import SILENT, Progress
from ops.settings import Queue

__all__ = [
    "ACTIVE",
    "Job",
    "State",
    "cancel",
    "create",
    "execute",
    "get",
    "look",
    "recent",
    "start",
    "stop_asked",
    "time_left",
]

log = logging.getLogger(__name__)

_START_SECONDS: Final = 30


def create(
    home: Installation,
    kind: str,
    target: str,
    who: str,
    params: Mapping[str, Any],
    *,
    queued: bool = False,
) -> str:
    """Write the row of a new job and return its id; `queued`: workers are to do it.

    Raises:
        Refused: a job of this target is already waiting or running.
    """
    home.target(target)
    beside = goes_beside(kind, params)
    for _ in range(3):
        job_id = rows.add(home, kind, target, who, params, queued, beside)
        if job_id is not None:
            return job_id
        claim = rows.claim_on(home, target)
        if claim is None:
            continue  # the other job has just ended
        other = look(home, claim.job)
        if other.is_active:
            raise Refused(
                f"A {other.kind} of {target!r} is already {_stands(other)}.",
                "Wait until it has finished, or stop it; you can see it on the page.",
            )
        # What it has left is settled by the work itself, before anything else.
        rows.free(home, other.id)
    raise Refused(f"Other work on {target!r} was faster.", "Try again when it has finished.")


def _stands(job: Job) -> str:
    return "running" if job.state is State.RUNNING else "waiting for its turn"


def start(home: Installation, kind: str, target: str, who: str, params: Mapping[str, Any]) -> str:
    """Create a job and have it done elsewhere: in a process of its own, which outlives this one,
    or by a worker.

    Raises:
        Refused: a job of this target is already waiting or running.
        Unavailable: the queue does not answer.
    """
    if home.settings.queue is Queue.REDIS:
        from ops.jobs import queue

        job_id = create(home, kind, target, who, params, queued=True)
        try:
            queue.put(home, job_id)
        except OpsError as error:
            rows.end(home, job_id, State.FAILED, error=error.as_dict())
            raise
        return job_id
    job_id = create(home, kind, target, who, params)
    with (home.folder.logs / "jobs.log").open("ab") as output:
        subprocess.Popen(
            command_of(job_id),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment(home),
        )
    return job_id


def command_of(job_id: str) -> list[str]:
    """The program that does one job."""
    return [sys.executable, "-P", "-m", "ops.jobs", job_id]


def environment(home: Installation) -> dict[str, str]:
    """What that program has to know of this installation."""
    return {**os.environ, "OPS_DATA_DIR": str(home.folder.root)}


def execute(home: Installation, job_id: str, shown: Progress = SILENT) -> Mapping[str, Any]:
    """Do a job's work in this process and write how it went into its row.

    Raises:
        Refused: it is not waiting any more.
        OpsError: whatever the work raised.
    """
    locks, name = locks_of(home.folder), lock_of(job_id)
    with ExitStack() as hold:
        try:
            hold.enter_context(locks.held(name))
        except BlockingIOError:
            raise Refused("This job is being done already.") from None
        hold.callback(locks.forget, name)
        return _execute(home, job_id, shown)


def _execute(home: Installation, job_id: str, shown: Progress) -> Mapping[str, Any]:
    me = psutil.Process()
    if not rows.begin(home, job_id, socket.gethostname(), me.pid, me.create_time()):
        raise Refused("This job is not waiting any more.", "Start a new one.")
    job = get(home, job_id)
    minder = Minder(home, job)
    try:
        with minder:
            result = WORK[job.kind](home, job.target, job.params, JobProgress(minder, shown))
    except BaseException as fault:
        state, told, raised = _judged(job, fault, minder.reason)
        rows.end(home, job_id, state, error=told.as_dict())
        if raised is fault:
            raise
        raise raised from fault
    rows.end(home, job_id, State.DONE, done=1, total=1, result=result)
    return result


def _judged(
    job: Job, fault: BaseException, reason: Cancelled | None
) -> tuple[State, OpsError, BaseException]:
    """How a job ended that raised `fault`, what to tell of it, and what to raise.

    Work that was told to stop may first fail of its programs having been ended.
    """
    if isinstance(fault, KeyboardInterrupt):
        return State.CANCELLED, Cancelled(), fault
    if reason is not None and not isinstance(fault, Cancelled) and isinstance(fault, OpsError):
        reason.detail = fault.detail
        if "Nothing was changed." in fault.message:
            reason.say_nothing_changed()
        return _stopped(reason), reason, reason
    if isinstance(fault, Cancelled):
        return _stopped(fault), fault, fault
    if isinstance(fault, OpsError):
        log.warning("%s of %s failed: %s\n%s", job.kind, job.target, fault, fault.detail)
        return State.FAILED, fault, fault
    log.error("%s of %s failed", job.kind, job.target, exc_info=fault)
    return State.FAILED, _unexpected(fault), fault


def _stopped(reason: Cancelled) -> State:
    return State.INTERRUPTED if isinstance(reason, Stalled) else State.CANCELLED


def _unexpected(fault: BaseException) -> OpsError:
    return OpsError(
        "The work ended with an error that nobody foresaw.",
        "Look at the database's state on the Overview page; the details may help whoever "
        "looks after the console.",
        f"{type(fault).__name__}",
    )


def recent(home: Installation, target: str | None = None, *, limit: int = 20) -> list[Job]:
    """The newest jobs; those whose process has died are shown as interrupted."""
    return [_settled(home, job) for job in rows.newest(home, target, limit)]


def look(home: Installation, job_id: str) -> Job:
    """The job of that id as it truly is. Raises Refused when there is none."""
    return _settled(home, get(home, job_id))


def cancel(home: Installation, job_id: str) -> None:
    """Ask a job to stop: a waiting one does not begin, a running one stops at its next report.

    Raises:
        Refused: there is no such job.
    """
    job = get(home, job_id)
    rows.ask_to_stop(home, job_id)
    if job.state is State.WAITING:
        stopped = Cancelled("It was cancelled before it had begun.")
        stopped.say_nothing_changed()
        if rows.end_for_another(home, job_id, State.WAITING, State.CANCELLED, stopped):
            rows.free(home, job_id)


def _settled(home: Installation, job: Job) -> Job:
    """`job`, or its truth where it is active and the process behind it is gone."""
    if not job.is_active or is_alive(home, job):
        return job
    fresh = get(home, job.id)  # it may have ended between the two looks
    if not fresh.is_active or is_alive(home, fresh):
        return fresh
    if fresh.cancel_asked:
        state, told = State.CANCELLED, f"The {job.kind} was stopped: its process ended."
    else:
        state, told = State.INTERRUPTED, f"The {job.kind} was interrupted: its process ended."
    hint = "Start it again. A restore is finished or rolled back before anything else begins."
    rows.end_for_another(home, job.id, fresh.state, state, OpsError(told, hint))
    return get(home, job.id)


def is_alive(home: Installation, job: Job) -> bool:
    """Whether an active job has a process behind it, or one to come."""
    locks = locks_of(home.folder)
    if locks.is_held(lock_of(job.id)):
        return True
    claim = rows.claim_of(home, job.id)
    if claim is None:
        return False
    if job.state is State.RUNNING:
        # On this machine nobody lives without its lock; another may have lost it for a moment.
        is_here = claim.host == socket.gethostname()
        silent = time.time() - (job.heartbeat or job.created)
        return not is_here and silent < locks.patience_seconds
    return claim.queued or time.time() - job.created < _START_SECONDS


def lock_of(job_id: str) -> str:
    """The name of the lock that a job's process holds."""
    return f"job-{job_id}"

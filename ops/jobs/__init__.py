"""Jobs: long work as a row in the store and a process of the operating system.

Whatever a page or the command line starts goes through `execute`. A page only reads the
row. A job's process holds a lock file as long as it lives, so that a row which says
"running" can be told from one whose process has died.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from sqlalchemy import RowMapping, insert, select, update

from ops.aftermath import follow_up
from ops.datafolder import DataFolder
from ops.errors import Cancelled, OpsError, Refused
from ops.installation import Installation
from ops.jobs.work import WORK
from ops.locks import held, is_held
from ops.progress import SILENT, Progress
from ops.store import jobs as table

log = logging.getLogger(__name__)

_START_SECONDS: Final = 30
_WRITE_EVERY_SECONDS: Final = 0.4


stop_asked: Final = threading.Event()
"""Set by a signal that asks this process to stop; a handler must not touch the store, which
the work may just be writing."""


class State(StrEnum):
    """Where a job has got to."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


ACTIVE: Final = (State.WAITING, State.RUNNING)


@dataclass(frozen=True)
class Job:
    """A row of the store. Times are seconds since the epoch; `done` of `total` is a share."""

    id: str
    kind: str
    target: str
    who: str
    state: State
    done: float
    total: float
    note: str
    created: float
    started: float | None
    ended: float | None
    cancel_asked: bool
    params: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error: Mapping[str, str] | None

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE

    @property
    def share(self) -> float:
        """How much is finished, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


def create(home: Installation, kind: str, target: str, who: str, params: Mapping[str, Any]) -> str:
    """Write the row of a new job and return its id.

    Raises:
        Refused: a job of this target is already waiting or running.
    """
    home.target(target)
    for job in recent(home, target, limit=5):
        if job.is_active:
            raise Refused(
                f"A {job.kind} of {target!r} is already running.",
                "Wait until it has finished; you can see it on the page.",
            )
    job_id = f"{int(time.time() * 1000):013d}{token_hex(4)}"
    row = {
        "id": job_id,
        "kind": kind,
        "target": target,
        "who": who,
        "params": dict(params),
        "state": State.WAITING,
        "done": 0.0,
        "total": 0.0,
        "note": "",
        "cancel_asked": 0,
        "created": time.time(),
    }
    with home.store.begin() as store:
        store.execute(insert(table).values(row))
    return job_id


def start(home: Installation, kind: str, target: str, who: str, params: Mapping[str, Any]) -> str:
    """Create a job and run it in a process of its own, which outlives this one."""
    job_id = create(home, kind, target, who, params)
    with (home.folder.logs / "jobs.log").open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-P", "-m", "ops.jobs", job_id],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "OPS_DATA_DIR": str(home.folder.root)},
        )
    return job_id


def execute(home: Installation, job_id: str, shown: Progress = SILENT) -> Mapping[str, Any]:
    """Do a job's work in this process and write how it went into its row.

    Raises:
        OpsError: whatever the work raised.
    """
    try:
        return _execute(home, job_id, shown)
    finally:
        follow_up(home, get(home, job_id))


def _execute(home: Installation, job_id: str, shown: Progress) -> Mapping[str, Any]:
    job = get(home, job_id)
    with held(_lock_of(home.folder, job_id)):
        _write(home, job_id, state=State.RUNNING, started=time.time())
        try:
            result = WORK[job.kind](home, job.target, job.params, JobProgress(home, job_id, shown))
        except Cancelled as stop:
            _write(home, job_id, state=State.CANCELLED, ended=time.time(), error=stop.as_dict())
            raise
        except KeyboardInterrupt:
            asked = Cancelled().as_dict()
            _write(home, job_id, state=State.CANCELLED, ended=time.time(), error=asked)
            raise
        except OpsError as error:
            log.warning("%s of %s failed: %s\n%s", job.kind, job.target, error, error.detail)
            _write(home, job_id, state=State.FAILED, ended=time.time(), error=error.as_dict())
            raise
        except BaseException as fault:
            log.exception("%s of %s failed", job.kind, job.target)
            _write(home, job_id, state=State.FAILED, ended=time.time(), error=_unexpected(fault))
            raise
        _write(home, job_id, state=State.DONE, ended=time.time(), done=1, total=1, result=result)
    return result


def _unexpected(fault: BaseException) -> dict[str, str]:
    return OpsError(
        "The work ended with an error that nobody foresaw.",
        "Look at the database's state on the Overview page; the details may help whoever "
        "looks after the console.",
        f"{type(fault).__name__}",
    ).as_dict()


class JobProgress(Progress):
    """Writes progress into the job's row, a few times a second, and heeds its cancel mark."""

    def __init__(self, home: Installation, job_id: str, shown: Progress) -> None:
        self._home = home
        self._job_id = job_id
        self._shown = shown
        self._written = 0.0

    def report(self, done: float, total: float, note: str = "") -> None:
        self._shown.report(done, total, note)
        if stop_asked.is_set():
            raise Cancelled
        if time.monotonic() - self._written < _WRITE_EVERY_SECONDS:
            return
        self._written = time.monotonic()
        share = min(1.0, done / total) if total > 0 else 0.0
        _write(self._home, self._job_id, done=share, total=1.0, note=note, heartbeat=time.time())
        if get(self._home, self._job_id).cancel_asked:
            raise Cancelled


def get(home: Installation, job_id: str) -> Job:
    """The job of that id. Raises Refused when there is none."""
    with home.store.connect() as store:
        row = store.execute(select(table).where(table.c.id == job_id)).mappings().one_or_none()
    if row is None:
        raise Refused("There is no such job.")
    return _job(row)


def recent(home: Installation, target: str | None = None, *, limit: int = 20) -> list[Job]:
    """The newest jobs; those whose process has died are shown as interrupted."""
    query = select(table).order_by(table.c.id.desc()).limit(limit)
    if target is not None:
        query = query.where(table.c.target == target)
    with home.store.connect() as store:
        found = [_job(row) for row in store.execute(query).mappings()]
    return [_settled(home, job) if job.is_active else job for job in found]


def cancel(home: Installation, job_id: str) -> None:
    """Ask a job to stop; it does so at its next report."""
    _write(home, job_id, cancel_asked=1)


def _settled(home: Installation, job: Job) -> Job:
    """`job`, or its truth where the process behind it is gone."""
    young = job.state is State.WAITING and time.time() - job.created < _START_SECONDS
    if young or is_held(_lock_of(home.folder, job.id)):
        return job
    fresh = get(home, job.id)  # it may have ended between the two looks
    if not fresh.is_active:
        return fresh
    error = OpsError(
        f"The {job.kind} was interrupted: its process ended.",
        "Start it again. A restore is finished or rolled back before anything else begins.",
    ).as_dict()
    _write(home, job.id, state=State.INTERRUPTED, ended=time.time(), error=error)
    ended = get(home, job.id)
    follow_up(home, ended)
    return ended


def _lock_of(folder: DataFolder, job_id: str) -> Path:
    return folder.locks / f"job-{job_id}.lock"


def _write(home: Installation, job_id: str, **values: Any) -> None:
    with home.store.begin() as store:
        store.execute(update(table).where(table.c.id == job_id).values(**values))


def _job(row: RowMapping) -> Job:
    values = {name: row[name] for name in Job.__dataclass_fields__}
    values["state"] = State(row["state"])
    values["cancel_asked"] = bool(row["cancel_asked"])
    return Job(**values)

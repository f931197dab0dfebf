"""Waiting for what comes about in other processes, and keeping a job where a test wants it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ops.installation import Installation
from ops.jobs import Job, recent, start
from tests.databases import SQLiteDatabase


def wait_for(is_so: Callable[[], bool], seconds: float) -> None:
    """Returns once it is so."""
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.05)


def until(
    home: Installation, job_id: str, holds: Callable[[Job], bool], seconds: float = 30
) -> Job:
    """The job once that holds, as a page would see it."""
    ends = time.monotonic() + seconds
    while True:
        job = next(job for job in recent(home) if job.id == job_id)
        if holds(job):
            return job
        assert time.monotonic() < ends, f"waited too long: {job}"
        time.sleep(0.02)


def ended(home: Installation, job_id: str, seconds: float = 30) -> Job:
    """The job once it neither waits nor runs."""
    return until(home, job_id, lambda job: not job.is_active, seconds)


@contextmanager
def held_by_another(live: SQLiteDatabase) -> Iterator[None]:
    """Another program is writing: a restore waits, and reports that it does."""
    with closing(sqlite3.connect(live.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def waiting_restore(home: Installation, archive: Path, seconds: float = 30) -> str:
    """A restore job that has got to where it waits for the other program."""
    job_id = start(home, "restore", "live", "somebody", {"archive": str(archive)})
    until(home, job_id, lambda job: job.note.startswith("Waiting for another"), seconds)
    return job_id

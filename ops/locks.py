"""Locks between processes, freed by the system when their owner dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.datafolder import DataFolder, safe_name
from ops.errors import Busy


@contextmanager
def target_lock(folder: DataFolder, target: str) -> Iterator[None]:
    """Only one piece of work at a time writes a target or its catalog. Raises Busy."""
    path = folder.locks / f"target-{safe_name(target)}.lock"
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"Another backup or restore of {target!r} is running.",
                "Wait until it has finished, then try again.",
            ) from None
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file at `path`."""
    try:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` while the work goes on; waits for nobody."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield

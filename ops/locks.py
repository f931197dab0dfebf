"""Locks between processes, freed by the system when their owner dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

from ops.datafolder import DataFolder, safe_name
from ops.dialects import dialect_of
from ops.errors import Busy
from ops.target import Target


@contextmanager
def target_lock(folder: DataFolder, target: Target) -> Iterator[None]:
    """Only one piece of work at a time writes a target or its catalog. Raises Busy.

    The database itself is locked too: another target may be the same one under another name.
    """
    identity = dialect_of(target.engine).identity(target.engine)
    place = sha256(identity.encode(errors="surrogateescape")).hexdigest()[:32]
    with ExitStack() as locks:
        for name in (f"target-{safe_name(target.name)}", f"database-{place}"):
            try:
                locks.enter_context(held(folder.locks / f"{name}.lock"))
            except BlockingIOError:
                raise Busy(
                    f"Another backup or restore of {target.name!r} is running, perhaps under "
                    "another name of the same database.",
                    "Wait until it has finished, then try again.",
                ) from None
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file at `path`."""
    try:
        with held(path):
            return False
    except BlockingIOError:
        return True


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` while the work goes on.

    Raises:
        BlockingIOError: somebody else holds it; this waits for nobody.
    """
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield

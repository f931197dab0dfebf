"""Which locks an installation has, and the one that guards a target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from typing import Final

from sqlalchemy import Engine

from ops.datafolder import DataFolder, safe_name
from ops.dialects import dialect_of
from ops.errors import Busy
from ops.named_locks import AdvisoryLocks, FileLocks, Locks
from ops.target import Target

_SHARED: Final = {"postgresql": AdvisoryLocks}
"""Kinds of store whose locks hold between machines."""


def locks_in(folder: DataFolder, store: Engine) -> Locks:
    """The locks of those who share a store; files where that kind of store has none."""
    files = FileLocks(folder.locks)
    kind = _SHARED.get(store.dialect.name)
    return files if kind is None else kind(store, files)


def locks_of(folder: DataFolder) -> Locks:
    """The locks of an installation, by its data folder."""
    return folder.shared_locks or FileLocks(folder.locks)


@contextmanager
def target_lock(folder: DataFolder, target: Target) -> Iterator[None]:
    """Only one piece of work at a time writes a target or its catalog. Raises Busy.

    The database itself is locked too: another target may be the same one under another name.
    """
    identity = dialect_of(target.engine).identity(target.engine)
    place = sha256(identity.encode(errors="surrogateescape")).hexdigest()[:32]
    locks = locks_of(folder)
    with ExitStack() as hold:
        for name in (f"target-{safe_name(target.name)}", f"database-{place}"):
            try:
                hold.enter_context(locks.held(name))
            except BlockingIOError:
                raise Busy(
                    f"Another backup or restore of {target.name!r} is running, perhaps under "
                    "another name of the same database.",
                    "Wait until it has finished, then try again.",
                ) from None
        yield

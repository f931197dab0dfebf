"""Locks between processes, freed when their owner dies.

Where one machine works alone, they are files that the system locks. Where several share a store
in PostgreSQL, a lock is one of its advisory locks as well, held by a session of its own: the
server frees it when the owner's connection ends, whatever the reason.
"""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

log = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS: Final = 2.0
_LOOKERS: Final = 5
_INSTANT_SECONDS: Final = 0.01


class Locks(ABC):
    """Locks by name. `lost` is set when one of ours was taken by somebody else meanwhile."""

    patience_seconds: float = 0.0
    """How long a living owner on another machine may be without its lock."""

    def __init__(self) -> None:
        self.lost = threading.Event()

    @abstractmethod
    def held(self, name: str) -> AbstractContextManager[None]:
        """Hold a lock while the work goes on.

        Raises:
            BlockingIOError: somebody else holds it; this waits for nobody.
        """

    @abstractmethod
    def is_held(self, name: str) -> bool:
        """Whether a living process holds it."""

    @abstractmethod
    def forget(self, name: str) -> None:
        """Remove what is left of a lock that nobody will ask for again."""


class FileLocks(Locks):
    """Lock files in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def held(self, name: str) -> AbstractContextManager[None]:
        return held(self._path(name))

    def is_held(self, name: str) -> bool:
        path = self._path(name)
        return path.exists() and is_held(path)

    def forget(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"


class AdvisoryLocks(Locks):
    """PostgreSQL's advisory locks, and the files too: a folder that is shared stays guarded while
    the store restarts, which frees every advisory lock until its owner has taken it anew."""

    patience_seconds = 20.0

    def __init__(self, store: Engine, files: FileLocks) -> None:
        super().__init__()
        self._files = files
        self._store = store
        # A small session for each lock: taken twice in one session, it would be granted twice.
        self._engine = create_engine(
            store.url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"application_name": "ops-console lock", **_NOTICE_DEATH},
        )

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        with self._files.held(name), _Hold(self._engine, _number_of(name), self.lost):
            yield

    def is_held(self, name: str) -> bool:
        if self._files.is_held(name):
            return True
        with self._store.connect() as session:
            query = text(_IS_HELD)
            return bool(session.execute(query, {"number": _number_of(name)}).scalar())

    def forget(self, name: str) -> None:
        self._files.forget(name)


_NOTICE_DEATH: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
}
"""A machine that loses its power sends no farewell: both ends ask after 10 quiet seconds."""

_IS_HELD: Final = """
SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND ((classid::bigint << 32) | objid::bigint) = :number)
"""
"""Looking must not take the lock, not even for an instant: its owner could then be refused."""


class _Hold:
    """One advisory lock. A thread asks its session now and then, and takes the lock anew when
    the store was restarted."""

    def __init__(self, engine: Engine, number: int, lost: threading.Event) -> None:
        self._engine = engine
        self._number = number
        self._lost = lost
        self._over = threading.Event()
        self._session: Connection | None = None
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> None:
        if not self._take():
            raise BlockingIOError
        self._keeper.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._keeper.join(_LOOK_EVERY_SECONDS)
        self._let_go()

    def _take(self) -> bool:
        self._session = self._engine.connect()
        query = text("SELECT pg_try_advisory_lock(:number)")
        if self._session.execute(query, {"number": self._number}).scalar():
            return True
        self._let_go()
        return False

    def _let_go(self) -> None:
        if self._session is not None:
            with suppress(SQLAlchemyError):
                self._session.close()
            self._session = None

    def _keep(self) -> None:
        while not self._over.wait(_LOOK_EVERY_SECONDS):
            try:
                if self._session is None:
                    if not self._take():
                        log.error("a lock was lost while the store did not answer")
                        self._lost.set()
                        return
                else:
                    self._session.execute(text("SELECT 1"))
            except SQLAlchemyError:
                self._let_go()


def _number_of(name: str) -> int:
    """The positive 63-bit number by which the server knows a lock."""
    return int.from_bytes(sha256(f"ops-console {name}".encode()).digest()[:8], "big") >> 1


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file at `path`."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` while the work goes on.

    Raises:
        BlockingIOError: somebody else holds it; this waits for nobody.
    """
    with path.open("a") as file:
        _lock(file)
        yield


def _lock(file: IO[str]) -> None:
    """Somebody who only looks whether the lock is held holds it for an instant."""
    for _ in range(_LOOKERS):
        with suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_INSTANT_SECONDS)
    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

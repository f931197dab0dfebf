"""Opening SQLite files, and saying in words what went wrong with one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import Engine

from ops.errors import Busy, OpsError, Refused, Unavailable

SIDE_FILES = ("-wal", "-shm", "-journal")


def file_of(engine: Engine) -> Path:
    """The file behind an engine.

    Raises:
        Refused: a database in memory has no file to look after.
    """
    name = engine.url.database or ""
    if name.startswith("file:"):
        name = unquote(urlsplit(name).path)
    if name in ("", ":memory:"):
        raise Refused(
            "This SQLite database lives in memory only; there is no file to look after.",
            "Set DATABASE_URL to a file, like sqlite:////path/to/file.db.",
        )
    return Path(name).absolute()


@contextmanager
def reading(
    path: Path, *, frozen: bool = False, timeout: float = 5
) -> Iterator[sqlite3.Connection]:
    """A read-only connection of its own to `path`, errors translated.

    `frozen` promises that nobody writes the file meanwhile: no locks, no side files.
    """
    flags = "mode=ro&immutable=1" if frozen else "mode=ro"
    with translated(path), closing(_open(f"{path.as_uri()}?{flags}", timeout)) as connection:
        yield connection


@contextmanager
def writing(path: Path, *, timeout: float = 5) -> Iterator[sqlite3.Connection]:
    """A connection of its own that may write `path`, errors translated."""
    with translated(path), closing(_open(f"{path.as_uri()}?mode=rwc", timeout)) as connection:
        yield connection


def _open(uri: str, timeout: float) -> sqlite3.Connection:
    # isolation_level=None: transactions begin where the code says so, nowhere else.
    return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn sqlite3's errors about `path` into errors for people."""
    try:
        yield
    except sqlite3.Error as cause:
        raise _in_words(path, cause) from cause


def _in_words(path: Path, cause: sqlite3.Error) -> OpsError:
    code = (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF
    detail = f"{type(cause).__name__}: {cause} ({path})"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(
            f"Another program is holding the database {path.name}.",
            "Wait until it has finished, or stop it, then try again.",
            detail,
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Unavailable(
            f"The database file {path.name} is damaged; part of it cannot be read.",
            "Keep the file as it is and restore your newest good backup.",
            detail,
        )
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return OpsError(
            "The disk is full or does not answer; the work was stopped and undone.",
            "Make room on the disk, then try again.",
            detail,
        )
    missing = not path.exists()
    return Unavailable(
        f"The database file {path.name} {'does not exist' if missing else 'cannot be opened'}.",
        "Check DATABASE_URL, and whether this user may read and write the file and its folder.",
        detail,
    )

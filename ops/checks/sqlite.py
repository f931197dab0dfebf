"""Looking into a SQLite database to ask about its health."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from ops.checks.base import CannotCheck, Check, Context
from ops.checks.sqlite_contents import CHECKS as CONTENTS
from ops.checks.sqlite_place import CHECKS as PLACE
from ops.checks.words import duration
from ops.dialects.sqlite.connect import bytes_of, file_of, reading

_SECONDS_PER_QUESTION: Final = 2.0
_SECONDS_PER_DEEP_QUESTION: Final = 6 * 3600.0
_STEPS_BETWEEN_LOOKS: Final = 10_000

CHECKS: Final[tuple[Check, ...]] = (*CONTENTS, *PLACE)


@contextmanager
def open_context(
    engine: Engine, copy: Path | None = None, *, deep: bool = False
) -> Iterator[Context]:
    """Look through a read-only connection; a question ends after two seconds, a `deep` one
    after six hours. `copy` is a file of our own to look into instead.

    Raises:
        OpsError: the file cannot be opened, is damaged at the root, or is locked.
    """
    path = copy or file_of(engine)
    seconds = _SECONDS_PER_DEEP_QUESTION if deep else _SECONDS_PER_QUESTION
    with reading(path, frozen=copy is not None, timeout=1) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        facts = {
            "path": path,
            "engine": engine,
            "is_copy": copy is not None,
            "file_bytes": path.stat().st_size,
            "wal_bytes": bytes_of(path.with_name(path.name + "-wal")),
        }
        ask = partial(_ask, connection, seconds)
        yield Context(ask, facts, sqlite3.sqlite_version, is_deep=deep)


def _ask(connection: sqlite3.Connection, seconds: float, query: str) -> list[Mapping[str, Any]]:
    ends = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > ends, _STEPS_BETWEEN_LOOKS)
    try:
        return [dict(row) for row in connection.execute(query).fetchall()]
    except sqlite3.Error as cause:
        raise _cannot(cause, seconds) from cause
    finally:
        connection.set_progress_handler(None, 0)


def _cannot(cause: sqlite3.Error, seconds: float) -> CannotCheck:
    code = (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF
    detail = f"{type(cause).__name__}: {cause}"
    if code == sqlite3.SQLITE_INTERRUPT:
        return CannotCheck(
            f"it took longer than {duration(seconds)}",
            "Try again when the database is less busy.",
            detail,
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CannotCheck(
            "part of the file is damaged", "Restore your newest good backup.", detail
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return CannotCheck("another program is holding the database", "Try again later.", detail)
    return CannotCheck("SQLite answered with an error", "The details name it.", detail)

"""Looking into a SQLite database to ask about its health."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from ops.checks.base import CannotCheck, Check, Context, DoorShut
from ops.checks.sqlite_contents import CHECKS as CONTENTS
from ops.checks.sqlite_contents import value
from ops.checks.sqlite_deep import CHECKS as DEEP
from ops.checks.sqlite_design import CHECKS as DESIGN
from ops.checks.sqlite_library import CHECKS as LIBRARY
from ops.checks.sqlite_library import header_of
from ops.checks.sqlite_place import CHECKS as PLACE
from ops.checks.sqlite_place import LEFT_OVER
from ops.checks.words import duration
from ops.dialects.sqlite.connect import SIDE_FILES, bytes_of, file_of, reading
from ops.dialects.sqlite.wary import look_at_live

_SECONDS_PER_QUESTION: Final = 2.0
_SECONDS_PER_DEEP_QUESTION: Final = 6 * 3600.0
_STEPS_BETWEEN_LOOKS: Final = 10_000

CHECKS: Final[tuple[Check, ...]] = (*CONTENTS, *DEEP, *PLACE, *DESIGN, *LIBRARY)


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
    with _settled(path, copy is not None) as (connection, things):
        facts = {
            "path": path,
            "engine": engine,
            "is_copy": copy is not None,
            "things": things,
            "file_bytes": path.stat().st_size,
            "wal_bytes": bytes_of(path.with_name(path.name + "-wal")),
        }
        facts["header"] = cache(partial(header_of, path))
        facts["structure"] = partial(_structure, connection, seconds)
        ask = partial(_ask, connection, seconds)
        yield Context(ask, facts, sqlite3.sqlite_version, is_deep=deep)


@contextmanager
def _settled(path: Path, frozen: bool) -> Iterator[tuple[sqlite3.Connection, int]]:
    """A connection that has looked into the file, and how many definitions that holds.

    Where a change was cut off half-way, SQLite would have to write before it can read; that is
    a finding, and for a person to decide.
    """
    with reading(path, frozen=frozen, timeout=1) as connection:
        connection.row_factory = sqlite3.Row
        try:
            things = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        except sqlite3.OperationalError as cause:
            if getattr(cause, "sqlite_errorcode", 0) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            half_done = Context(partial(_ask, connection, 0.0), {"half_done": str(cause)})
            raise DoorShut(LEFT_OVER.answer(half_done)) from cause
        yield connection, things


def _ask(connection: sqlite3.Connection, seconds: float, query: str) -> list[Mapping[str, Any]]:
    with _limited(connection, seconds):
        return [dict(row) for row in connection.execute(query).fetchall()]


def _structure(connection: sqlite3.Connection, seconds: float) -> list[str]:
    """SQLite's own check of the file, with its list of free pages: `["ok"]`, or problems."""
    with _limited(connection, seconds):
        return look_at_live(connection, 10)


@contextmanager
def _limited(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    ends = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > ends, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    except sqlite3.Error as cause:
        raise _cannot(cause, seconds) from cause
    finally:
        connection.set_progress_handler(None, 0)


def details(context: Context) -> dict[str, object]:
    """Figures for a report; sizes in bytes."""
    path: Path = context.facts["path"]
    names = ("page_size", "page_count", "freelist_count", "journal_mode", "user_version")
    figures: dict[str, object] = {name: value(context, name) for name in names}
    for end in SIDE_FILES:
        figures[f"file{end}_bytes"] = bytes_of(path.with_name(path.name + end))
    return figures | {
        "file_bytes": context.facts["file_bytes"],
        "sqlite_version": sqlite3.sqlite_version,
    }


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

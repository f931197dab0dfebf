"""What is asked about the SQLite that the app writes with, which it has left in the file's head."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.dialects.sqlite.stream import bytes_of_file
from ops.errors import OpsError

_HEADER_BYTES: Final = 100
_JOURNAL_MODE: Final = slice(18, 20)
"""Write and read version, 2 for WAL (file format 1.3.3)."""
_WRITTEN_BY: Final = slice(96, 100)
"""The bytes of the header that hold the number of the library which wrote last."""

_WAL_RESET_MENDED: Final = {44: 6, 50: 7, 51: 3}
"""The first mended release of a line 3.x, sqlite.org/wal.html, "The WAL-Reset Bug"."""

_NEVER_WRITTEN: Final = "No program has written to this file yet."


def header_of(path: Path) -> bytes:
    """The file's first bytes, none of a shorter one. By a process of its own: opened and closed in
    this one, the file would lose the locks of whoever uses it here, and with them what keeps it
    whole. Raises CannotCheck."""
    try:
        if path.stat().st_size < _HEADER_BYTES:
            return b""
        with bytes_of_file(path, _HEADER_BYTES) as stream:
            return stream.read()
    except (OpsError, OSError) as error:
        detail = error.detail if isinstance(error, OpsError) else str(error)
        raise CannotCheck("the file cannot be read", detail=detail) from error


def _written_by(context: Context) -> tuple[int, int, int] | None:
    """The version of the library that wrote last; None where none has."""
    number = int.from_bytes(context.facts["header"]()[_WRITTEN_BY], "big")
    return (number // 1_000_000, number // 1000 % 1000, number % 1000) if number else None


def _library(context: Context, check: Check) -> Reading:
    version = _written_by(context)
    if version is None:
        return Reading(Level.GOOD, sentence=_NEVER_WRITTEN)
    ours = sqlite3.sqlite_version_info
    behind = ours[1] - version[1] if version[0] == ours[0] else 1000 * (ours[0] - version[0])
    level = Level.GOOD if check.judge(behind) is Level.GOOD else Level.INFO
    return Reading(level, {"version": _told(version)}, behind, _detail(version))


def _wal_reset(context: Context, check: Check) -> Reading:
    version = _written_by(context)
    if version is None:
        return Reading(Level.GOOD, sentence=_NEVER_WRITTEN)
    is_wal = context.facts["header"]()[_JOURNAL_MODE] == b"\x02\x02"
    level = Level.INFO if is_wal and not _is_mended(version) else Level.GOOD
    return Reading(level, {"version": _told(version)}, detail=_detail(version))


def _is_mended(version: tuple[int, int, int]) -> bool:
    """Whether a release is free of the fault.

    >>> [_is_mended(one) for one in ((3, 6, 23), (3, 40, 1), (3, 44, 6), (3, 45, 9), (3, 51, 3))]
    [True, False, True, False, True]
    """
    since, mended = (3, 7, 0), _WAL_RESET_MENDED.get(version[1])
    newest_line = max(_WAL_RESET_MENDED)
    if version < since or version[:2] > (3, newest_line):
        return True
    return mended is not None and version[2] >= mended


def _told(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


def _detail(version: tuple[int, int, int]) -> str:
    return f"last written by SQLite {_told(version)}; this console has {sqlite3.sqlite_version}"


CHECKS: Final[tuple[Check, ...]] = (
    Check(
        id="sqlite.library",
        title="Age of the app's SQLite",
        measure=_library,
        finding="The app writes with SQLite {version}, which is years older than this console's.",
        why="Faults that were repaired since are still in it.",
        fix="Ask whoever makes the app for a version with a newer SQLite.",
        good="The app's SQLite is no older than a few years.",
        unit="versions behind",
        warning=15,
        source="about four versions appear a year (sqlite.org); 15 own",
    ),
    Check(
        id="sqlite.wal_reset",
        title="A rare fault of SQLite",
        measure=_wal_reset,
        finding="The app writes with SQLite {version}, in which a rare fault is not repaired yet.",
        why="Where two programs write to the file at the very same moment, something saved can "
        "get lost or the file be damaged. It has to do with a tidying-up that both begin at once.",
        fix="Ask whoever makes the app for a version with SQLite 3.51.3 or newer (3.50.7 and "
        "3.44.6 are repaired as well). Until then, let the console make a backup every day.",
        good="The app's SQLite is free of the fault that can lose what two programs save at once.",
        source='sqlite.org/wal.html, "The WAL-Reset Bug": 3.7.0 to 3.51.2, in WAL mode only',
    ),
)

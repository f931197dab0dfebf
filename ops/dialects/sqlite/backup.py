"""Taking a snapshot of a SQLite database by the online backup API."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ops.archive.manifest import TableRows
from ops.dialects.base import Notice, NoticeLevel, Snapshot, with_columns
from ops.dialects.sqlite.connect import SIDE_FILES, bytes_of, heeding, reading, translated, writing
from ops.dialects.sqlite.rows import as_shapes
from ops.dialects.sqlite.wary import count_tables, shapes
from ops.progress import Progress

_PAGES_PER_STEP: Final = 2000
_QUICK_COPY: Final = (
    "synchronous=OFF",
    "journal_mode=OFF",
    "locking_mode=EXCLUSIVE",
    "cache_size=500",
)
"""The copy is nobody else's, and thrown away if anything goes wrong. A small cache lets its pages
go to the file while they are still in the processor's: half the time of SQLite's default."""


def notices(path: Path, workspace: Path) -> list[Notice]:
    """Room for the copy and its ZIP; whether the file opens at all."""
    with reading(path) as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    need, free = 2 * total_bytes(path), shutil.disk_usage(workspace).free
    if free < need * 1.1:
        return [
            Notice(
                NoticeLevel.REFUSE,
                f"There is not enough room for a backup: it may need {need:,} bytes, "
                f"{free:,} are free.",
                "Delete old backups or make room on the disk.",
            )
        ]
    return []


def total_bytes(path: Path) -> int:
    """The database file with its side files."""
    files = [path, *(path.with_name(path.name + end) for end in SIDE_FILES)]
    return sum(bytes_of(file) for file in files)


def dump(path: Path, into: Path, progress: Progress, *, checksums: bool) -> Snapshot:
    """Copy the database as of now into `into`, under writers, without stopping them in WAL mode.

    A read transaction is held open on the source: with it the snapshot stands still, so the
    copy can go in steps that report and can be cancelled. Without it a copy in steps starts
    anew at every foreign write and did not finish in 40 s under two writers.
    """
    with reading(path, timeout=30) as source, writing(into) as copy:
        _make_quick(copy)
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        taken_at = datetime.now(UTC)

        def step(_status: int, remaining: int, total: int) -> None:
            copied.report(total - remaining, total, "Copying the database")

        copied = progress.within(0, 0.3 if checksums else 0.9)
        source.backup(copy, pages=_PAGES_PER_STEP, progress=step)
        details = _details(source)
        source.execute("ROLLBACK")
    # Counted on the copy, which is the snapshot; by rule never on a live database.
    with reading(into, frozen=True) as connection:
        tables = _counted(connection, checksums, progress.within(0.3 if checksums else 0.9, 1))
        tables = with_columns(tables, as_shapes(shapes(connection, to_show=True)))
    version = sqlite3.sqlite_version
    return Snapshot(taken_at, tables, version, f"SQLite online backup {version}", False, details)


def _counted(
    connection: sqlite3.Connection, checksums: bool, progress: Progress
) -> tuple[TableRows, ...]:
    """As the limited process counts them; can be stopped in the middle of a table."""
    with heeding(connection, lambda: progress.report(0, 1, "Counting rows")):
        return tuple(
            TableRows(name=name, rows=rows, checksum=checksum)
            for name, rows, checksum in count_tables(connection, checksums=checksums)
        )


def _make_quick(copy: sqlite3.Connection) -> None:
    """Settings for a copy that is nobody else's: the flush comes later, once."""
    for setting in _QUICK_COPY:
        copy.execute(f"PRAGMA {setting}")


def copy_file(source_path: Path, into: Path) -> None:
    """A plain snapshot copy without a report, for the safety copy under a lock."""
    with reading(source_path) as source, writing(into) as copy, translated(into):
        _make_quick(copy)
        source.backup(copy, pages=-1)


def _details(connection: sqlite3.Connection) -> dict[str, str | int]:
    names = ("encoding", "page_size", "journal_mode", "user_version", "application_id")
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

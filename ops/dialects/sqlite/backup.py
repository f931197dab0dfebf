"""Taking a snapshot of a SQLite database."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ops.archive.manifest import TableRows
from ops.dialects.base import Notice, NoticeLevel, Sink, Snapshot, with_columns
from ops.dialects.sqlite.connect import (
    SIDE_FILES,
    bytes_of,
    heeding,
    hold_snapshot,
    reading,
    translated,
    writing,
)
from ops.dialects.sqlite.rows import as_shapes
from ops.dialects.sqlite.stream import bytes_of_file, held_still, size_of
from ops.dialects.sqlite.wary import count_tables, shapes
from ops.progress import Progress

_PAGES_PER_STEP: Final = 2000
_PATIENCE_SECONDS: Final = 30
"""With a rollback journal, programs that write without a pause leave few moments to a reader."""
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
    with reading(path, timeout=_PATIENCE_SECONDS) as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    need, free = 2 * total_bytes(path), shutil.disk_usage(workspace).free
    if free < need * 1.1:
        return [
            Notice(
                NoticeLevel.REFUSE,
                f"There is not enough room for a backup: it may need {need:,} bytes, "
                f"{free:,} are free.",
                "Delete old backups or make room on the disk.",
                is_about_room=True,
            )
        ]
    return []


def total_bytes(path: Path) -> int:
    """The database file with its side files."""
    files = [path, *(path.with_name(path.name + end) for end in SIDE_FILES)]
    return sum(bytes_of(file) for file in files)


def dump(
    path: Path, workspace: Path, sink: Sink, progress: Progress, *, checksums: bool
) -> Snapshot:
    """The database as of now, under writers, without stopping them in WAL mode: straight from
    its file where that stands still, else by way of a copy.

    Checksums read every row, which takes too long for holding a snapshot: so they need the copy.
    """
    if not checksums:
        with held_still(path) as source:
            if source is not None:
                return _streamed(source, path, sink, progress)
    return _copied(path, workspace, sink, progress, checksums=checksums)


def _streamed(source: sqlite3.Connection, path: Path, sink: Sink, progress: Progress) -> Snapshot:
    taken_at, size = datetime.now(UTC), size_of(source)
    with bytes_of_file(path, size) as stream:
        sink(stream, size, compressed=False, progress=progress.within(0, 0.95))
    return _snapshot(source, _details(source), taken_at, False, progress.within(0.95, 1))


def _copied(
    path: Path, workspace: Path, sink: Sink, progress: Progress, *, checksums: bool
) -> Snapshot:
    """By SQLite's online backup.

    A read transaction is held open on the source: with it the snapshot stands still, so the
    copy can go in steps that report and can be cancelled. Without it a copy in steps starts
    anew at every foreign write and did not finish in 40 s under two writers.
    """
    into, copied = workspace / "copy.db", progress.within(0, 0.2)
    with reading(path, timeout=_PATIENCE_SECONDS) as source, writing(into) as copy:
        _make_quick(copy)
        hold_snapshot(source)
        taken_at = datetime.now(UTC)

        def step(_status: int, remaining: int, total: int) -> None:
            copied.report(total - remaining, total, "Copying the database")

        source.backup(copy, pages=_PAGES_PER_STEP, progress=step)
        details = _details(source)
        source.execute("ROLLBACK")
    with into.open("rb", buffering=0) as stream:
        packing = progress.within(0.2, 0.7 if checksums else 0.95)
        sink(stream, into.stat().st_size, compressed=False, progress=packing)
    # Counted on the copy, which is the snapshot: the live database is let go by now.
    with reading(into, frozen=True) as connection:
        counting = progress.within(0.7 if checksums else 0.95, 1)
        snapshot = _snapshot(connection, details, taken_at, checksums, counting)
    into.unlink()
    return snapshot


def _snapshot(
    connection: sqlite3.Connection,
    details: dict[str, str | int],
    taken_at: datetime,
    checksums: bool,
    progress: Progress,
) -> Snapshot:
    """What is known of the database that `connection` sees."""
    tables = _counted(connection, checksums, progress)
    tables = with_columns(tables, as_shapes(shapes(connection, to_show=True)))
    version = sqlite3.sqlite_version
    return Snapshot(taken_at, tables, version, f"SQLite {version}", details)


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


def copy_file(source_path: Path, into: Path, watch: Callable[[], None]) -> None:
    """A snapshot copy without a report, for the safety copy under a lock. `watch` is called
    again and again; what it raises breaks the copy off."""
    with reading(source_path) as source, writing(into) as copy, translated(into):
        _make_quick(copy)
        hold_snapshot(source)  # as in `_copied`
        source.backup(copy, pages=_PAGES_PER_STEP, progress=lambda *_: watch())


def _details(connection: sqlite3.Connection) -> dict[str, str | int]:
    names = ("encoding", "page_size", "journal_mode", "user_version", "application_id")
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

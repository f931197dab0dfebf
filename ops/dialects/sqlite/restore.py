"""Before a SQLite restore: what speaks against it, staging, and keeping what is staged."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ops.archive.manifest import Manifest, TableRows
from ops.datafolder import replace_durably
from ops.dialects.base import Notice, NoticeLevel, Replacement
from ops.dialects.sqlite.backup import total_bytes
from ops.dialects.sqlite.connect import cannot_open, reading
from ops.dialects.sqlite.inspect import inspect, reading_of
from ops.errors import Unavailable
from ops.journal import Journal, Step
from ops.progress import Progress

BUSY_DEADLINE_SECONDS: Final = 60
_PATIENCE_BYTES: Final = 300 << 20
_BYTES_PER_SECOND: Final = 90 << 20
"""Measured: putting 1 GiB in place takes 6 to 12 s; many programs wait 5 s and give up."""


def notices(path: Path, manifest: Manifest, workspace: Path) -> list[Notice]:
    """Room for staging and safety copy, and whether the live file can be written."""
    if not path.parent.is_dir():
        raise cannot_open(path)
    found = []
    staged = sum(entry.size for entry in manifest.entries)
    need = int((staged + total_bytes(path)) * 1.1)
    for place in {workspace, path.parent}:
        free = shutil.disk_usage(place).free
        if free < need:
            found.append(
                Notice(
                    NoticeLevel.REFUSE,
                    f"There is not enough room to restore safely: about {need:,} bytes "
                    f"are needed, {free:,} are free.",
                    "Delete old backups or make room on the disk.",
                )
            )
    size = max(staged, total_bytes(path))
    if size > _PATIENCE_BYTES:
        found.append(
            Notice(
                NoticeLevel.WARN,
                "The database is large: programs that use it have to wait for up to "
                f"{size // _BYTES_PER_SECOND + 1} seconds while the backup is put in place, and "
                "many give up after 5. What they had saved before is safe.",
                "Stop those programs for that long, or restore when nobody works with them.",
            )
        )
    if is_damaged(path):
        found.append(
            Notice(
                NoticeLevel.WARN,
                "The database file is damaged or missing. The damaged file will be kept aside; "
                "this restore cannot be undone by a button.",
            )
        )
    return found


def is_damaged(path: Path) -> bool:
    """Whether SQLite cannot open the live file at all (missing, or not a database)."""
    if not path.exists():
        return True
    try:
        with reading(path, timeout=BUSY_DEADLINE_SECONDS) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except Unavailable as error:
        # The subclass OperationalError tells of locks and rights, not of damage.
        if type(error.__cause__) is not sqlite3.DatabaseError:
            raise
        return True
    return False


def stage(path: Path, dump: Path, progress: Progress, *, checksums: bool) -> Replacement:
    """Check the unpacked file in a limited process, fit it to the live one, and count it."""
    check, count = progress.within(0, 0.5), progress.within(0.5, 1)
    watch = reading_of(dump, check, "Checking the database inside the backup")
    page_size = inspect("check", dump, watch=watch)["page_size"]
    notes: tuple[str, ...] = ()
    if not is_damaged(path):
        with reading(path, timeout=BUSY_DEADLINE_SECONDS) as live:
            mode = live.execute("PRAGMA journal_mode").fetchone()[0]
            live_page_size = live.execute("PRAGMA page_size").fetchone()[0]
        if mode == "wal" and live_page_size != page_size:
            # SQLite cannot change the page size of a database in WAL mode while writing it.
            inspect("resize", dump, str(live_page_size), watch=watch)
            notes = ("The backup was rewritten with the live database's page size.",)
    tables = _counted(dump, reading_of(dump, count, "Counting rows"), checksums=checksums)
    return Replacement(str(dump), dump.stat().st_size, notes=notes, tables=tables)


def _counted(file: Path, watch: Callable[[], None], *, checksums: bool) -> tuple[TableRows, ...]:
    """The exact rows of every table of a file that nobody writes, in a limited process."""
    verb = "checksums" if checksums else "count"
    counted = inspect(verb, file, watch=watch)["tables"]
    return tuple(TableRows(name=name, rows=rows, checksum=sum_) for name, rows, sum_ in counted)


def keep_beside(live: Path, staged: Replacement, journal: Journal) -> Replacement:
    """Copy the staged file, which goes with the workspace, to a name beside the live file."""
    kept = live.with_name(f"{live.stem}__look_{journal.id}{live.suffix or '.db'}")
    draft = kept.with_name(kept.name + ".part")
    journal.advance(Step.VERIFIED, beside=str(kept), beside_draft=str(draft))
    try:
        shutil.copyfile(staged.location, draft)
        _open_like(live, draft)
        replace_durably(draft, kept)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return Replacement(str(kept), kept.stat().st_size)


def _open_like(live: Path, file: Path) -> None:
    """Whoever may read the live file may look at this one; others not."""
    file.chmod(0o600)
    with suppress(FileNotFoundError):
        told = live.stat()
        with suppress(PermissionError):  # only root may give a file away
            os.chown(file, told.st_uid, told.st_gid)
        file.chmod(told.st_mode & 0o666)

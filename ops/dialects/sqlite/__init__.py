"""Everything the console knows about SQLite."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Engine

from ops.archive.manifest import Manifest
from ops.checks.base import Check, Context
from ops.dialects.base import (
    DatabaseFacts,
    Dialect,
    LiveRows,
    Notice,
    PoolStats,
    Replacement,
    RowSource,
    ServerSessions,
    Sink,
    SizeReport,
    SlowStatements,
    Snapshot,
    StatementOrder,
    Stuck,
    WaitingSession,
)
from ops.dialects.sqlite import backup, figures, restore, rows, settle, stuck, swap
from ops.dialects.sqlite.connect import file_of
from ops.dialects.sqlite.inspect import inspect, reading_of
from ops.journal import Journal
from ops.progress import Progress


class SQLite(Dialect):
    """A database in one file, written by whatever program opens it."""

    backend = "sqlite"
    title = "SQLite"
    entry_suffix = ".db"
    swap_share = 0.45

    def database_name(self, engine: Engine) -> str:
        return file_of(engine).stem

    def identity(self, engine: Engine) -> str:
        return str(file_of(engine).resolve())

    def facts(self, engine: Engine) -> DatabaseFacts:
        path = file_of(engine)
        figures.open_once(path)
        size = backup.total_bytes(path)
        return DatabaseFacts(path.stem, self.title, sqlite3.sqlite_version, str(path), size)

    def live_rows(self, engine: Engine) -> tuple[LiveRows, ...]:
        return figures.live_rows(file_of(engine))

    def sizes(self, engine: Engine, *, exact: bool = False) -> SizeReport:
        return figures.sizes(file_of(engine), exact=exact)

    def pool_stats(self, engine: Engine) -> PoolStats | None:
        return None  # opening a file is so cheap that a pool of it tells nothing

    def sessions(self, engine: Engine) -> ServerSessions | None:
        return None  # there is no server that could know

    def free_disk(self, engine: Engine) -> int | None:
        return shutil.disk_usage(file_of(engine).parent).free

    def waits(self, engine: Engine) -> tuple[WaitingSession, ...] | None:
        return None

    def slow_statements(
        self, engine: Engine, order: StatementOrder, most: int
    ) -> SlowStatements | None:
        return None

    def checks(self) -> tuple[Check, ...]:
        from ops.checks.sqlite import CHECKS

        return CHECKS

    def health_context(
        self, engine: Engine, *, staged: Replacement | None = None, deep: bool = False
    ) -> AbstractContextManager[Context]:
        from ops.checks.sqlite import open_context

        return open_context(engine, None if staged is None else Path(staged.location), deep=deep)

    def health_details(self, context: Context) -> dict[str, object]:
        from ops.checks.sqlite import details

        return details(context)

    def backup_notices(self, engine: Engine, workspace: Path) -> list[Notice]:
        return backup.notices(file_of(engine), workspace)

    def dump(
        self,
        engine: Engine,
        workspace: Path,
        sink: Sink,
        progress: Progress,
        *,
        checksums: bool = False,
    ) -> Snapshot:
        return backup.dump(file_of(engine), workspace, sink, progress, checksums=checksums)

    def check_dump(self, dump: Path, manifest: Manifest, progress: Progress) -> None:
        note = "Checking the database inside the backup"
        inspect("check", dump, watch=reading_of(dump, progress, note))

    def restore_notices(
        self, engine: Engine, manifest: Manifest, workspace: Path, *, foreign: bool
    ) -> list[Notice]:
        return restore.notices(file_of(engine), manifest, workspace)

    def stages_beside(self, engine: Engine) -> bool:
        return True

    def stage(
        self,
        engine: Engine,
        dump: Path,
        manifest: Manifest,
        journal: Journal,
        progress: Progress,
        *,
        foreign: bool,
    ) -> Replacement:
        checksums = manifest.has_checksums
        return restore.stage(file_of(engine), dump, progress, checksums=checksums)

    def open_rows(
        self, engine: Engine, staged: Replacement | None
    ) -> AbstractContextManager[RowSource]:
        path = Path(staged.location) if staged else file_of(engine)
        return rows.open_rows(path, in_use=staged is None)

    def keep_beside(self, engine: Engine, staged: Replacement, journal: Journal) -> Replacement:
        return restore.keep_beside(file_of(engine), staged, journal)

    def address_of(self, engine: Engine, kept: Replacement) -> str:
        return f"sqlite:///{kept.location}"

    def discard(self, engine: Engine, replacement: Replacement) -> None:
        settle.remove_database(Path(replacement.location))

    def swap(
        self, engine: Engine, replacement: Replacement, journal: Journal, progress: Progress
    ) -> Replacement | None:
        engine.dispose()
        return swap.swap(file_of(engine), replacement, journal, progress)

    def settle(self, engine: Engine, journal: Journal) -> None:
        settle.settle(file_of(engine), journal)

    def look_stuck(self, engine: Engine, journal: Journal) -> Stuck:
        return stuck.look(file_of(engine), journal)

    def take_way_out(self, engine: Engine, journal: Journal, way: str) -> None:
        stuck.take(file_of(engine), journal, way)

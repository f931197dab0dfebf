"""Everything the console knows about PostgreSQL, versions 13 to 18."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Engine, text

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
from ops.dialects.postgresql import (
    activity,
    backup,
    figures,
    inplace,
    place,
    preflight,
    rows,
    sessions,
    staging,
    stuck,
)
from ops.dialects.postgresql import identity as identities
from ops.dialects.postgresql import swap as swapping
from ops.dialects.postgresql.connect import (
    CONNECT_ARGS,
    connect_parameters,
    database_of,
    pooled,
)
from ops.journal import Journal
from ops.progress import Progress
from ops.target import redact


class PostgreSQL(Dialect):
    """A database on a PostgreSQL server."""

    backend = "postgresql"
    title = "PostgreSQL"
    entry_suffix = ".pgdump"
    connect_args = CONNECT_ARGS

    def database_name(self, engine: Engine) -> str:
        return database_of(engine)

    def identity(self, engine: Engine) -> str:
        return identities.identity(engine)

    def facts(self, engine: Engine) -> DatabaseFacts:
        query = "SELECT pg_database_size(current_database()), current_setting('server_version')"
        with pooled(engine) as connection:
            size, version = connection.execute(text(query)).one()
        parameters = connect_parameters(engine)
        host, port = parameters.get("host", "local socket"), parameters.get("port", 5432)
        place = f"{host}:{port}" if "/" not in str(host) else str(host)
        return DatabaseFacts(
            self.database_name(engine), self.title, str(version).split()[0], place, int(size)
        )

    def live_rows(self, engine: Engine) -> tuple[LiveRows, ...]:
        return figures.live_rows(engine)

    def sizes(self, engine: Engine, *, exact: bool = False) -> SizeReport:
        return figures.sizes(engine, exact=exact)

    def pool_stats(self, engine: Engine) -> PoolStats | None:
        return figures.pool_stats(engine)

    def sessions(self, engine: Engine) -> ServerSessions | None:
        return figures.sessions(engine)

    def free_disk(self, engine: Engine) -> int | None:
        return place.free_disk(engine)

    def is_at_work(self, engine: Engine) -> bool:
        return sessions.are_at_work(engine)

    def waits(self, engine: Engine) -> tuple[WaitingSession, ...] | None:
        return activity.waits(engine)

    def slow_statements(
        self, engine: Engine, order: StatementOrder, most: int
    ) -> SlowStatements | None:
        return activity.slow_statements(engine, order, most)

    def checks(self) -> tuple[Check, ...]:
        from ops.checks.postgresql import CHECKS

        return CHECKS

    def health_context(
        self, engine: Engine, *, staged: Replacement | None = None, deep: bool = False
    ) -> AbstractContextManager[Context]:
        from ops.checks.postgresql import open_context

        return open_context(engine, None if staged is None else staged.location, deep=deep)

    def health_details(self, context: Context) -> dict[str, object]:
        return figures.health_details(context.ask)

    def backup_notices(self, engine: Engine, workspace: Path) -> list[Notice]:
        return backup.notices(engine, workspace)

    def dump(
        self,
        engine: Engine,
        workspace: Path,
        sink: Sink,
        progress: Progress,
        *,
        checksums: bool = False,
    ) -> Snapshot:
        return backup.dump(engine, workspace, sink, progress, checksums=checksums)

    def check_dump(self, dump: Path, manifest: Manifest, progress: Progress) -> None:
        staging.check_dump(dump, manifest, progress)

    def restore_notices(
        self, engine: Engine, manifest: Manifest, workspace: Path, *, foreign: bool
    ) -> list[Notice]:
        return preflight.notices(engine, manifest, workspace, foreign=foreign)

    def swap_notices(self, engine: Engine) -> list[Notice]:
        return preflight.swap_notices(engine)

    def foreign_notices(self, engine: Engine, verb: str) -> list[Notice]:
        return preflight.foreign_notices(engine, verb)

    def stages_beside(self, engine: Engine) -> bool:
        return not inplace.is_needed(engine)

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
        if inplace.is_needed(engine):
            return inplace.stage(engine, dump, manifest, journal, progress)
        return staging.stage(engine, dump, manifest, journal, progress, foreign=foreign)

    def open_rows(
        self, engine: Engine, staged: Replacement | None
    ) -> AbstractContextManager[RowSource]:
        return rows.open_rows(engine, staged)

    def keep_beside(self, engine: Engine, staged: Replacement, journal: Journal) -> Replacement:
        rows.staged_database(staged)
        return staged  # it stands beside the live one already, and only its owner may enter

    def address_of(self, engine: Engine, kept: Replacement) -> str:
        return redact(engine.url.set(database=kept.location).render_as_string())

    def discard(self, engine: Engine, replacement: Replacement) -> None:
        if inplace.is_file(replacement):
            inplace.discard(replacement)
        else:
            staging.drop(engine, replacement.location)

    def swap(
        self, engine: Engine, replacement: Replacement, journal: Journal, progress: Progress
    ) -> Replacement | None:
        if inplace.is_file(replacement):
            return inplace.swap(engine, replacement, journal, progress)
        engine.dispose()
        return swapping.swap(engine, replacement, journal, progress)

    def settle(self, engine: Engine, journal: Journal) -> None:
        if "keep" in journal.facts:
            inplace.settle(engine, journal)
        else:
            swapping.settle(engine, journal)

    def look_stuck(self, engine: Engine, journal: Journal) -> Stuck:
        return stuck.look(engine, journal)

    def take_way_out(self, engine: Engine, journal: Journal, way: str) -> None:
        stuck.take(engine, journal, way)

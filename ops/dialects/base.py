"""The contract of a dialect: all that the console must know about one kind of database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sqlalchemy import Engine

from ops.archive.manifest import Manifest
from ops.dialects.values import (
    DatabaseFacts as DatabaseFacts,
)
from ops.dialects.values import (
    LiveRows as LiveRows,
)
from ops.dialects.values import (
    Notice as Notice,
)
from ops.dialects.values import (
    NoticeLevel as NoticeLevel,
)
from ops.dialects.values import (
    PoolStats as PoolStats,
)
from ops.dialects.values import (
    RelationSize as RelationSize,
)
from ops.dialects.values import (
    Replacement as Replacement,
)
from ops.dialects.values import (
    RowSource as RowSource,
)
from ops.dialects.values import (
    ServerSessions as ServerSessions,
)
from ops.dialects.values import (
    SessionGroup as SessionGroup,
)
from ops.dialects.values import (
    Sink as Sink,
)
from ops.dialects.values import (
    SizeReport as SizeReport,
)
from ops.dialects.values import (
    SlowStatement as SlowStatement,
)
from ops.dialects.values import (
    SlowStatements as SlowStatements,
)
from ops.dialects.values import (
    Snapshot as Snapshot,
)
from ops.dialects.values import (
    StatementOrder as StatementOrder,
)
from ops.dialects.values import (
    Stuck as Stuck,
)
from ops.dialects.values import (
    SupportsReadInto as SupportsReadInto,
)
from ops.dialects.values import (
    TableShape as TableShape,
)
from ops.dialects.values import (
    WaitingSession as WaitingSession,
)
from ops.dialects.values import (
    WayOut as WayOut,
)
from ops.dialects.values import (
    with_columns as with_columns,
)
from ops.progress import Progress

if TYPE_CHECKING:
    from ops.checks.base import Check, Context
    from ops.journal import Journal


class Dialect(ABC):
    """One kind of database. Every method takes an SQLAlchemy engine and translates
    driver errors into `ops.errors` at its own door."""

    connect_args: ClassVar[Mapping[str, object]] = {}
    """What `Target.engine` tells the driver when it connects."""

    backend: ClassVar[str]
    title: ClassVar[str]
    entry_suffix: ClassVar[str]
    swap_share: ClassVar[float] = 0.25
    """About how much of a restore's time the swap takes, as measured; for the progress bar."""

    # -- looking ---------------------------------------------------------------

    @abstractmethod
    def database_name(self, engine: Engine) -> str:
        """The name people know the database by; needs no connection."""

    @abstractmethod
    def identity(self, engine: Engine) -> str:
        """The same text for every address of the same database, as far as its server, or where
        that does not answer the address, can tell. Holds no secret, and raises nothing."""

    @abstractmethod
    def facts(self, engine: Engine) -> DatabaseFacts:
        """Name, version, place, size. Raises Unavailable."""

    @abstractmethod
    def live_rows(self, engine: Engine) -> tuple[LiveRows, ...]:
        """Rows of every table of the live database, estimated where counting is slow."""

    @abstractmethod
    def sizes(self, engine: Engine, *, exact: bool = False) -> SizeReport:
        """Bytes of tables and indexes, within half a second; `exact` may take longer.

        Raises Unavailable.
        """

    @abstractmethod
    def pool_stats(self, engine: Engine) -> PoolStats | None:
        """The state of the engine's pool; None where a pool means nothing."""

    @abstractmethod
    def sessions(self, engine: Engine) -> ServerSessions | None:
        """Who is connected, as the server sees it; None where there is no server."""

    def is_at_work(self, engine: Engine) -> bool:
        """Whether a server of this kind is busy with a statement of this console's, waiting
        neither for a lock nor for us; False where there is no server. Raises OpsError."""
        return False

    @abstractmethod
    def waits(self, engine: Engine) -> tuple[WaitingSession, ...] | None:
        """Sessions that wait for one another, those in front among them; None where there is no
        server. Raises Unavailable."""

    @abstractmethod
    def slow_statements(
        self, engine: Engine, order: StatementOrder, most: int
    ) -> SlowStatements | None:
        """The `most` statements that come first by `order`; None where none are ever collected.
        Raises Unavailable."""

    @abstractmethod
    def free_disk(self, engine: Engine) -> int | None:
        """Bytes free on the disk where the database lies; None where that cannot be seen from
        here. Raises Unavailable."""

    @abstractmethod
    def checks(self) -> tuple[Check, ...]:
        """The questions about health that this kind of database is asked."""

    @abstractmethod
    def health_context(
        self, engine: Engine, *, staged: Replacement | None = None, deep: bool = False
    ) -> AbstractContextManager[Context]:
        """What the checks look through: one connection, reading only, with time limits.

        `deep` lets deep checks take their time. `staged` is looked into instead of the live
        database: nobody else uses it, and it is thrown away afterwards.
        Raises OpsError where the database cannot be looked at.
        """

    @abstractmethod
    def health_details(self, context: Context) -> dict[str, object]:
        """Figures for the `details` of a health report: sizes, versions, settings. Asked of
        the same connection as the checks. Raises CannotCheck."""

    # -- backing up ------------------------------------------------------------

    @abstractmethod
    def backup_notices(self, engine: Engine, workspace: Path) -> list[Notice]:
        """What speaks against a backup now: tools, rights, room. Raises Unavailable."""

    @abstractmethod
    def dump(
        self,
        engine: Engine,
        workspace: Path,
        sink: Sink,
        progress: Progress,
        *,
        checksums: bool = False,
    ) -> Snapshot:
        """Give the database as of one moment to `sink`; what that needs on the side goes into
        the folder `workspace`. `checksums` asks for those of every table's content.

        Raises Unavailable, ToolFailed, Cancelled; `sink` may then have got half a dump.
        """

    @abstractmethod
    def check_dump(self, dump: Path, manifest: Manifest, progress: Progress) -> None:
        """Read an unpacked dump from its first to its last byte, without a server.

        Raises BadArchive; PreflightRefused where the program that reads it is missing.
        """

    # -- restoring -------------------------------------------------------------

    @abstractmethod
    def restore_notices(
        self, engine: Engine, manifest: Manifest, workspace: Path, *, foreign: bool
    ) -> list[Notice]:
        """What speaks against restoring this archive here; `foreign` ones are not of this
        console's making. Raises Unavailable."""

    def swap_notices(self, engine: Engine) -> list[Notice]:
        """What speaks against putting anything in the place of the live database, be it an archive
        or an undo point, besides all that speaks against bringing it to life. Raises
        Unavailable."""
        return []

    def foreign_notices(self, engine: Engine, verb: str) -> list[Notice]:
        """What speaks against bringing an archive of somebody else's to life only to "compare"
        it, or to keep it "beside" the live database, besides all that speaks against a
        restore. Raises Unavailable."""
        return []

    @abstractmethod
    def stages_beside(self, engine: Engine) -> bool:
        """Whether an archive can be brought to life beside the live database, so that it can
        be compared and looked at. Raises Unavailable."""

    @abstractmethod
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
        """Bring `dump` to life beside the live database, which is not touched, and count the
        rows of every table as `dump` counts them; where that may not be, look whether it can be
        put in place at once, and count what it holds.

        Commands in a `foreign` one must not reach more than what is staged, as far as can be.
        Raises BadArchive, ToolFailed, Cancelled; `settle` then removes what was begun.
        """

    @abstractmethod
    def open_rows(
        self, engine: Engine, staged: Replacement | None
    ) -> AbstractContextManager[RowSource]:
        """The rows of a staged replacement, or of the live database where it is None.

        Raises Unavailable; PreflightRefused where nothing can be staged here.
        """

    @abstractmethod
    def keep_beside(self, engine: Engine, staged: Replacement, journal: Journal) -> Replacement:
        """Keep a staged replacement as a database of its own beside the live one.

        Raises PreflightRefused where nothing can be staged here.
        """

    @abstractmethod
    def address_of(self, engine: Engine, kept: Replacement) -> str:
        """Where programs find a kept replacement: a URL or path, without the password."""

    @abstractmethod
    def discard(self, engine: Engine, replacement: Replacement) -> None:
        """Remove a staged replacement or an undo point that is no longer wanted."""

    @abstractmethod
    def swap(
        self, engine: Engine, replacement: Replacement, journal: Journal, progress: Progress
    ) -> Replacement | None:
        """Make `replacement` live at once and return the former live database, kept.

        None when the former one was so damaged that it can only be kept as files.
        Raises Busy (nothing changed) or OpsError; afterwards live is either exactly
        as before or exactly the replacement.
        """

    @abstractmethod
    def settle(self, engine: Engine, journal: Journal) -> None:
        """After a crash: look at what is there, finish or roll back, advance the journal.

        Raises NeedsHuman when no rule covers what was found; then nothing was touched.
        """

    @abstractmethod
    def look_stuck(self, engine: Engine, journal: Journal) -> Stuck:
        """What there is where `settle` raised NeedsHuman. Touches nothing."""

    @abstractmethod
    def take_way_out(self, engine: Engine, journal: Journal, way: str) -> None:
        """Do what a person chose among the `ways` of `look_stuck`; the journal is settled
        then. Raises Refused when the choice is no longer there."""

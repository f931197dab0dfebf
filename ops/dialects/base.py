"""The contract of a dialect: all that the console must know about one kind of database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sqlalchemy import Engine

from ops.archive.manifest import Manifest, TableRows
from ops.progress import Progress

if TYPE_CHECKING:
    from ops.checks.base import Check, Context
    from ops.journal import Journal


class NoticeLevel(StrEnum):
    """How a pre-flight notice is meant."""

    REFUSE = "refuse"
    WARN = "warn"
    INFO = "info"


@dataclass(frozen=True)
class Notice:
    """Something seen before the work began, in words for the person."""

    level: NoticeLevel
    message: str
    hint: str = ""


@dataclass(frozen=True)
class DatabaseFacts:
    """What a database is. `place` shows where it is and never holds a secret."""

    name: str
    kind: str
    server_version: str
    place: str
    size_bytes: int


@dataclass(frozen=True)
class Snapshot:
    """What was dumped: the moment, the exact rows of every table, and versions.

    `details` goes into the manifest as it is: encoding, locale, page size and the like.
    """

    taken_at: datetime
    tables: tuple[TableRows, ...]
    server_version: str
    tool: str
    compressed: bool
    details: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class LiveRows:
    """Rows of a table in the live database; `exact` tells a count from an estimate."""

    name: str
    rows: int | None
    exact: bool


@dataclass(frozen=True)
class RelationSize:
    """Bytes of one table (without its indexes) or one index; `table` is its owner."""

    name: str
    kind: str
    table: str
    size_bytes: int
    rows: int | None = None
    rows_exact: bool = False


@dataclass(frozen=True)
class SizeReport:
    """The database's size in bytes and its parts, largest first.

    `free_bytes` is space inside the files that holds nothing; None where not known.
    `unmeasured` says why the parts are missing; they can be measured with `exact`.
    """

    total_bytes: int
    relations: tuple[RelationSize, ...]
    free_bytes: int | None = None
    unmeasured: str = ""


@dataclass(frozen=True)
class PoolStats:
    """A connection pool of this process: connections by state, and time-outs so far
    (None where the pool does not count them, see `ops.target.CountingPool`)."""

    size: int
    checked_in: int
    checked_out: int
    overflow: int
    timeouts: int | None


@dataclass(frozen=True)
class SessionGroup:
    """Connections that share an application and a state."""

    application: str
    state: str
    count: int
    longest_seconds: float | None


@dataclass(frozen=True)
class ServerSessions:
    """The server's own view of who is connected; `complete` is False where the role
    may not see the others' state."""

    used: int
    limit: int
    groups: tuple[SessionGroup, ...]
    complete: bool


@dataclass(frozen=True)
class Replacement:
    """A database or file that can become live: a staged archive, or an undo point.

    `location` is a database's name or a file's path, `facts` what proves its identity.
    `tables` holds its rows where they were counted while it was staged.
    """

    location: str
    size_bytes: int = 0
    facts: dict[str, str | int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tables: tuple[TableRows, ...] | None = None


class Dialect(ABC):
    """One kind of database. Every method takes an SQLAlchemy engine and translates
    driver errors into `ops.errors` at its own door."""

    connect_args: ClassVar[Mapping[str, object]] = {}
    """What `Target.engine` tells the driver when it connects."""

    backend: ClassVar[str]
    title: ClassVar[str]
    entry_suffix: ClassVar[str]

    # -- looking ---------------------------------------------------------------

    @abstractmethod
    def database_name(self, engine: Engine) -> str:
        """The name people know the database by; needs no connection."""

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

    @abstractmethod
    def checks(self) -> tuple[Check, ...]:
        """The questions about health that this kind of database is asked."""

    @abstractmethod
    def health_context(self, engine: Engine) -> AbstractContextManager[Context]:
        """What the checks look through: one connection, reading only, with time limits.

        Raises OpsError where the database cannot be looked at.
        """

    @abstractmethod
    def health_details(self, engine: Engine) -> dict[str, object]:
        """Figures for the `details` of a health report: sizes, versions, settings."""

    # -- backing up ------------------------------------------------------------

    @abstractmethod
    def backup_notices(self, engine: Engine, workspace: Path) -> list[Notice]:
        """What speaks against a backup now: tools, rights, room. Raises Unavailable."""

    @abstractmethod
    def dump(self, engine: Engine, into: Path, progress: Progress) -> Snapshot:
        """Write the database as of one moment to the new file `into`.

        Raises Unavailable, ToolFailed, Cancelled; `into` may then hold half a dump.
        """

    # -- restoring -------------------------------------------------------------

    @abstractmethod
    def restore_notices(
        self, engine: Engine, manifest: Manifest, workspace: Path, *, foreign: bool
    ) -> list[Notice]:
        """What speaks against restoring this archive here; `foreign` ones are not of this
        console's making. Raises Unavailable."""

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
        """Bring `dump` to life beside the live database, which is not touched; where that may
        not be, look whether it can be put in place at once.

        Commands in a `foreign` one must not reach more than what is staged, as far as can be.
        Raises BadArchive, ToolFailed, Cancelled; nothing stays behind then.
        """

    @abstractmethod
    def count_rows(self, engine: Engine, staged: Replacement) -> tuple[TableRows, ...]:
        """The exact rows of every table of a staged replacement."""

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

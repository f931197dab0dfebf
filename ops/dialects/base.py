"""The contract of a dialect: all that the console must know about one kind of database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from sqlalchemy import Engine

from ops.archive.manifest import MOST_COLUMNS, Manifest, TableRows
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
    details: dict[str, str | int] = field(default_factory=dict)


class Sink(Protocol):
    """Takes the content of a dump, once."""

    def __call__(
        self, source: SupportsReadInto, size: int, *, compressed: bool, progress: Progress
    ) -> None:
        """Read `source` to its end, about `size` bytes; what is `compressed` is stored as it is."""


class SupportsReadInto(Protocol):
    """What can fill a buffer from its start; 0 at its end."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """How many bytes it gave."""


@dataclass(frozen=True)
class LiveRows:
    """Rows of a table in the live database; `exact` tells a count from an estimate."""

    name: str
    rows: int | None
    exact: bool
    columns: tuple[str, ...] = ()


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
class WaitingSession:
    """A session that waits for a lock, or that is waited for. `waits_for` are process numbers
    (0 is a change that was prepared and never finished); `began` is in seconds since the epoch;
    `seconds` is how long it waits, or how long it has been in its `state`. `statement` holds no
    text values."""

    pid: int
    began: float
    application: str
    role: str
    database: str
    state: str
    statement: str
    seconds: float
    waits_for: tuple[int, ...]


class StatementOrder(StrEnum):
    """What puts a statement first: the time of all its calls, of one call, or their number."""

    TOTAL = "total"
    MEAN = "mean"
    CALLS = "calls"


@dataclass(frozen=True)
class SlowStatement:
    """A statement without its values, and what it took; `share` is of the time of all."""

    statement: str
    calls: int
    total_seconds: float
    mean_seconds: float
    rows: int
    share: float


@dataclass(frozen=True)
class SlowStatements:
    """Statements counted `since` (None: not known). `complete` is False where the role does not
    see what others run. Where the server collects none, `steps` tell how to switch it on: words,
    a line break, the command."""

    statements: tuple[SlowStatement, ...]
    since: datetime | None
    complete: bool
    steps: tuple[str, ...]


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


@dataclass(frozen=True)
class TableShape:
    """Columns of a table with their declared types, in their order, and its primary key."""

    columns: Mapping[str, str]
    key: tuple[str, ...] = ()


def with_columns(
    tables: tuple[TableRows, ...], shapes: Mapping[str, TableShape]
) -> tuple[TableRows, ...]:
    """The counted tables with the names of their columns, unless there are too many."""
    if sum(len(shape.columns) for shape in shapes.values()) > MOST_COLUMNS:
        return tables
    return tuple(
        table.model_copy(update={"columns": tuple(shapes[table.name].columns)})
        if table.name in shapes
        else table
        for table in tables
    )


class RowSource(ABC):
    """The rows of one database as of one moment, for comparing two databases."""

    @abstractmethod
    def tables(self) -> dict[str, TableShape]:
        """Every real table, by the name that manifests use."""

    @abstractmethod
    def marks(
        self, table: str, key: tuple[str, ...], columns: tuple[str, ...]
    ) -> Iterator[tuple[int, int]]:
        """A hash of `key` and one of `columns` for every row, in their ascending order.

        64 bits each: with 10 million rows a wrong answer has odds of about 1 in 400,000.
        """


@dataclass(frozen=True)
class WayOut:
    """One safe thing that a person may choose where no rule decides."""

    id: str
    title: str
    explanation: str


@dataclass(frozen=True)
class Stuck:
    """What an interrupted restore left that no rule covers: what there is, in words, and the
    choices, the most careful first."""

    found: tuple[str, ...]
    ways: tuple[WayOut, ...]


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
    def identity(self, engine: Engine) -> str:
        """The same text for every address of the same database, as far as addresses tell;
        needs no connection, holds no secret."""

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
    def health_details(self, engine: Engine) -> dict[str, object]:
        """Figures for the `details` of a health report: sizes, versions, settings."""

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
        """Bring `dump` to life beside the live database, which is not touched; where that may
        not be, look whether it can be put in place at once.

        Commands in a `foreign` one must not reach more than what is staged, as far as can be.
        Raises BadArchive, ToolFailed, Cancelled; `settle` then removes what was begun.
        """

    @abstractmethod
    def count_rows(
        self, engine: Engine, staged: Replacement, *, checksums: bool = False
    ) -> tuple[TableRows, ...]:
        """The exact rows of every table of a staged replacement, as `dump` counts them."""

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

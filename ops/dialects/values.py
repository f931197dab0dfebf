"""The values that a dialect speaks in: facts, rows, sizes, sessions, notices, replacements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ops.archive.manifest import MOST_COLUMNS, MOST_COLUMNS_OF_ONE, TableRows
from ops.progress import Progress


class NoticeLevel(StrEnum):
    """How a pre-flight notice is meant."""

    REFUSE = "refuse"
    WARN = "warn"
    INFO = "info"


@dataclass(frozen=True)
class Notice:
    """Something seen before the work began, in words for the person. `is_about_room`: the disk of
    the data folder is too full."""

    level: NoticeLevel
    message: str
    hint: str = ""
    is_about_room: bool = False


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


class SupportsReadInto(Protocol):
    """What can fill a buffer from its start."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """How many bytes it gave; 0 at its end."""


class Sink(Protocol):
    """Takes the content of a dump, once."""

    def __call__(
        self, source: SupportsReadInto, size: int, *, compressed: bool, progress: Progress
    ) -> None:
        """Read `source` to its end, about `size` bytes; what is `compressed` is stored as it is."""


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
    `unmeasured` says why the parts are missing or estimates; they can be measured with `exact`.
    `is_cut_off`: there may be more parts, none of them larger.
    """

    total_bytes: int
    relations: tuple[RelationSize, ...]
    free_bytes: int | None = None
    unmeasured: str = ""
    is_cut_off: bool = False


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
    `tables` holds its rows, which are counted while it is staged; None for an undo point.
    `sha256` is a file's, where it was read already.
    """

    location: str
    size_bytes: int = 0
    facts: dict[str, str | int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tables: tuple[TableRows, ...] | None = None
    sha256: str | None = None


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
        if table.name in shapes and len(shapes[table.name].columns) <= MOST_COLUMNS_OF_ONE
        else table
        for table in tables
    )


class RowSource(ABC):
    """The rows of one database as of one moment, for comparing two databases."""

    watch: Callable[[], None] = staticmethod(lambda: None)
    """Called while the first row of a table is waited for; what it raises ends the wait."""

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

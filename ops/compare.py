"""What a restore would change, row by row: the archive is brought to life beside the live
database, compared with it, and thrown away again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from ops.datafolder import DataFolder
from ops.dialects import dialect_of
from ops.dialects.base import RowSource, TableShape
from ops.progress import SILENT, Progress
from ops.staging import staged_archive
from ops.target import Target

_REPORT_EVERY: Final = 20_000
Mark = tuple[int, int]


@dataclass(frozen=True)
class TableDifference:
    """Rows of one table that a restore takes away, brings back or changes back.

    Where both have the table, rows are told apart by their primary key; without one a changed
    row counts as one that goes and one that comes back. Columns that only one of the two has
    are not compared but named.
    """

    name: str
    lost: int = 0
    back: int = 0
    changed: int = 0
    exists_now: bool = True
    exists_after: bool = True
    columns_lost: tuple[str, ...] = ()
    columns_back: tuple[str, ...] = ()
    columns_retyped: tuple[str, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether the table is the same in both."""
        return self == TableDifference(self.name)


@dataclass(frozen=True)
class Comparison:
    """All tables; `compared_at` is UTC. Nothing but tables is compared: no views, functions or
    large objects."""

    archive: str
    compared_at: datetime
    tables: tuple[TableDifference, ...]

    def as_dict(self) -> dict[str, Any]:
        """What a job keeps, and `ops-console compare --json` prints."""
        return {
            "archive": self.archive,
            "compared_at": self.compared_at.isoformat(timespec="seconds"),
            "tables": [asdict(table) for table in self.tables],
        }


def compare_archive(
    target: Target,
    archive_path: Path,
    folder: DataFolder,
    *,
    trust_foreign: bool = False,
    progress: Progress = SILENT,
) -> Comparison:
    """Compare the archive with the live database, row by row; leaves no trace of it.

    Raises what `ops.staging.staged_archive` raises; the live database is never touched.
    """
    dialect, engine = dialect_of(target.engine), target.engine
    with (
        staged_archive(
            target,
            archive_path,
            folder,
            "compare",
            trust_foreign=trust_foreign,
            progress=progress.within(0, 0.5),
        ) as staged,
        dialect.open_rows(engine, None) as now,
        dialect.open_rows(engine, staged.replacement) as after,
    ):
        rows = {table.name: table.rows for table in staged.tables}
        found = tuple(_differences(now, after, rows, progress.within(0.5, 1)))
    return Comparison(archive_path.name, datetime.now(UTC), found)


def _differences(
    now: RowSource, after: RowSource, rows: dict[str, int], progress: Progress
) -> Iterator[TableDifference]:
    before, then = now.tables(), after.tables()
    total, done = sum(rows.values()), 0
    for name in sorted(before.keys() | then.keys()):
        part = progress.within(done / max(total, 1), 1)
        now.watch = after.watch = partial(part.report, 0, 1, f"Comparing every row: {name}")
        now.watch()
        if name not in then:
            yield TableDifference(name, lost=_count(now, name, before[name]), exists_after=False)
        elif name not in before:
            yield TableDifference(name, back=rows.get(name, 0), exists_now=False)
        else:
            note = (part, rows.get(name, 0), total - done)
            yield _difference(name, (now, before[name]), (after, then[name]), note)
        done += rows.get(name, 0)


def _count(source: RowSource, name: str, shape: TableShape) -> int:
    columns = tuple(shape.columns)
    return sum(1 for _ in source.marks(name, columns[:1], columns[:1]))


def _difference(
    name: str,
    now: tuple[RowSource, TableShape],
    after: tuple[RowSource, TableShape],
    note: tuple[Progress, int, int],
) -> TableDifference:
    """One table that both have."""
    mine, theirs = now[1], after[1]
    shared = tuple(column for column in mine.columns if column in theirs.columns)
    key = mine.key if mine.key and mine.key == theirs.key else shared
    left, right = (source.marks(name, key, shared) for source, _ in (now, after))
    lost, back, changed = count_differences(left, _reporting(right, *note))
    return TableDifference(
        name,
        lost,
        back,
        changed,
        columns_lost=tuple(c for c in mine.columns if c not in theirs.columns),
        columns_back=tuple(c for c in theirs.columns if c not in mine.columns),
        columns_retyped=tuple(c for c in shared if mine.columns[c] != theirs.columns[c]),
    )


def _reporting(marks: Iterator[Mark], progress: Progress, rows: int, left: int) -> Iterator[Mark]:
    """The marks, with a report for every so many of them."""
    for number, mark in enumerate(marks):
        if number % _REPORT_EVERY == 0:
            progress.report(min(number, rows), max(left, 1), "Comparing every row")
        yield mark


def count_differences(now: Iterable[Mark], after: Iterable[Mark]) -> tuple[int, int, int]:
    """(lost, back, changed) of two ascending runs of (key, row).

    Rows of one key that only one side has are paired as changed, as far as they go.
    """
    lost = back = changed = 0
    both = merge(((*mark, 1) for mark in now), ((*mark, -1) for mark in after))
    for _, group in groupby(both, key=lambda mark: mark[0]):
        balance: Counter[int] = Counter()
        for _, row, side in group:
            balance[row] += side
        gone = sum(n for n in balance.values() if n > 0)
        come = -sum(n for n in balance.values() if n < 0)
        paired = min(gone, come)
        lost, back, changed = lost + gone - paired, back + come - paired, changed + paired
    return lost, back, changed

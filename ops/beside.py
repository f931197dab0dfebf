"""Restoring to a new database beside the live one, to look at it first."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.archive.manifest import TableRows
from ops.datafolder import DataFolder
from ops.dialects import dialect_of
from ops.dialects.base import Replacement
from ops.journal import Step
from ops.progress import SILENT, Progress
from ops.staging import staged_archive
from ops.target import Target
from ops.undo import BESIDE, UNDO_DAYS, UndoPoint, kept_points, point_of


@dataclass(frozen=True)
class BesideResult:
    """A backup that stands beside the live database. `address` holds no password."""

    target: str
    restored_from: str
    address: str
    tables: tuple[TableRows, ...]
    notes: tuple[str, ...]
    point: UndoPoint
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The document of `ops-console restore --beside --json`."""
        return {
            "target": self.target,
            "restored_from": self.restored_from,
            "address": self.address,
            "tables": [{"name": table.name, "rows": table.rows} for table in self.tables],
            "notes": list(self.notes),
            "id": self.point.id,
            "until": self.point.until.isoformat(),
            "seconds": round(self.seconds, 2),
        }


def restore_beside(
    target: Target,
    archive_path: Path,
    folder: DataFolder,
    *,
    trust_foreign: bool = False,
    keep_days: int = UNDO_DAYS,
    progress: Progress = SILENT,
) -> BesideResult:
    """Bring the archive to life beside the live database and keep it for `keep_days` days.

    Raises what `ops.staging.staged_archive` raises; the live database is never touched.
    """
    started, engine = time.monotonic(), target.engine
    dialect = dialect_of(engine)
    with staged_archive(
        target, archive_path, folder, BESIDE, trust_foreign=trust_foreign, progress=progress
    ) as staged:
        kept = dialect.keep_beside(engine, staged.replacement, staged.journal)
        staged.journal.keep_undo(kept.location, kept.size_bytes, keep_days)
        staged.journal.advance(Step.DONE)
    point = point_of(staged.journal)
    assert point is not None
    return BesideResult(
        target.name,
        archive_path.name,
        dialect.address_of(engine, kept),
        staged.tables,
        staged.replacement.notes,
        point,
        time.monotonic() - started,
    )


def databases_beside(target: Target, folder: DataFolder) -> list[tuple[UndoPoint, str]]:
    """What stands beside the live database to be looked at, with its address, newest first."""
    dialect = dialect_of(target.engine)
    return [
        (point, dialect.address_of(target.engine, Replacement(point.location)))
        for point in kept_points(target, folder)
        if point.verb == BESIDE
    ]

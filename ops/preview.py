"""What a restore would change, said before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops.archive.manifest import Manifest
from ops.catalog import read_archive
from ops.datafolder import DataFolder
from ops.dialects import dialect_of
from ops.dialects.base import LiveRows, Notice
from ops.errors import Unavailable
from ops.restore import NO_PROOF
from ops.staging import check_kind, is_foreign
from ops.target import Target


@dataclass(frozen=True)
class TableChange:
    """Rows of one table now and after; None where it is not there, or not known."""

    name: str
    now: int | None
    now_exact: bool
    after: int | None
    exists_now: bool
    exists_after: bool


@dataclass(frozen=True)
class Preview:
    """All that a person should know before saying yes. `live_problem` is set where the live
    database could not be looked at (a damaged one is what restores are for)."""

    manifest: Manifest
    made_here: bool
    snapshot_at: datetime
    age: timedelta
    changes: tuple[TableChange, ...]
    notices: tuple[Notice, ...]
    notes: tuple[str, ...]
    live_problem: str = ""


def preview_restore(target: Target, archive_path: Path, folder: DataFolder) -> Preview:
    """Look at the archive's manifest and at the live database's rows.

    Raises:
        BadArchive: the archive cannot be used here.
        Unavailable: the server does not answer.
    """
    engine = target.engine
    dialect = dialect_of(engine)
    archive = read_archive(archive_path)
    check_kind(dialect, archive)
    manifest, problem = archive.manifest, ""
    live: tuple[LiveRows, ...] = ()
    made_here = not is_foreign(archive, folder)
    notices = dialect.restore_notices(engine, manifest, folder.root, foreign=not made_here)
    try:
        live = dialect.live_rows(engine)
    except Unavailable as error:
        problem = error.message
    taken = manifest.database.snapshot_at if manifest.database else manifest.created_at
    taken = taken if taken.tzinfo else taken.replace(tzinfo=UTC)
    return Preview(
        manifest,
        made_here,
        taken,
        datetime.now(UTC) - taken,
        _changes(live, manifest),
        tuple(notices),
        () if manifest.has_proof else (NO_PROOF,),
        problem,
    )


def _changes(live: tuple[LiveRows, ...], manifest: Manifest) -> tuple[TableChange, ...]:
    if manifest.tables is None:
        return ()
    now = {row.name: row for row in live}
    after = {table.name: table.rows for table in manifest.tables}
    names = sorted(now.keys() | after.keys())
    return tuple(
        TableChange(
            name,
            now[name].rows if name in now else None,
            now[name].exact if name in now else False,
            after.get(name),
            name in now,
            name in after,
        )
        for name in names
    )

"""What a restore would change, said before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops.archive.manifest import Manifest, TableRows
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
    """Rows of one table now and after; None where it is not there, or not known. The columns
    are those that only one of the two has."""

    name: str
    now: int | None
    now_exact: bool
    after: int | None
    exists_now: bool
    exists_after: bool
    columns_lost: tuple[str, ...] = ()
    columns_back: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preview:
    """All that a person should know before saying yes.

    `stages_beside` tells whether more can be known by comparing every row, or by looking at the
    backup first. `live_problem` is set where the live database could not be looked at (a
    damaged one is what restores are for)."""

    manifest: Manifest
    made_here: bool
    snapshot_at: datetime
    age: timedelta
    changes: tuple[TableChange, ...]
    notices: tuple[Notice, ...]
    notes: tuple[str, ...]
    stages_beside: bool
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
    made_here = not is_foreign(manifest, folder)
    notices = dialect.restore_notices(engine, manifest, folder.root, foreign=not made_here)
    notices += dialect.swap_notices(engine)
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
        dialect.stages_beside(engine),
        problem,
    )


def _changes(live: tuple[LiveRows, ...], manifest: Manifest) -> tuple[TableChange, ...]:
    if manifest.tables is None:
        return ()
    now = {row.name: row for row in live}
    after = {table.name: table for table in manifest.tables}
    names = sorted(now.keys() | after.keys())
    return tuple(_change(name, now.get(name), after.get(name)) for name in names)


def _change(name: str, now: LiveRows | None, after: TableRows | None) -> TableChange:
    columns_now = now.columns if now else ()
    columns_after = (after.columns if after else None) or ()
    told = bool(now and after and after.columns is not None)
    only_now = set(columns_now).difference(columns_after) if told else ()
    only_after = set(columns_after).difference(columns_now) if told else ()
    return TableChange(
        name,
        now.rows if now else None,
        now.exact if now else False,
        after.rows if after else None,
        now is not None,
        after is not None,
        tuple(c for c in columns_now if c in only_now),
        tuple(c for c in columns_after if c in only_after),
    )

"""Restoring a backup, and undoing it.

Both go the same way: something is made ready beside the live database, proven, swapped in
at once, and the former live database is kept as an undo point. Undoing swaps that one in
and keeps what was live, so an undo can be undone too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.archive.manifest import Manifest, TableRows
from ops.archive.reader import Archive, extract_entry
from ops.archive.seal import is_sealed, seal_key
from ops.backup import refuse_if_told
from ops.catalog import read_archive
from ops.datafolder import DataFolder
from ops.dialects import dialect_of
from ops.dialects.base import Dialect, Replacement
from ops.errors import (
    BadArchive,
    Busy,
    MismatchFound,
    NeedsHuman,
    NotConfirmed,
    OpsError,
    Refused,
    Unavailable,
)
from ops.journal import Journal, Step, journals_of
from ops.locks import target_lock
from ops.progress import SILENT, Progress
from ops.target import Target

UNDO_DAYS = 7
NO_PROOF = (
    "This backup is of an older format that carries no checksum and no row counts, "
    "so it could not be compared with what was saved."
)


@dataclass(frozen=True)
class UndoPoint:
    """A former live database that can be put back. Times are UTC, size in bytes."""

    id: str
    target: str
    verb: str
    source: str
    kept_at: datetime
    until: datetime
    size_bytes: int


@dataclass(frozen=True)
class RestoreResult:
    """What a restore or undo did. `undo` is None where nothing could be kept to go back to."""

    target: str
    restored_from: str
    tables: tuple[TableRows, ...]
    proven: bool
    notes: tuple[str, ...]
    undo: UndoPoint | None
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The document of `ops-console restore --json`."""
        undo = self.undo
        return {
            "target": self.target,
            "restored_from": self.restored_from,
            "tables": [{"name": table.name, "rows": table.rows} for table in self.tables],
            "proven": self.proven,
            "notes": list(self.notes),
            "undo": {"id": undo.id, "until": undo.until.isoformat()} if undo else None,
            "seconds": round(self.seconds, 2),
        }


def restore_backup(
    target: Target,
    archive_path: Path,
    folder: DataFolder,
    *,
    trust_foreign: bool = False,
    undo_days: int = UNDO_DAYS,
    progress: Progress = SILENT,
) -> RestoreResult:
    """Put the archive in the place of the live database.

    `trust_foreign` is the explicit yes for an archive without this console's seal.

    Raises:
        BadArchive, PreflightRefused, NotConfirmed, MismatchFound, Busy: nothing was changed.
        ToolFailed, Unavailable, Cancelled: live is exactly as before.
        NeedsHuman: an earlier restore must be looked at first.
    """
    engine = target.engine
    dialect = dialect_of(engine)
    with target_lock(folder, target.name), folder.workspace(target.name, "restore") as workspace:
        settle_target(target, folder)
        archive = read_archive(archive_path)
        check_kind(dialect, archive)
        foreign = not is_sealed(archive.manifest, seal_key(folder.seal_key_path))
        if foreign and not trust_foreign:
            raise NotConfirmed(
                "This backup was not made by this console, so it may contain commands of "
                "somebody else's.",
                "Restore it only if you trust where it comes from, and say so explicitly.",
            )
        refuse_if_told(
            dialect.restore_notices(engine, archive.manifest, workspace, foreign=foreign)
        )

        def make_ready(journal: Journal) -> Replacement:
            dump = workspace / f"staged{dialect.entry_suffix}"
            extract_entry(archive, dump, progress.within(0, 0.3))
            journal.advance(Step.STAGING)
            staging = progress.within(0.3, 0.7)
            return dialect.stage(engine, dump, archive.manifest, journal, staging, foreign=foreign)

        return _put_in_place(
            target,
            folder,
            "restore",
            archive_path.name,
            undo_days,
            progress,
            make_ready,
            archive.manifest,
        )


def undo_restore(
    target: Target,
    folder: DataFolder,
    *,
    point: str | None = None,
    undo_days: int = UNDO_DAYS,
    progress: Progress = SILENT,
) -> RestoreResult:
    """Put an undo point back, by default the newest; what is live is kept in its turn.

    Raises:
        Refused: there is none.
        Busy, Unavailable, Cancelled: live is exactly as before.
    """
    with target_lock(folder, target.name):
        settle_target(target, folder)
        kept = [j for j in journals_of(folder, target.name) if j.undo is not None]
        chosen = next((j for j in kept if point in (None, j.id)), None)
        if chosen is None or chosen.undo is None:
            raise Refused(
                f"There is nothing to undo for {target.name!r}.",
                "A restore can be undone as long as its undo point is kept.",
            )
        former = Replacement(str(chosen.undo["location"]), int(chosen.undo["size_bytes"]))
        result = _put_in_place(
            target, folder, "undo", chosen.id, undo_days, progress, lambda _journal: former, None
        )
        _use_up(target, chosen)
        return result


def _put_in_place(
    target: Target,
    folder: DataFolder,
    verb: str,
    source: str,
    undo_days: int,
    progress: Progress,
    make_ready: Callable[[Journal], Replacement],
    manifest: Manifest | None,
) -> RestoreResult:
    """Make ready, prove, swap, keep: with the journal written before each step."""
    engine, started = target.engine, time.monotonic()
    dialect = dialect_of(engine)
    journal = Journal.begin(folder, target.name, dialect.backend, verb, source)
    journal.facts.update(undo_days=undo_days, keep_in=str(folder.undo(target.name)))
    replacement: Replacement | None = None
    tables: tuple[TableRows, ...] = ()
    try:
        replacement = make_ready(journal)
        journal.advance(Step.STAGED)
        if manifest is not None:
            progress.report(0.7, 1, "Comparing with what was saved")
            tables = dialect.count_rows(engine, replacement)
            _compare(tables, manifest)
        journal.advance(Step.VERIFIED)
        former = dialect.swap(engine, replacement, journal, progress.within(0.75, 1))
        if former is not None:
            journal.keep_undo(former.location, former.size_bytes, undo_days)
        journal.advance(Step.DONE)
    except BaseException as error:
        if not _is_done_after_all(dialect, target, journal, replacement):
            if isinstance(error, OpsError):
                error.say_nothing_changed()
            raise
        if isinstance(error, NeedsHuman):
            raise  # it is in place, and something about it is wrong
    proven = manifest is not None and manifest.has_proof
    notes = replacement.notes if replacement else ()
    if manifest is not None and not proven:
        notes = (*notes, NO_PROOF)
    return RestoreResult(
        target.name, source, tables, proven, notes, _point(journal), time.monotonic() - started
    )


def _is_done_after_all(
    dialect: Dialect, target: Target, journal: Journal, replacement: Replacement | None
) -> bool:
    """After an error: find out by looking whether the swap happened; clean up if not."""
    if journal.step is Step.SWAPPING:
        try:
            dialect.settle(target.engine, journal)
        except (Busy, Unavailable) as unsure:
            raise OpsError(
                "The restore was interrupted in its last step, and the database does not say "
                "yet whether it is in place.",
                "It is found out before anything else is restored. Nothing is lost: the "
                "database is either as before or as in the backup, and the other one is kept.",
                unsure.detail,
            ) from unsure
        if journal.is_done:
            return True
    elif not journal.is_settled:
        journal.advance(Step.ROLLED_BACK)
    if replacement is not None and journal.verb == "restore":
        dialect.discard(target.engine, replacement)
    return False


def _compare(tables: tuple[TableRows, ...], manifest: Manifest) -> None:
    """Every table of the manifest with exactly its rows, and no other. Raises MismatchFound."""
    if manifest.tables is None:
        return
    now = {table.name: table.rows for table in tables}
    promised = {table.name: table.rows for table in manifest.tables}
    wrong = sorted(n for n in now.keys() | promised.keys() if now.get(n) != promised.get(n))
    if wrong:
        lines = [f"{n}: promised {promised.get(n)}, found {now.get(n)}" for n in wrong[:50]]
        raise MismatchFound(
            f"The backup does not hold what it promises: {len(wrong)} of "
            f"{len(now.keys() | promised.keys())} tables differ.",
            "Use another backup.",
            detail="\n".join(lines),
        )


def check_kind(dialect: Dialect, archive: Archive) -> None:
    """Refuse the archive of another kind of database."""
    if archive.manifest.db_backend != dialect.backend:
        raise BadArchive(
            f"This is a backup of a {archive.manifest.db_backend} database; "
            f"this one is {dialect.title}.",
            "Choose the database that the backup was made of, or another backup.",
        )


def undo_points(target: Target, folder: DataFolder) -> list[UndoPoint]:
    """The kept former databases of a target, newest first."""
    points = [_point(journal) for journal in journals_of(folder, target.name)]
    return [point for point in points if point is not None]


def delete_undo_point(target: Target, folder: DataFolder, point: str) -> None:
    """Give up the way back, for good. Raises Refused when there is no such point."""
    with target_lock(folder, target.name):
        for journal in journals_of(folder, target.name):
            if journal.id == point and journal.undo is not None:
                _use_up(target, journal)
                return
    raise Refused("There is no such undo point.", "It may have been used or deleted.")


def expire_undo_points(target: Target, folder: DataFolder) -> None:
    """Delete the undo points whose time is over."""
    for point in undo_points(target, folder):
        if point.until < datetime.now(UTC):
            delete_undo_point(target, folder, point.id)


def settle_target(target: Target, folder: DataFolder) -> None:
    """Finish or roll back what a crash interrupted. Call it under the target's lock.

    Raises:
        NeedsHuman: a state that no rule covers; nothing else may run on the target.
    """
    dialect = dialect_of(target.engine)
    journals = journals_of(folder, target.name)
    for journal in journals:
        if not journal.is_settled:
            dialect.settle(target.engine, journal)
        if journal.verb == "undo" and journal.is_done:
            for used in journals:
                if used.id == journal.source and used.undo is not None:
                    _use_up(target, used)


def _use_up(target: Target, journal: Journal) -> None:
    """The undo point is live again or given up: remove what is left of it."""
    assert journal.undo is not None
    location = str(journal.undo["location"])
    dialect_of(target.engine).discard(target.engine, Replacement(location))
    journal.forget_undo()


def _point(journal: Journal) -> UndoPoint | None:
    if journal.undo is None or journal.undo_until is None or journal.ended_at is None:
        return None
    return UndoPoint(
        journal.id,
        journal.target,
        journal.verb,
        journal.source,
        datetime.fromisoformat(journal.ended_at),
        datetime.fromisoformat(journal.undo_until),
        int(journal.undo["size_bytes"]),
    )

"""Restoring a backup, and undoing it.

Both go the same way: something is made ready beside the live database, proven, swapped in
at once, and the former live database is kept as an undo point. Undoing swaps that one in
and keeps what was live, so an undo can be undone too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.archive.manifest import Manifest, TableRows
from ops.datafolder import DataFolder
from ops.dialects import dialect_of
from ops.dialects.base import Dialect, Replacement
from ops.errors import Busy, DiskFull, NeedsHuman, OpsError, Refused, Unavailable
from ops.journal import Journal, Step, journals_of
from ops.locks import target_lock
from ops.progress import SILENT, Progress
from ops.recovery import roll_back, settle_target
from ops.staging import admit, bring_to_life, count_and_compare
from ops.target import Target
from ops.undo import BESIDE, UNDO_DAYS, UndoPoint, point_of, use_up

NO_PROOF = (
    "This backup is of an older format that carries no checksum and no row counts, "
    "so it could not be compared with what was saved."
)


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
    with target_lock(folder, target), folder.workspace(target.name, "restore") as workspace:
        settle_target(target, folder)
        archive = admit(target, archive_path, folder, workspace, trust_foreign=trust_foreign)

        def make_ready(journal: Journal) -> Replacement:
            staging = progress.within(0, 0.7)
            return bring_to_life(target, archive, folder, workspace, journal, staging)

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
    with target_lock(folder, target):
        settle_target(target, folder)
        kept = [
            j for j in journals_of(folder, target.name) if j.undo is not None and j.verb != BESIDE
        ]
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
        use_up(target, chosen)
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
            comparing = progress.within(0.7, 0.75)
            tables, _ = count_and_compare(target, replacement, manifest, comparing)
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
        target.name, source, tables, proven, notes, point_of(journal), time.monotonic() - started
    )


def _is_done_after_all(
    dialect: Dialect, target: Target, journal: Journal, replacement: Replacement | None
) -> bool:
    """After an error: find out by looking whether the swap happened; clean up if not."""
    if journal.step is Step.SWAPPING:
        try:
            dialect.settle(target.engine, journal)
        except (Busy, DiskFull, Unavailable) as unsure:
            raise OpsError(
                "The restore was interrupted in its last step, and the database does not say "
                "yet whether it is in place.",
                "It is found out before anything else is restored. Nothing is lost: the "
                "database is either as before or as in the backup, and the other one is kept.",
                unsure.detail,
            ) from unsure
        if journal.is_done:
            return True
    roll_back(target, journal, replacement)
    return False

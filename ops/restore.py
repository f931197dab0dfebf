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
from ops.backup import refuse_if_told
from ops.datafolder import DataFolder
from ops.dialects import dialect_of
from ops.dialects.base import Dialect, Replacement
from ops.errors import Busy, DiskFull, NeedsHuman, OpsError, Refused, Unavailable
from ops.journal import Journal, Step, journals_of
from ops.locks import target_lock
from ops.progress import SILENT, Progress
from ops.recovery import roll_back, settle_target
from ops.staging import admit, bring_to_life, compare_counted
from ops.target import Target
from ops.undo import BESIDE, UNDO_DAYS, UndoPoint, point_of, unharmed_former, use_up

_COMPARING = 0.05

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
            staging = progress.within(0, _before_swap(target) - _COMPARING)
            return bring_to_life(target, archive, folder, workspace, journal, staging)

        order = _Order("restore", archive_path.name, undo_days, make_ready, archive.manifest)
        return _put_in_place(target, folder, order, progress)


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
        Refused: there is none, or it is not as it was when it was kept.
        Busy, Unavailable, Cancelled: live is exactly as before.
    """
    with target_lock(folder, target):
        settle_target(target, folder)
        chosen = _point_to_undo(target, folder, point)
        refuse_if_told(dialect_of(target.engine).swap_notices(target.engine))
        former = unharmed_former(chosen, progress.within(0, 0.3))
        order = _Order("undo", chosen.id, undo_days, lambda _journal: former, None)
        result = _put_in_place(target, folder, order, progress.within(0.3, 1))
        use_up(target, chosen)
        return result


def _point_to_undo(target: Target, folder: DataFolder, point: str | None) -> Journal:
    """The journal that keeps the undo point of that id, or the newest. Raises Refused."""
    for journal in journals_of(folder, target.name):
        if journal.undo is not None and journal.verb != BESIDE and point in (None, journal.id):
            return journal
    raise Refused(
        f"There is nothing to undo for {target.name!r}.",
        "A restore can be undone as long as its undo point is kept.",
    )


@dataclass(frozen=True)
class _Order:
    """What is to be put in the place of the live database, and how it is made ready. The
    manifest is None where there is nothing to compare it with."""

    verb: str
    source: str
    undo_days: int
    make_ready: Callable[[Journal], Replacement]
    manifest: Manifest | None


class _Attempt:
    """Make ready, prove, swap, keep: with the journal written before each step."""

    def __init__(self, target: Target, journal: Journal, order: _Order) -> None:
        self._target = target
        self._journal = journal
        self._order = order
        self.replacement: Replacement | None = None
        self.tables: tuple[TableRows, ...] = ()

    def run(self, progress: Progress) -> None:
        """Afterwards the journal is done."""
        target, journal, manifest = self._target, self._journal, self._order.manifest
        begins = _before_swap(target)
        self.replacement = self._order.make_ready(journal)
        journal.advance(Step.STAGED)
        if manifest is not None:
            comparing = progress.within(begins - _COMPARING, begins)
            self.tables, _ = compare_counted(self.replacement, manifest, comparing)
        journal.advance(Step.VERIFIED)
        dialect, swapping = dialect_of(target.engine), progress.within(begins, 1)
        former = dialect.swap(target.engine, self.replacement, journal, swapping)
        if former is not None:
            self._keep(former)
        journal.advance(Step.DONE)

    def _keep(self, former: Replacement) -> None:
        if Path(former.location).is_absolute():
            self._journal.keep_undo_file(Path(former.location), former.sha256)
        else:
            self._journal.keep_undo(former.location, former.size_bytes, self._order.undo_days)


def _put_in_place(
    target: Target, folder: DataFolder, order: _Order, progress: Progress
) -> RestoreResult:
    """Carry out the order; after an error live is exactly as before, or the order is done."""
    started, dialect = time.monotonic(), dialect_of(target.engine)
    journal = Journal.begin(folder, target.name, dialect.backend, order.verb, order.source)
    journal.facts.update(undo_days=order.undo_days, keep_in=str(folder.undo(target.name)))
    attempt = _Attempt(target, journal, order)
    try:
        attempt.run(progress)
    except BaseException as error:
        if not _is_done_after_all(dialect, target, journal, attempt.replacement):
            if isinstance(error, OpsError):
                error.say_nothing_changed()
            raise
        if isinstance(error, NeedsHuman):
            raise  # it is in place, and something about it is wrong
    proven = order.manifest is not None and order.manifest.has_proof
    notes = attempt.replacement.notes if attempt.replacement else ()
    if order.manifest is not None and not proven:
        notes = (*notes, NO_PROOF)
    return RestoreResult(
        target.name,
        order.source,
        attempt.tables,
        proven,
        notes,
        point_of(journal),
        time.monotonic() - started,
    )


def _before_swap(target: Target) -> float:
    """About how much of the time has passed when the swap begins."""
    return 1 - dialect_of(target.engine).swap_share


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

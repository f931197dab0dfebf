"""Deleting the kept backups that retention lets go, and saying beforehand which."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.catalog import Catalog, CatalogEntry, EntryState
from ops.datafolder import DataFolder
from ops.errors import Refused
from ops.journal import journals_of
from ops.locks import target_lock
from ops.progress import SILENT, Progress
from ops.retention import Decision, Kept, decide
from ops.schedule import Plan
from ops.target import Target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PruneResult:
    """What was decided, and the bytes that came free. `stuck`: what could not be deleted, and
    why."""

    decisions: tuple[Decision, ...]
    freed_bytes: int
    stuck: tuple[str, ...] = ()

    def without(self, spared: Mapping[str, str]) -> PruneResult:
        """The same, but for backups that stay for a reason that was found only now."""
        decisions = (
            replace(decision, keeps=True, reason=spared[decision.backup.name])
            if decision.backup.name in spared
            else decision
            for decision in self.decisions
        )
        return replace(self, decisions=tuple(decisions))

    @property
    def deleted(self) -> list[str]:
        """The names of the backups that went."""
        return [decision.backup.name for decision in self.decisions if not decision.keeps]

    def as_dict(self) -> dict[str, Any]:
        """The document of `ops-console prune --json`."""
        return {
            "deleted": self.deleted,
            "stuck": list(self.stuck),
            "freed": self.freed_bytes,
            "backups": [decision.as_dict() for decision in self.decisions],
        }


def look_ahead(
    target: Target, folder: DataFolder, plan: Plan, now: datetime | None = None
) -> PruneResult:
    """What `prune` would do as of `now`, without doing it.

    Raises:
        NeedsHuman: the note of a restore is damaged, so it is not known what that needs.
    """
    return _planned(Catalog(folder, target.name).entries(), target, folder, plan, now)


def prune(
    target: Target,
    folder: DataFolder,
    plan: Plan,
    now: datetime | None = None,
    *,
    progress: Progress = SILENT,
) -> PruneResult:
    """Delete the backups that the plan does not keep as of `now`.

    Raises:
        Busy, Unavailable, NeedsHuman: nothing was deleted.
        Cancelled: those that follow were not deleted.
    """
    with target_lock(folder, target):
        catalog = Catalog(folder, target.name)
        entries = catalog.entries()
        planned = _planned(entries, target, folder, plan, now)
        going = [decision.backup for decision in planned.decisions if not decision.keeps]
        spared, stuck = {}, []
        for number, backup in enumerate(going):
            progress.report(number, len(going), "Deleting old backups")
            try:
                if reason := _delete(catalog, backup):
                    spared[backup.name] = reason
            except OSError as cause:  # it keeps none of the others
                log.warning("%s could not be deleted: %s", backup.name, cause)
                spared[backup.name] = f"It could not be deleted: {cause.strerror}"
                stuck.append(f"{backup.name}: {cause.strerror}")
    done = planned.without(spared)
    freed = _bytes_of(entries, done.deleted)
    return replace(done, freed_bytes=freed, stuck=tuple(stuck))


def _delete(catalog: Catalog, backup: Kept) -> str:
    """Delete it, unless a person has just seen to it: then why it stays."""
    try:
        entry = catalog.entry(backup.name)
        if entry.label != backup.label or entry.is_note_lost:
            return "It was given a name a moment ago"
        catalog.delete(backup.name)
    except Refused:
        return "It was held, or deleted, a moment ago"
    return ""


def _bytes_of(entries: Sequence[CatalogEntry], names: Collection[str]) -> int:
    return sum(entry.size_bytes for entry in entries if entry.name in names)


def _planned(
    entries: Sequence[CatalogEntry],
    target: Target,
    folder: DataFolder,
    plan: Plan,
    now: datetime | None,
) -> PruneResult:
    needed = _needed(target, folder)
    kept = [_kept(entry, needed) for entry in entries]
    decisions = decide(kept, plan.keep, plan.zone, now or datetime.now(UTC))
    going = {decision.backup.name for decision in decisions if not decision.keeps}
    return PruneResult(tuple(decisions), _bytes_of(entries, going))


def _needed(target: Target, folder: DataFolder) -> set[str]:
    """The names of files that an undo point is, or that an unsettled restore came from."""
    needed = set()
    for journal in journals_of(folder, target.name):
        if journal.undo is not None:
            needed.add(Path(str(journal.undo["location"])).name)
        if not journal.is_settled:
            needed.add(Path(journal.source).name)
    return needed


def _kept(entry: CatalogEntry, needed: set[str]) -> Kept:
    tested = entry.tested
    return Kept(
        entry.name,
        entry.created_at,
        is_good=entry.state is EntryState.GOOD and entry.failure is None,
        label=entry.label,
        is_held=entry.is_held,
        is_ours=entry.made_here,
        is_needed=entry.name in needed,
        proven_at=tested.at if tested is not None and tested.passed else None,
        is_known=not entry.is_note_lost,
    )

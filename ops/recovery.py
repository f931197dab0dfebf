"""After a crash: settle what it left, before anything new begins; where no rule says how,
show a person what there is and do what they choose."""

from __future__ import annotations

import logging

from ops.catalog import Catalog
from ops.datafolder import DataFolder
from ops.dialects import dialect_of
from ops.dialects.base import Replacement, Stuck
from ops.errors import Busy, NeedsHuman, OpsError, Refused
from ops.installation import Installation
from ops.journal import Journal, Step, journals_of
from ops.locks import target_lock
from ops.target import Target
from ops.undo import use_up

log = logging.getLogger(__name__)


def settle_all(home: Installation) -> None:
    """Settle every target. What cannot be settled now is logged; it is tried again before
    the next restore, and `unsettled` tells pages of it."""
    for target in home.targets:
        settle_one(home, target)


def settle_one(home: Installation, target: Target) -> bool:
    """Settle one target, as far as can be; False where a living process is at work on it."""
    try:
        with target_lock(home.folder, target):
            home.folder.clear_workspaces(target.name)
            Catalog(home.folder, target.name).remove_drafts()
            settle_target(target, home.folder)
    except Busy:
        return False  # that is no leftover
    except OpsError as error:
        log.error("%s: %s %s %s", target.name, error.message, error.hint, error.detail)
    except Exception:
        # One target must not keep the console from starting for all others.
        log.exception("%s could not be settled", target.name)
    return True


def unsettled(target: Target, folder: DataFolder) -> bool:
    """Whether an interrupted restore of this target still waits to be settled."""
    return any(not journal.is_settled for journal in journals_of(folder, target.name))


def has_leftovers(target: Target, folder: DataFolder) -> bool:
    """Whether something of a restore that never got to its swap waits to be removed. Whether a
    swap has happened is another question, which may take long or a person."""
    try:
        journals = journals_of(folder, target.name)
    except NeedsHuman:
        return False  # the Restore page tells of it
    return any(not one.is_settled and one.step is not Step.SWAPPING for one in journals)


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
        is_in_place = journal.is_done or journal.facts.get("source_is_live")
        if journal.verb == "undo" and is_in_place:
            for used in journals:
                if used.id == journal.source and used.undo is not None:
                    use_up(target, used)


def roll_back(target: Target, journal: Journal, replacement: Replacement | None) -> None:
    """Remove what broken off work has left beside the live database.

    What cannot be done now, such as on a server that is down, stays unsettled, and is done
    before anything else begins.
    """
    dialect = dialect_of(target.engine)
    try:
        if replacement is not None and journal.verb != "undo":
            # Before the journal is written: on a full disk it makes the room for it.
            dialect.discard(target.engine, replacement)
        if not journal.is_settled:
            dialect.settle(target.engine, journal)
    except OpsError as error:
        log.warning("%s: not cleaned up yet: %s %s", target.name, error.message, error.detail)


def look_stuck(target: Target, folder: DataFolder) -> tuple[Journal, Stuck] | None:
    """The interrupted restore that only a person can decide about, with what there is;
    None where there is none. What a rule covers is settled on the way.

    Raises:
        Busy, Unavailable: it cannot be told at the moment.
    """
    with target_lock(folder, target):
        try:
            settle_target(target, folder)
        except NeedsHuman:
            journal = _unsettled_journal(target, folder)
            return journal, dialect_of(target.engine).look_stuck(target.engine, journal)
    return None


def take_way_out(target: Target, folder: DataFolder, journal_id: str, way: str) -> None:
    """Do what a person chose for a stuck restore.

    Raises:
        Refused: that choice is no longer there.
        Busy, Unavailable: nothing was changed.
    """
    with target_lock(folder, target):
        journal = _unsettled_journal(target, folder)
        if journal.id != journal_id:
            raise Refused("This restore has been settled meanwhile.", "Look at the page anew.")
        dialect_of(target.engine).take_way_out(target.engine, journal, way)
        log.warning("%s: a person chose %r for the restore %s", target.name, way, journal.id)


def _unsettled_journal(target: Target, folder: DataFolder) -> Journal:
    for journal in journals_of(folder, target.name):
        if not journal.is_settled:
            return journal
    raise Refused("There is no interrupted restore to decide about.", "Look at the page anew.")

"""At start-up: settle what a crash left, before anything new begins."""

from __future__ import annotations

import logging

from ops.catalog import Catalog
from ops.datafolder import DataFolder
from ops.dialects import dialect_of
from ops.errors import Busy, OpsError
from ops.installation import Installation
from ops.journal import journals_of
from ops.locks import target_lock
from ops.target import Target
from ops.undo import expire_undo_points, use_up

log = logging.getLogger(__name__)


def settle_all(home: Installation) -> None:
    """Settle every target. What cannot be settled now is logged; it is tried again before
    the next restore, and `unsettled` tells pages of it."""
    for target in home.targets:
        try:
            with target_lock(home.folder, target.name):
                home.folder.clear_workspaces(target.name)
                Catalog(home.folder, target.name).remove_drafts()
                settle_target(target, home.folder)
            expire_undo_points(target, home.folder)
        except Busy:
            continue  # a living process is at work on it, which is no leftover
        except OpsError as error:
            log.error("%s: %s %s %s", target.name, error.message, error.hint, error.detail)


def unsettled(target: Target, folder: DataFolder) -> bool:
    """Whether an interrupted restore of this target still waits to be settled."""
    return any(not journal.is_settled for journal in journals_of(folder, target.name))


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
                    use_up(target, used)

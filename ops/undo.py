"""What is kept beside the live database: undo points, and databases to look at."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ops.datafolder import DataFolder, file_sha256
from ops.dialects import dialect_of
from ops.dialects.base import Replacement
from ops.errors import DiskFull, OpsError, Refused
from ops.journal import Journal, journals_of
from ops.locks import target_lock
from ops.progress import Progress
from ops.target import Target

log = logging.getLogger(__name__)

UNDO_DAYS = 7
_GRACE: Final = timedelta(hours=12)
"""A clock that is wrong for a while, as after a machine's start, costs nobody the way back."""
BESIDE = "beside"
"""The verb of the journals whose kept database is there to be looked at, not to go back to."""


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
    location: str


def undo_points(target: Target, folder: DataFolder) -> list[UndoPoint]:
    """The kept former databases of a target, newest first."""
    return [point for point in kept_points(target, folder) if point.verb != BESIDE]


def kept_points(target: Target, folder: DataFolder) -> list[UndoPoint]:
    """All that is kept beside the live database of a target, newest first."""
    points = [point_of(journal) for journal in journals_of(folder, target.name)]
    return [point for point in points if point is not None]


def delete_undo_point(target: Target, folder: DataFolder, point: str) -> None:
    """Give up what is kept, for good. Raises Refused when there is no such point."""
    with target_lock(folder, target):
        for journal in journals_of(folder, target.name):
            if journal.id == point and journal.undo is not None:
                use_up(target, journal)
                return
    raise Refused("There is no such undo point.", "It may have been used or deleted.")


def expire_undo_points(target: Target, folder: DataFolder) -> list[UndoPoint]:
    """Delete what was first seen to be beyond its time long enough ago, and say what that was.

    What cannot be deleted does not keep the others; only where nothing could be is that an error.
    Raises Busy where something else is being done with the target.
    """
    now = datetime.now(UTC)
    if not any(_over(target, folder, now)):
        return []
    with target_lock(folder, target):
        go, news = _over(target, folder, now)
        gone, problem = _use_up_all(target, go)  # first, since this makes room on a full disk
        for journal, seen in news:
            journal.undo_over = seen
            with suppress(DiskFull):  # the next look notes it
                journal.write()
    if problem is not None and not gone:
        raise problem
    return gone


def _use_up_all(target: Target, journals: list[Journal]) -> tuple[list[UndoPoint], OpsError | None]:
    """What could be deleted, and the first error of what could not."""
    gone, problem = [], None
    for journal in journals:
        point = point_of(journal)
        try:
            use_up(target, journal)
        except OpsError as error:
            log.warning("the undo point %s cannot be deleted: %s", journal.id, error.detail)
            problem = problem or error
        else:
            gone += [point] if point else []
    return gone, problem


def _over(
    target: Target, folder: DataFolder, now: datetime
) -> tuple[list[Journal], list[tuple[Journal, str | None]]]:
    """The journals of what is to go, and those that must note when it was seen to be over."""
    kept = [journal for journal in journals_of(folder, target.name) if point_of(journal)]
    looks = [(journal, _seen_over(journal, now)) for journal in kept]
    go = [one for one, seen in looks if seen and now - datetime.fromisoformat(seen) > _GRACE]
    return go, [(one, seen) for one, seen in looks if seen != one.undo_over]


def _seen_over(journal: Journal, now: datetime) -> str | None:
    """When the time of what it keeps was first seen to be up; None while it is not. A note from
    the future is one of a wrong clock."""
    if datetime.fromisoformat(str(journal.undo_until)) >= now:
        return None
    noted = journal.undo_over
    return noted if noted and datetime.fromisoformat(noted) <= now else now.isoformat()


def use_up(target: Target, journal: Journal) -> None:
    """What the journal keeps is live again or given up: remove what is left of it."""
    assert journal.undo is not None
    location = str(journal.undo["location"])
    dialect_of(target.engine).discard(target.engine, Replacement(location))
    journal.forget_undo()


def unharmed_former(journal: Journal, progress: Progress) -> Replacement:
    """What an undo point keeps, ready to become live again. A file is read once and compared
    with the SHA-256 from when it was kept: about a second for each GiB.

    Raises:
        Refused: it is gone or damaged.
    """
    assert journal.undo is not None
    location, told = str(journal.undo["location"]), journal.undo.get("sha256")
    if told is not None:
        path = Path(location)
        if not path.is_file():
            raise Refused(
                "The copy of the database as it was before is gone; somebody has deleted it.",
                "Restore a backup from before that time instead.",
                detail=location,
            )
        found = file_sha256(path, progress)
        if found != told:
            raise Refused(
                "The copy of the database as it was before is damaged, so it was not put in place.",
                "Restore a backup from before that time instead, and have the disk of this "
                "machine looked at.",
                detail=f"{location}: sha256 {found}; when it was kept: {told}",
            )
    return Replacement(location, int(journal.undo["size_bytes"]))


def point_of(journal: Journal) -> UndoPoint | None:
    """What a journal keeps; None where it keeps nothing, or not yet."""
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
        str(journal.undo["location"]),
    )

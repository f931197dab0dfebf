"""An interrupted restore whose outcome the file does not tell: what there is, and the choices."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ops.dialects.base import Stuck, WayOut
from ops.dialects.sqlite.connect import bytes_of
from ops.dialects.sqlite.settle import forget_files, is_lost
from ops.dialects.sqlite.swap import own_source, replace_damaged
from ops.errors import Refused
from ops.journal import Journal, Step
from ops.progress import SILENT

_KEEP: Final = WayOut(
    "keep",
    "Go on with the database as it is now",
    "It stays in use with everything that programs have written since. The copy from before the "
    "restore, where there is one, is kept as an undo point, so you can still go back to it.",
)
_FORMER: Final = WayOut(
    "former",
    "Put the database back as it was before the restore",
    "Everything that was saved before the restore began is in it. The damaged file, if there is "
    "one, is kept aside.",
)
_RESTORED: Final = WayOut(
    "restored",
    "Put the backup in place that was being restored",
    "It was checked before. The database from before the restore, where there is a copy, is kept "
    "as an undo point. The damaged file, if there is one, is kept aside.",
)
_LEAVE: Final = WayOut(
    "keep",
    "Leave it as it is",
    "Nothing is written. Restore a backup afterwards: that makes the database anew. The copy from "
    "before the restore, where there is one, is kept as an undo point.",
)


def look(path: Path, journal: Journal) -> Stuck:
    """The live file, the safety copy that the restore took, and what was to be restored."""
    keep, lost = _keep_of(journal), is_lost(path)
    found = [_told(path, "the database in use", is_damaged=lost)]
    if keep.exists():
        found.append(_told(keep, "the database as it was before the restore"))
    if lost and own_source(keep).exists():
        found.append(_told(own_source(keep), "the backup that was being restored"))
    return Stuck(tuple(found), _ways(keep, lost))


def take(path: Path, journal: Journal, way: str) -> None:
    """A lost database is made anew from one of the two copies; else nothing is written but the
    journal. A crash in between leaves the choice open."""
    keep, lost = _keep_of(journal), is_lost(path)
    if way not in [choice.id for choice in _ways(keep, lost)]:
        raise Refused("This choice is no longer there.", "Look at the page anew.")
    if way != _KEEP.id:
        source = keep if way == _FORMER.id else own_source(keep)
        aside = keep.with_name(f"damaged-{journal.id}.db")
        replace_damaged(path, source, aside, SILENT)
    if way != _FORMER.id and keep.exists():
        journal.keep_undo_file(keep)
    journal.advance(Step.CLOSED, way=way)
    if way == _FORMER.id:
        forget_files(journal)  # it is live again
    own_source(keep).unlink(missing_ok=True)


def _keep_of(journal: Journal) -> Path:
    return Path(str(journal.facts["keep"]))


def _ways(keep: Path, lost: bool) -> tuple[WayOut, ...]:
    if not lost:
        return (_KEEP,)
    former = (_FORMER,) if keep.exists() else ()
    restored = (_RESTORED,) if own_source(keep).exists() else ()
    return (*former, *restored, _LEAVE)


def _told(file: Path, what: str, *, is_damaged: bool = False) -> str:
    if not file.exists():
        return f"{file.name}: {what} is missing"
    damage = ", empty or damaged" if is_damaged else ""
    return f"{file.name}: {what}, {bytes_of(file):,} bytes{damage}"

"""An interrupted restore whose outcome the file does not tell: what there is, and the choice."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ops.dialects.base import Stuck, WayOut
from ops.errors import Refused
from ops.journal import Journal, Step

_KEEP: Final = WayOut(
    "keep",
    "Go on with the database as it is now",
    "It stays in use with everything that programs have written since. The copy from before the "
    "restore is kept as an undo point, so you can still go back to it.",
)


def look(path: Path, journal: Journal) -> Stuck:
    """The live file and the safety copy that the restore took."""
    keep = Path(str(journal.facts["keep"]))
    found = [f"{path.name}: the database in use, {path.stat().st_size:,} bytes"]
    if keep.exists():
        size = keep.stat().st_size
        found.append(f"{keep.name}: the database as it was before the restore, {size:,} bytes")
    return Stuck(tuple(found), (_KEEP,))


def take(path: Path, journal: Journal, way: str) -> None:
    """Nothing is written but the journal."""
    if way != _KEEP.id:
        raise Refused("This choice is no longer there.", "Look at the page anew.")
    keep = Path(str(journal.facts["keep"]))
    if keep.exists():
        journal.keep_undo_file(keep)
    journal.advance(Step.CLOSED, way=way)

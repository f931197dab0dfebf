"""After a crash: telling from a SQLite file whether a restore was finished."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path
from typing import Final

from ops.dialects.sqlite import restore
from ops.dialects.sqlite.connect import SIDE_FILES, cannot_open, writing
from ops.dialects.sqlite.inspect import inspect
from ops.dialects.sqlite.swap import own_source
from ops.errors import BadArchive, Busy, NeedsHuman, Unavailable
from ops.journal import Journal, Step

log = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 10
"""So long readers are waited for, and writers meanwhile."""
_BETWEEN_SECONDS: Final = 0.02


def settle(path: Path, journal: Journal) -> None:
    """Finish or roll back what a crash interrupted; see `Dialect.settle`.

    The backup API sets the live file's schema cookie to its own plus one. An unchanged cookie
    says that nothing was committed; a changed one may be another program's doing, so then the
    content decides.
    """
    if journal.step is not Step.SWAPPING:
        for fact in ("beside", "beside_draft"):
            if fact in journal.facts:
                remove_database(Path(str(journal.facts[fact])))
        _roll_back(journal)
        return
    keep = Path(str(journal.facts["keep"]))
    if journal.facts["damaged"]:
        in_place = path.resolve()
        in_place.with_name(in_place.name + ".restoring").unlink(missing_ok=True)
        journal.advance(Step.ROLLED_BACK if restore.is_damaged(path) else Step.DONE)
        return
    cookie, before = _cookie_of(path), int(journal.facts["cookie"])
    if cookie == before or not keep.exists():  # nothing is committed before the copy is kept
        _roll_back(journal)
        return
    match _origin_of(path, journal, cookie == before + 1):
        case "after":
            own_source(keep).unlink(missing_ok=True)
            journal.keep_undo_file(keep)
            journal.advance(Step.DONE)
        case "before":
            _roll_back(journal)
        case _:
            raise NeedsHuman(
                "A restore was interrupted, and the database was changed since by another program.",
                f"Nothing was touched. The database as it was before lies in {keep}.",
                detail=f"schema cookie {cookie}, before the restore {before}",
            )


def is_lost(path: Path) -> bool:
    """Whether there is no live database to go on with: no file, an empty one, or none that
    SQLite can open. Raises Unavailable where even its folder is missing."""
    if not path.parent.is_dir():
        raise cannot_open(path)
    return not path.exists() or path.stat().st_size == 0 or restore.is_damaged(path)


def forget_files(journal: Journal) -> None:
    """Remove the safety copy, the replacement, their drafts and their side files."""
    for file in Path(str(journal.facts["keep_in"])).glob(f"{journal.id}.*"):
        file.unlink(missing_ok=True)


def remove_database(path: Path) -> None:
    """Remove a database file that is no longer wanted, with its side files."""
    for end in ("", *SIDE_FILES):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _roll_back(journal: Journal) -> None:
    if "keep_in" in journal.facts:
        forget_files(journal)
    journal.advance(Step.ROLLED_BACK)


def _cookie_of(path: Path) -> int:
    """The live schema cookie. Opening the file lets SQLite roll back what was half written."""
    lost = NeedsHuman(
        "A restore was interrupted, and since then the database file is missing or damaged.",
        "Nothing was touched. The Restore page shows what there is.",
        detail=str(path),
    )
    if path.parent.is_dir() and not path.exists():
        raise lost
    try:
        with writing(path, timeout=restore.BUSY_DEADLINE_SECONDS, create=False) as live:
            return int(live.execute("PRAGMA schema_version").fetchone()[0])
    except Unavailable as error:
        # The subclass OperationalError tells of locks and rights, not of damage.
        if type(error.__cause__) is not sqlite3.DatabaseError:
            raise
        lost.detail = error.detail
        raise lost from error


def _origin_of(path: Path, journal: Journal, is_next: bool) -> str:
    """Which of the two the live content comes from, though others have written since: "before"
    or "after" the swap; "" where it cannot be told. `is_next`: the cookie is the next one.

    Raises Busy where a program keeps the newest content from being read.
    """
    keep = Path(str(journal.facts["keep"]))
    source = Path(str(journal.facts.get("source", "")))
    if not source.is_file():  # removed once it is live; an undo point is only once it is noted
        return "after" if is_next else ""
    _merge_side_file(path)
    try:
        same = inspect("blocks", path, str(keep), str(source))
    except BadArchive as problem:
        log.warning("the interrupted restore %s cannot be told: %s", journal.id, problem.detail)
        return ""
    if not any(same.values()):
        return "after"  # the two are the same
    for origin, other in (("after", "before"), ("before", "after")):
        if same[origin] > same[other] and same[origin] >= same["neither"]:
            return origin
    return ""


def _merge_side_file(path: Path) -> None:
    """Move what lies in the WAL into the file, as far as readers allow.

    FULL: of a database that others write to all the time, the milder PASSIVE leaves some over.
    Neither waits for another checkpoint (pragma.html, wal_checkpoint), so it is tried again.
    """
    ends = time.monotonic() + _PATIENCE_SECONDS
    with writing(path, timeout=_PATIENCE_SECONDS, create=False) as live:
        while True:
            busy, pages, moved = live.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            if not busy and pages == moved:
                return
            if time.monotonic() > ends:
                break
            time.sleep(_BETWEEN_SECONDS)
    raise Busy(
        f"Another program is reading an older state of the database {path.name}.",
        "Wait until it has finished, or stop it, then try again.",
        f"wal_checkpoint: {busy}, {pages}, {moved}",
    )

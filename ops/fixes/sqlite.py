"""Fixes for a SQLite file. Each has a connection of its own and waits two seconds for its turn.

Rights are those of the file system: who may write the file and its folder may do all of this.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from ops.checks.words import listed, size
from ops.dialects.sqlite.connect import bytes_of, cannot_open, file_of, reading, writing
from ops.errors import Cancelled, Refused
from ops.fixes.base import Fix, Kind, Obstacle
from ops.progress import Progress

_WAIT_SECONDS: Final = 2
_STEPS_BETWEEN_LOOKS: Final = 10_000
_LOOK_EVERY_SECONDS: Final = 0.3
_TEMPORARY: Final = ("/var/tmp", "/usr/tmp", "/tmp")  # nosec B108: looked at, never written to
"""Where SQLite puts its temporary files (sqlite.org/tempfiles.html), SQLITE_TMPDIR before them."""

_OPTIMIZE: Final = ("PRAGMA analysis_limit=1000", "ANALYZE")
"""What SQLite advises for PRAGMA optimize; the limit keeps it under a second in most files.
PRAGMA optimize itself looks only at what its own connection has searched (before 3.46)."""
_VACUUM: Final = ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)")
_MERGE: Final = ("PRAGMA wal_checkpoint(TRUNCATE)",)
_USE_WAL: Final = ("PRAGMA journal_mode=WAL",)
_OPEN_ONCE: Final = ("SELECT count(*) FROM sqlite_schema",)


def _may_write(engine: Engine, _subject: str) -> Obstacle | None:
    path = file_of(engine)
    if not (os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)):
        told = cannot_open(path)
        return Obstacle(told.message, told.hint)
    return None


def _may_copy(engine: Engine, subject: str) -> Obstacle | None:
    """VACUUM writes a new copy to the temporary folder, and from there beside the file."""
    path = file_of(engine)
    need = path.stat().st_size + bytes_of(path.with_name(path.name + "-wal"))
    for place, times in ((path.parent, 2), (_temporary_folder(), 1)):
        free = shutil.disk_usage(place).free
        if free < times * need:
            return Obstacle(
                f"There is too little room on the disk of {place}: {size(free)} are free, and "
                f"{size(times * need)} are needed meanwhile.",
                "Make room there, then try again.",
            )
    return _may_write(engine, subject) or _goes_by_row_numbers(path)


_BY_NUMBERS: Final = """
SELECT DISTINCT t.name, s.name FROM sqlite_schema t JOIN sqlite_schema s
WHERE t.type = 'table' AND t.sql NOT LIKE 'create virtual table%'
  AND NOT EXISTS (SELECT 1 FROM pragma_index_list(t.name))
  AND NOT EXISTS (SELECT 1 FROM pragma_table_info(t.name) c
                  WHERE c.pk AND c.type = 'integer' COLLATE NOCASE)
  AND s.sql LIKE 'create virtual table%using%fts%content%=%'
  AND instr(lower(substr(s.sql, instr(lower(s.sql), 'content'))), lower(t.name))
ORDER BY 1, 2
"""
"""Tables whose rows get new numbers from VACUUM (sqlite.org/lang_vacuum.html; an index keeps
them), and searches that keep no texts of their own but look there (sqlite.org/fts5.html, 4.4.3)."""


def _goes_by_row_numbers(path: Path) -> Obstacle | None:
    """A search that knows records by such numbers would then find the wrong ones."""
    with reading(path) as connection:
        found = connection.execute(_BY_NUMBERS).fetchall()
    if not found:
        return None
    table, search = found[0]
    return Obstacle(
        f"This would give new numbers to the records of {table}, and the search in {search} "
        "knows them by the present ones: it would find the wrong records.",
        "Show it to whoever makes the app: a table with an INTEGER PRIMARY KEY keeps its numbers.",
    )


def _temporary_folder() -> Path:
    for place in (os.environ.get("SQLITE_TMPDIR", ""), *_TEMPORARY):
        if place and os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK):
            return Path(place)
    return Path(".")


def _command(*statements: str) -> Callable[[Engine, str], str]:
    text = "\n".join(f"{statement};" for statement in statements)
    return lambda _engine, _subject: text


def _optimize(engine: Engine, _subject: str, progress: Progress) -> str:
    _do(engine, _OPTIMIZE, progress, "Looking at the tables")
    return "SQLite has fresh notes about its tables."


def _vacuum(engine: Engine, _subject: str, progress: Progress) -> str:
    path = file_of(engine)
    before = path.stat().st_size
    _do(engine, _VACUUM, progress, "Writing the database anew without its gaps")
    return f"The file had {size(before)} and has {size(path.stat().st_size)}."


def _merge(engine: Engine, _subject: str, progress: Progress) -> str:
    """The pragma answers (busy, pages in the side file, pages merged)."""
    row = _do(engine, _MERGE, progress, "Merging recent changes into the file")[0]
    if not row[0]:
        return "All recent changes are merged into the file."
    holders = _who_holds(file_of(engine))
    who = f" Open in: {listed(holders, shown=6)}." if holders else ""
    return f"Not all could be merged: a program keeps an old view of the data open.{who}"


def _use_wal(engine: Engine, _subject: str, progress: Progress) -> str:
    mode = _do(engine, _USE_WAL, progress, "Switching")[0][0]
    if mode != "wal":
        raise Refused(
            f"SQLite stayed in the mode {mode!r}.",
            "A file on a shared folder cannot be switched; move it to a disk of this computer.",
        )
    return "Changes are written down in a side file first, for good."


def _open_once(engine: Engine, _subject: str, progress: Progress) -> str:
    _do(engine, _OPEN_ONCE, progress, "Opening the database")
    return "The database was opened, put in order by SQLite, and closed."


def _reindex_command(engine: Engine, subject: str) -> str:
    return f"REINDEX {_named(engine, subject)};"


def _reindex(engine: Engine, subject: str, progress: Progress) -> str:
    name = _named(engine, subject)
    _do(engine, (f"REINDEX {name}",), progress, f"Building {subject} anew")
    return f"{subject} was built anew."


def _search_command(engine: Engine, subject: str) -> str:
    name = _named(engine, subject, only="fts5")
    return f"INSERT INTO {name}({name}) VALUES ('rebuild');"


def _rebuild_search(engine: Engine, subject: str, progress: Progress) -> str:
    command = _search_command(engine, subject).removesuffix(";")
    _do(engine, (command,), progress, f"Building the search in {subject} anew")
    return f"The search in {subject} was built anew."


_NAMED: Final = """
SELECT name FROM sqlite_schema
WHERE type IN ('table', 'index') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
  AND coalesce(sql, '') LIKE ?1 AND (name = ?2 OR '"' || replace(name, '"', '""') || '"' = ?2)
"""


def _named(engine: Engine, subject: str, only: str = "") -> str:
    """The table or index that `subject` names, quoted. Raises Refused where there is none."""
    kind = f"create virtual table%{only}%" if only else "%"
    with reading(file_of(engine)) as connection:
        row = connection.execute(_NAMED, (kind, subject)).fetchone()
    if row is None:
        raise Refused(f"There is no {subject!r} in this database any more.", "Look again.")
    return engine.dialect.identifier_preparer.quote_identifier(row[0])


def _do(
    engine: Engine, statements: tuple[str, ...], progress: Progress, note: str
) -> list[tuple[object, ...]]:
    """Run statements one after the other; the rows of the first. A stop undoes the one that
    runs. Raises Busy where another program holds the file for longer than two seconds."""
    path = file_of(engine)
    progress.report(0, 1, note)
    with (
        writing(path, timeout=_WAIT_SECONDS, create=False) as connection,
        _heeding(connection, progress, note),
    ):
        results = [connection.execute(statement).fetchall() for statement in statements]
    return results[0]


@contextmanager
def _heeding(connection: sqlite3.Connection, progress: Progress, note: str) -> Iterator[None]:
    """Ask `progress` while SQLite works; a stop interrupts the statement."""
    asked: list[Cancelled] = []
    looked = [time.monotonic()]

    def look() -> bool:
        if time.monotonic() - looked[0] < _LOOK_EVERY_SECONDS:
            return False
        looked[0] = time.monotonic()
        try:
            progress.report(0, 1, note)
        except Cancelled as stop:
            asked.append(stop)
        return bool(asked)

    connection.set_progress_handler(look, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    except sqlite3.OperationalError:
        if asked:
            raise asked[0] from None
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _who_holds(path: Path) -> list[str]:
    """Programs of this machine that have the file open, as far as the system tells (Linux)."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == path.resolve() and link.parts[2] != str(os.getpid()):
                name = Path("/proc", link.parts[2], "comm").read_text(encoding="utf-8").strip()
                found.add(f"{name} (process {link.parts[2]})")
        except (OSError, UnicodeDecodeError):
            continue  # it has ended, or is another user's
    return sorted(found)


FIXES: Final[tuple[Fix[Engine], ...]] = (
    Fix(
        id="sqlite.optimize",
        title="Refresh the notes",
        what="SQLite looks at a part of every index and writes down how large it is, so that it "
        "finds the fast way to search. No data is changed.",
        kind=Kind.ONE_CLICK,
        locks="Saving waits while it runs, mostly for less than a second; reading goes on.",
        command=_command(*_OPTIMIZE),
        may=_may_write,
        run=_optimize,
    ),
    Fix(
        id="sqlite.checkpoint",
        title="Merge recent changes",
        what="What stands in the side file is written into the database file, and the side file "
        "is emptied. No data is changed.",
        kind=Kind.ONE_CLICK,
        locks="Saving may wait for up to two seconds; reading goes on.",
        command=_command(*_MERGE),
        may=_may_write,
        run=_merge,
        beside_work=True,
    ),
    Fix(
        id="sqlite.vacuum",
        title="Give back the empty space",
        what="SQLite writes the whole database anew without its gaps, in one transaction: if it "
        "is interrupted, everything is as before. Row numbers that a table does not declare may "
        "change.",
        kind=Kind.ONE_CLICK,
        locks="Saving waits while it runs, about ten seconds for each GB; programs that wait "
        "for less may report an error.",
        command=_command(*_VACUUM),
        may=_may_copy,
        run=_vacuum,
        wants_backup=True,
    ),
    Fix(
        id="sqlite.open_once",
        title="Let SQLite put it in order",
        what="The database is opened once and closed again. SQLite itself takes back a change "
        "that was cut off half-way, or completes one that was saved.",
        kind=Kind.ONE_CLICK,
        locks="Nobody has to wait for longer than a moment.",
        command=_command(*_OPEN_ONCE),
        may=_may_write,
        run=_open_once,
    ),
    Fix(
        id="sqlite.wal",
        title="Switch to safe saving",
        what="Changes go to a side file first. A power cut can then no longer destroy the "
        "database, and reading no longer waits for saving. It stays so until somebody switches "
        "it back.",
        kind=Kind.GUIDED,
        locks="It needs a moment in which no other program is at work on the database; else "
        "nothing is changed.",
        command=_command(*_USE_WAL),
        may=_may_write,
        run=_use_wal,
    ),
    Fix(
        id="sqlite.reindex",
        title="Build the index anew",
        what="The index is thrown away and built from the table again. The records are not "
        "touched.",
        kind=Kind.GUIDED,
        locks="Saving waits while it runs: seconds for a million records.",
        command=_reindex_command,
        may=_may_write,
        run=_reindex,
        subject="index",
    ),
    Fix(
        id="sqlite.rebuild_search",
        title="Build the search anew",
        what="The notes by which words are found are thrown away and made from the texts again. "
        "The texts are not touched.",
        kind=Kind.GUIDED,
        locks="Saving waits while it runs: some seconds for each 100 MB of text.",
        command=_search_command,
        may=_may_write,
        run=_rebuild_search,
        subject="table",
    ),
)

"""Opening SQLite files, and saying in words what went wrong with one."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import Engine

from ops.errors import Busy, OpsError, Refused, Unavailable

SIDE_FILES = ("-wal", "-shm", "-journal")
_WATCH_SECONDS = 0.5


def file_of(engine: Engine) -> Path:
    """The file behind an engine.

    Raises:
        Refused: a database in memory has no file to look after.
    """
    name = engine.url.database or ""
    if name.startswith("file:"):
        name = unquote(urlsplit(name).path)
    if name in ("", ":memory:"):
        raise Refused(
            "This SQLite database lives in memory only; there is no file to look after.",
            "Give the address of a file, like sqlite:////path/to/file.db.",
        )
    return Path(name).absolute()


def bytes_of(path: Path) -> int:
    """The size of a file; 0 where there is none. A side file may go at any moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def reading(
    path: Path, *, frozen: bool = False, timeout: float = 5
) -> Iterator[sqlite3.Connection]:
    """A read-only connection of its own to `path`, errors translated.

    `frozen` promises that nobody writes the file meanwhile: no locks, no side files.
    """
    flags = "mode=ro&immutable=1" if frozen else "mode=ro"
    with translated(path), closing(_open(f"{path.as_uri()}?{flags}", timeout)) as connection:
        yield connection


@contextmanager
def writing(path: Path, *, timeout: float = 5, create: bool = True) -> Iterator[sqlite3.Connection]:
    """A connection of its own that may write `path`, errors translated; unless told otherwise, it
    makes a file that is not there."""
    flags = "mode=rwc" if create else "mode=rw"
    with translated(path), closing(_open(f"{path.as_uri()}?{flags}", timeout)) as connection:
        yield connection


def hold_snapshot(connection: sqlite3.Connection) -> None:
    """Begin a transaction that sees the database as it is now, whatever others write after it: not
    BEGIN makes the snapshot, but the first read."""
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def _open(uri: str, timeout: float) -> sqlite3.Connection:
    # isolation_level=None: transactions begin where the code says so, nowhere else.
    return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)


@contextmanager
def heeding(connection: sqlite3.Connection, report: Callable[[], None]) -> Iterator[None]:
    """Call `report` twice a second while the block's queries run; what it raises, such as
    Cancelled, breaks them off and is raised here.

    From another thread, since some queries are one long step: counting a table, or SQLite's own
    check. Those heed nothing but an interrupt.
    """
    ended, stops = threading.Event(), list[BaseException]()

    def watch() -> None:
        while not ended.wait(_WATCH_SECONDS):
            try:
                report()
            except BaseException as stop:
                stops.append(stop)
                break
        while not ended.wait(0.05):
            connection.interrupt()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except sqlite3.OperationalError:
        if not stops:
            raise
    finally:
        ended.set()
        watcher.join()
    if stops:
        raise stops[0]


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn sqlite3's errors about `path` into errors for people."""
    try:
        yield
    except sqlite3.Error as cause:
        code = getattr(cause, "sqlite_errorcode", None) or 0
        raise in_words(path, code, f"{type(cause).__name__}: {cause}") from cause


def in_words(path: Path, code: int, problem: str) -> OpsError:
    """The error for people about what SQLite said of the database in use at `path`; `code` is its
    result code, 0 where there is none."""
    code, detail = code & 0xFF, f"{problem} ({path})"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(
            f"Another program is holding the database {path.name}.",
            "Wait until it has finished, or stop it, then try again.",
            detail,
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Unavailable(
            f"The database file {path.name} is damaged; part of it cannot be read.",
            "Keep the file as it is and restore your newest good backup.",
            detail,
        )
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return OpsError(
            "The disk is full or does not answer; the work was stopped and undone.",
            "Make room on the disk, then try again.",
            detail,
        )
    if code == sqlite3.SQLITE_INTERRUPT:
        return Unavailable(
            f"Reading the database {path.name} took longer than the limit.",
            "Try again when the database is less busy.",
            detail,
        )
    if "decode to UTF-8" in problem:
        return Unavailable(
            f"The database {path.name} has a table or a column whose name is not valid text "
            "(UTF-8), so it cannot be asked for its rows. The data itself is not affected.",
            "Ask whoever makes the app to rename it, then try again.",
            detail,
        )
    return cannot_open(path, detail)


def cannot_open(path: Path, detail: str = "") -> Unavailable:
    """Say why the file cannot be opened, as far as looking at it tells."""
    for is_so, what, todo in _obstacles(path):
        if is_so:
            return Unavailable(what, todo, detail or str(path))
    return Unavailable(
        f"The database file {path.name} cannot be opened.",
        "Look at the details, and whether other programs can open the file.",
        detail or str(path),
    )


def _obstacles(path: Path) -> Iterator[tuple[bool, str, str]]:
    """What may stand in the way, the coarsest first: (whether it does, in words, what to do)."""
    name, folder = path.name, path.parent
    look = "The Settings page shows the address and the setting that it comes from."
    yield (
        not os.path.isdir(folder),
        f"The folder of the database file {name} does not exist.",
        f"Check that its disk is there and the address is right. {look}",
    )
    yield (
        not os.access(folder, os.X_OK),
        f"The console may not look into the folder of the database file {name}.",
        f"Give the console's user the right to enter the folder {folder}.",
    )
    yield (
        not os.path.exists(path),
        f"The database file {name} does not exist.",
        f"Check the address, or restore a backup to make the file anew. {look}",
    )
    yield (
        not os.path.isfile(path),
        f"The address of the database leads to {name}, which is not a file.",
        f"Correct the address. {look}",
    )
    yield (
        not os.access(path, os.R_OK),
        f"The console may not read the database file {name}.",
        f"Give the console's user the right to read and write the file {path}.",
    )
    yield (
        not os.access(path, os.W_OK),
        f"The console may read the database file {name}, but not write it.",
        f"Give the console's user the right to write the file {path}.",
    )
    yield (
        not os.access(folder, os.W_OK),
        f"The console may not write into the folder of the database file {name}. SQLite needs "
        "to: it keeps its notes about changes beside the file.",
        f"Give the console's user the right to write into the folder {folder}.",
    )

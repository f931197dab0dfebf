"""A backup that is read straight from the file of a database in use."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from ops import DataFolder, Target, create_backup
from ops.archive.writer import ArchiveWriter
from ops.backup import Entry
from ops.dialects.sqlite import backup
from ops.dialects.sqlite.stream import bytes_of_file, held_still, reading_command, size_of
from ops.errors import OpsError
from ops.progress import SILENT
from tests.archives import unpacked_into

TABLES = """
CREATE TABLE left_hand (id INTEGER PRIMARY KEY, pad TEXT);
CREATE TABLE right_hand (id INTEGER PRIMARY KEY, pad TEXT);
CREATE INDEX left_pad ON left_hand (pad);
"""
LOCK = """
import sqlite3, sys
sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
"""
PAIR = ("INSERT INTO left_hand (pad) VALUES (?)", "INSERT INTO right_hand (pad) VALUES (?)")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """In WAL mode, with some megabytes."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(TABLES)
        for statement in PAIR:
            connection.executemany(statement, ((f"{n:>600}",) for n in range(8000)))
        connection.commit()
    return path


@contextmanager
def _writers(path: Path, pause: float) -> Iterator[None]:
    """Two programs that commit a row in both tables, overwrite others, and make checkpoints."""
    stop = threading.Event()

    def write(number: int) -> None:
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_autocheckpoint=20")
            while not stop.is_set():
                connection.execute("BEGIN IMMEDIATE")
                for statement in PAIR:
                    connection.execute(statement, (f"{number}{time.monotonic()}" * 20,))
                connection.execute("UPDATE left_hand SET pad = pad || ? WHERE id % 97 = 3", ("x",))
                connection.execute("COMMIT")
                stop.wait(pause)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _is_whole(path: Path) -> dict[str, int]:
    """The rows of both tables in a copy, after SQLite's own full check."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for name in ("left_hand", "right_hand")
        }


def test_the_file_stands_still_while_others_write_and_make_checkpoints(
    database: Path, tmp_path: Path
) -> None:
    met = 0
    with _writers(database, pause=0.02):
        ends = time.monotonic() + 60
        while met < 8 and time.monotonic() < ends:
            with held_still(database) as source:
                if source is None:
                    continue
                met += 1
                time.sleep(0.15)  # for many commits and checkpoints
                with bytes_of_file(database, size_of(source)) as stream:
                    (tmp_path / "copy.db").write_bytes(stream.read())
                seen = {
                    name: source.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                    for name in ("left_hand", "right_hand")
                }
            rows = _is_whole(tmp_path / "copy.db")
            assert rows == seen
            assert rows["left_hand"] == rows["right_hand"]
    assert met == 8


def test_a_backup_needs_no_copy_of_the_database(
    database: Path, folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(*_arguments: object, **_options: object) -> None:
        raise AssertionError("it was copied")

    monkeypatch.setattr(backup, "_copied", copied)
    made = create_backup(Target.parse("shop", f"sqlite:///{database}"), folder)
    counted = {table.name: table.rows for table in made.tables}
    assert _is_whole(unpacked_into(made.archive, tmp_path / "data")) == counted


@contextmanager
def _rollback(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    yield


@contextmanager
def _reader(path: Path) -> Iterator[None]:
    """Somebody looks at an older moment, so that the WAL cannot go into the file."""
    reader, writer = (sqlite3.connect(path, isolation_level=None) for _ in range(2))
    with closing(reader), closing(writer):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM left_hand").fetchone()
        for statement in PAIR:
            writer.execute(statement, ("late",))
        yield


@contextmanager
def _writer(path: Path) -> Iterator[None]:
    """Somebody is in the middle of a long transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        for statement in PAIR:
            writer.execute(statement, ("never saved",))
        yield


@contextmanager
def _unmerged(path: Path) -> Iterator[None]:
    """Somebody keeps SQLite from moving what lies in the WAL into the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute("CREATE TABLE large (pad)")
        writer.execute("INSERT INTO large VALUES (zeroblob(70000000))")
        writer.execute("DROP TABLE large")
        yield


@pytest.mark.parametrize("way", [_rollback, _reader, _writer, _unmerged])
def test_where_the_file_does_not_stand_still_it_is_copied(
    database: Path, folder: DataFolder, tmp_path: Path, way: Callable[..., object]
) -> None:
    with way(database):  # type: ignore[attr-defined]
        with held_still(database) as source:
            assert source is None
        made = create_backup(Target.parse("shop", f"sqlite:///{database}"), folder)
    counted = {table.name: table.rows for table in made.tables}
    rows = _is_whole(unpacked_into(made.archive, tmp_path / "data"))
    assert rows == counted
    assert rows["left_hand"] == rows["right_hand"] == 8000 + (way is _reader)


def test_locks_of_this_process_outlive_the_reading(database: Path) -> None:
    """Closing the file here would drop them, whoever in the process holds them."""
    with _rollback(database):
        pass
    holder = sqlite3.connect(database, isolation_level=None)
    with closing(holder):
        holder.execute("BEGIN IMMEDIATE")
        with bytes_of_file(database, 4096) as stream:
            assert stream.read().startswith(b"SQLite format 3")
        command = [sys.executable, "-c", LOCK, str(database)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "locked" in done.stderr


def test_a_reader_that_is_paused_loses_nothing(database: Path) -> None:
    """A stop in the middle of a write to a full pipe makes it a short one."""
    content, before = database.read_bytes(), set(psutil.Process().children())
    with bytes_of_file(database, len(content)) as stream:
        begun = stream.read(1)
        (reader,) = set(psutil.Process().children()) - before
        for _ in range(3):
            _until_it_waits(reader)
            reader.suspend()
            reader.resume()
            begun += stream.read(1 << 17)
        found = begun + stream.read()
    assert found == content


def _until_it_waits(reader: psutil.Process) -> None:
    """The pipe is full when its writer has not used the processor for a moment."""
    used = None
    while (now := reader.cpu_times()) != used or reader.status() != psutil.STATUS_SLEEPING:
        used = now
        time.sleep(0.05)


_WITHOUT = "import os; del os.sendfile\n"
_ELSEWHERE = """
import os
def sendfile(*_):
    raise TypeError("an integer is required")
os.sendfile = sendfile
"""
"""Other systems than Linux want a number as offset, which is a TypeError."""
_NOW_AND_THEN = """
import os
real, calls = os.sendfile, []
def sendfile(*arguments):
    calls.append(0)
    if len(calls) % 3 == 2:
        raise OSError("not just now")
    return real(*arguments[:3], min(arguments[3], 70_001))
os.sendfile = sendfile
"""


@pytest.mark.parametrize("system", [_WITHOUT, _ELSEWHERE, _NOW_AND_THEN])
def test_where_bytes_cannot_be_handed_on_they_are_copied(database: Path, system: str) -> None:
    content = database.read_bytes()
    *program, code, path, size = reading_command(database, len(content) - 5)
    command = [*program, f"{system}{code}", path, size]
    assert subprocess.run(command, capture_output=True, check=True).stdout == content[:-5]


def test_a_file_that_ends_too_soon_is_told(database: Path) -> None:
    size = database.stat().st_size
    with (
        pytest.raises(OpsError, match="no backup was made"),
        bytes_of_file(database, size + 1) as stream,
    ):
        stream.read()


def test_content_that_ends_too_soon_makes_no_backup(tmp_path: Path) -> None:
    with (
        ArchiveWriter(tmp_path / "made.zip") as writer,
        pytest.raises(OpsError, match="no backup was made"),
    ):
        Entry(writer, "shop.db")(io.BytesIO(b"12"), 3, compressed=False, progress=SILENT)

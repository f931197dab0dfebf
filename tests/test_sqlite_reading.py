"""Reading SQLite files in a process of its own: whose fault it is, and that it heeds a stop."""

from __future__ import annotations

import os
import sqlite3
import struct
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from ops import DataFolder, Progress, Target, create_backup, get_health_report, restore_backup
from ops.beside import restore_beside
from ops.checks.base import Level
from ops.compare import compare_archive
from ops.dialects.sqlite.connect import heeding
from ops.dialects.sqlite.inspect import inspect
from ops.errors import BadArchive, Busy, Cancelled, Unavailable
from ops.installation import Installation
from ops.journal import Step
from ops.undo import delete_undo_point
from tests.archives import assert_nothing_left
from tests.databases import SQLiteDatabase
from tests.trial import Work, recover

ENDLESS = "WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g) SELECT count(*) FROM g"


@pytest.fixture
def file(tmp_path: Path) -> SQLiteDatabase:
    """A filled database in rollback mode."""
    (tmp_path / "database").mkdir()
    database = SQLiteDatabase(tmp_path / "database", "delete")
    database.fill()
    return database


class _AtComparing(Progress):
    """Does something to the live database once the backup has been brought to life."""

    def __init__(self, act: object) -> None:
        self._act = act

    def report(self, done: float, total: float, note: str = "") -> None:
        if note.startswith("Comparing with"):
            assert callable(self._act)
            self._act()


def test_a_busy_database_is_not_blamed_on_the_backup(
    file: SQLiteDatabase, folder: DataFolder
) -> None:
    archive = create_backup(file.target, folder).archive
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        hold = _AtComparing(lambda: other.in_transaction or other.execute("BEGIN EXCLUSIVE"))
        with pytest.raises(Busy, match=r"is holding the database live 100% odd\.db"):
            compare_archive(file.target, archive, folder, progress=hold)


def test_a_damaged_database_is_not_blamed_on_the_backup(
    file: SQLiteDatabase, folder: DataFolder
) -> None:
    archive = create_backup(file.target, folder).archive
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:8192] + bytes(b ^ 0x5A for b in whole[8192:]))
    with pytest.raises(Unavailable, match=r"file live 100% odd\.db is damaged"):
        compare_archive(file.target, archive, folder)
    assert_nothing_left(file, folder)


def test_a_stop_is_heeded_in_the_middle_of_a_query(tmp_path: Path) -> None:
    def stop() -> None:
        raise Cancelled

    began = time.monotonic()
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(Cancelled),
        heeding(connection, stop),
    ):
        connection.execute(ENDLESS).fetchone()
    assert time.monotonic() - began < 3


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file whose checksums take longer than a stop."""
    path = tmp_path / "large.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        series = ENDLESS.replace("count(*)", "i").replace("FROM g)", "FROM g WHERE i < 3000000)")
        connection.execute(f"CREATE TABLE t AS {series}")
    return path


def test_a_process_that_takes_longer_than_it_may_is_ended(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.dialects.sqlite.wary.deadline_seconds", lambda _path: -30)
    began, before = time.monotonic(), set(psutil.Process().children())
    with pytest.raises(BadArchive) as refused:
        inspect("checksums", large)
    assert "not come to an end" in refused.value.detail
    assert time.monotonic() - began < 3
    assert set(psutil.Process().children()) <= before


def test_a_stop_ends_the_process_that_reads(large: Path) -> None:
    def stop() -> None:
        raise Cancelled

    began, before = time.monotonic(), set(psutil.Process().children())
    with pytest.raises(Cancelled):
        inspect("checksums", large, watch=stop)
    assert time.monotonic() - began < 3
    assert set(psutil.Process().children()) <= before


def test_a_killed_comparison_leaves_no_process_and_spares_a_new_database(
    file: SQLiteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OPS_TARGETS__LIVE", file.url)
    home = Installation.open()
    target = home.target("live")
    archive = create_backup(target, home.folder).archive
    file.run("INSERT INTO bulk SELECT a.id + 1000 * b.id, a.pad FROM bulk a CROSS JOIN bulk b")
    work = Work(home, "compare", archive=str(archive))
    assert work.reaches(Step.VERIFIED)
    leader = psutil.Process(work.process.pid)
    while not (readers := leader.children()):
        assert not work.is_over(0.005)
    os.kill(leader.pid, 9)  # it alone: its children have to notice
    work.process.wait()
    assert psutil.wait_procs(readers, 5)[1] == []
    file.path.unlink()
    file.fill(50)  # another program has put something else in its place meanwhile
    replaced = file.fingerprint()
    recover(target)
    assert file.fingerprint() == replaced
    assert_nothing_left(file, home.folder)
    home.store.dispose()


def test_a_column_whose_name_is_not_text_is_backed_up_and_restored(
    folder: DataFolder, tmp_path: Path
) -> None:
    path = tmp_path / "latin.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER, cafe TEXT)")
        connection.execute("INSERT INTO t VALUES (1, 'x')")
        connection.execute("PRAGMA writable_schema=ON")
        name = "CAST(x'636166e9' AS TEXT)"
        sql = f"CAST('CREATE TABLE t (id INTEGER, ' || {name} || ' TEXT)' AS TEXT)"
        connection.execute(f"UPDATE sqlite_schema SET sql = {sql}")
    target = Target.parse("latin", f"sqlite:///{path}")
    archive = create_backup(target, folder, checksums=True).archive
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM t")
    restore_backup(target, archive, folder)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(1,)]
    create_backup(target, folder)
    with pytest.raises(Unavailable, match="a column whose name is not valid text"):
        compare_archive(target, archive, folder)


@pytest.mark.parametrize("mode", [0o640, 0o600])
def test_who_may_read_the_database_may_look_beside(
    file: SQLiteDatabase, folder: DataFolder, mode: int
) -> None:
    file.path.chmod(mode)
    archive = create_backup(file.target, folder).archive
    point = restore_beside(file.target, archive, folder).point
    assert Path(point.location).stat().st_mode & 0o777 == mode
    with closing(sqlite3.connect(point.location)) as used:
        used.execute("PRAGMA journal_mode=WAL")
        used.execute("CREATE TABLE noted (a)")
        Path(point.location + "-journal").touch()
        delete_undo_point(file.target, folder, point.id)
    assert file.neighbours() == set()


def test_health_sees_a_wrong_free_list_behind_a_view(file: SQLiteDatabase) -> None:
    file.start_over()
    file.run("CREATE VIEW a AS SELECT 1; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:32] + struct.pack(">II", 2, 1) + whole[40:])
    found = {f.id: f for f in get_health_report(file.target.engine).findings}
    assert found["sqlite.structure"].level is Level.NOW

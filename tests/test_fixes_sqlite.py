"""Fixes of SQLite: the bad state is made, cured by the job, and the finding is gone."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ops import create_backup, undo_points
from ops.checks.base import Level
from ops.errors import Busy, Cancelled, Refused
from ops.fixes import FIXES, command_of, do_fix, obstacle
from ops.health import get_health_report
from ops.installation import Installation
from ops.jobs import create, execute
from ops.progress import SILENT, Progress
from ops.recovery import unsettled
from tests import processes
from tests.databases import SQLiteDatabase
from tests.health_reports import finding
from tests.test_sqlite_settle import die_after_the_commit

pytestmark = pytest.mark.parametrize("live", ["sqlite-wal"], indirect=True)

MB = 1 << 20


def press(home: Installation, fix: str, *subjects: str, check: str = "") -> Any:
    """The fix as the Health page starts it: as a job."""
    params = {"fix": fix, "subjects": list(subjects), "check": check}
    return execute(home, create(home, "fix", "live", "somebody", params))


def level(live: SQLiteDatabase, check: str) -> Level:
    return finding(get_health_report(live.target.engine), check).level


def test_notes_for_searching(home: Installation, live: SQLiteDatabase) -> None:
    live.run("CREATE TABLE many (id INTEGER PRIMARY KEY, n); CREATE INDEX many_n ON many (n)")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)"
    live.run(f"INSERT INTO many {numbers} SELECT i, i % 7 FROM n")
    assert level(live, "sqlite.planner_notes") is Level.SOON
    before = live.fingerprint(without=("sqlite_stat1",))["table many"]
    done = press(home, "sqlite.optimize", check="sqlite.planner_notes")
    assert done["helped"] is True
    assert done["finding"]["level"] == "good"
    assert done["told"] == ["SQLite has fresh notes about its tables."]
    assert level(live, "sqlite.planner_notes") is Level.GOOD
    assert live.fingerprint()["table many"] == before


def _make_empty_space(live: SQLiteDatabase) -> None:
    live.run("CREATE TABLE fat (x)")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)"
    live.run(f"INSERT INTO fat {numbers} SELECT zeroblob({MB}) FROM n")
    live.run("DROP TABLE fat; PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_killed_restore_is_settled_before_a_fix_rewrites_it(
    home: Installation, live: SQLiteDatabase
) -> None:
    """Afterwards nobody could tell any more whether it was in place."""
    target = home.target("live")
    archive, saved = create_backup(target, home.folder).archive, live.fingerprint()
    live.drift()
    restore = processes.started(die_after_the_commit, live.url, home.folder.root, archive)
    restore.join(60)
    assert restore.exitcode == -signal.SIGKILL
    assert unsettled(target, home.folder)
    press(home, "sqlite.vacuum")
    assert not unsettled(target, home.folder)
    assert len(undo_points(target, home.folder)) == 1
    assert live.fingerprint() == saved


def test_a_search_by_row_numbers_is_not_spoilt(home: Installation, live: SQLiteDatabase) -> None:
    """VACUUM numbers the rows of a table without a key anew, and a search would not know it."""
    live.run("CREATE TABLE words (w)")
    live.run("INSERT INTO words VALUES ('one'), ('two'), ('three')")
    live.run("CREATE VIRTUAL TABLE found USING fts5(w, content=words)")
    live.run("INSERT INTO found (found) VALUES ('rebuild')")
    live.run("INSERT INTO found (found, rowid, w) VALUES ('delete', 1, 'one')")
    live.run("DELETE FROM words WHERE w = 'one'")
    create_backup(home.target("live"), home.folder)
    with pytest.raises(Refused, match="of words, and the search in found"):
        press(home, "sqlite.vacuum")
    with closing(sqlite3.connect(live.path)) as connection:
        search = connection.execute("SELECT w FROM found WHERE found MATCH 'three'")
        assert search.fetchall() == [("three",)]
    live.run("CREATE INDEX words_w ON words (w)")
    press(home, "sqlite.vacuum")
    with closing(sqlite3.connect(live.path)) as connection:
        search = connection.execute("SELECT w FROM found WHERE found MATCH 'three'")
        assert search.fetchall() == [("three",)]


def test_empty_space_goes_after_a_backup(home: Installation, live: SQLiteDatabase) -> None:
    _make_empty_space(live)
    assert level(live, "sqlite.empty_space") is Level.SOON
    with pytest.raises(Refused, match="no backup of the last day") as refused:
        press(home, "sqlite.vacuum", check="sqlite.empty_space")
    assert "Nothing was changed." in str(refused.value)
    assert live.path.stat().st_size > 50 * MB
    create_backup(home.target("live"), home.folder)
    before = live.fingerprint()
    assert press(home, "sqlite.vacuum", check="sqlite.empty_space")["helped"] is True
    assert live.path.stat().st_size < 5 * MB
    assert live.fingerprint() == before
    assert level(live, "sqlite.empty_space") is Level.GOOD


def test_without_room_nothing_is_written_anew(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse file is as large as the disk is full."""
    create_backup(home.target("live"), home.folder)
    huge = live.path.with_name("live 100% odd.db-wal")
    live.run("PRAGMA wal_checkpoint(TRUNCATE)")
    with huge.open("ab") as file:
        file.truncate(1 << 43)
    found = obstacle(home, home.target("live"), FIXES["sqlite.vacuum"], "")
    huge.unlink()
    assert found is not None
    assert "too little room" in found.reason
    assert obstacle(home, home.target("live"), FIXES["sqlite.vacuum"], "") is None


@pytest.fixture
def reader(live: SQLiteDatabase) -> Iterator[sqlite3.Connection]:
    """A program that keeps an old view of the data open."""
    with closing(sqlite3.connect(live.path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        yield connection


def test_recent_changes_are_merged(
    home: Installation, live: SQLiteDatabase, reader: sqlite3.Connection
) -> None:
    side = Path(f"{live.path}-wal")
    live.run(f"CREATE TABLE fat AS SELECT zeroblob({70 * MB}) AS x")
    assert level(live, "sqlite.side_file") is Level.SOON
    held_back = press(home, "sqlite.checkpoint", check="sqlite.side_file")
    assert held_back["helped"] is False
    assert "keeps an old view" in held_back["told"][0]
    reader.execute("COMMIT")
    assert press(home, "sqlite.checkpoint", check="sqlite.side_file")["helped"] is True
    assert side.stat().st_size == 0
    assert level(live, "sqlite.side_file") is Level.GOOD


def test_a_writer_is_waited_for_two_seconds_and_no_longer(
    home: Installation, live: SQLiteDatabase
) -> None:
    with closing(sqlite3.connect(live.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match="Another program is holding"):
            press(home, "sqlite.optimize")


def test_safe_saving_and_an_index_built_anew(home: Installation, live: SQLiteDatabase) -> None:
    live.run("PRAGMA journal_mode=DELETE")
    assert press(home, "sqlite.wal")["told"]
    assert live.rows("PRAGMA journal_mode") == [("wal",)]
    live.run('CREATE TABLE "odd ""one" (a); CREATE INDEX "an ""index" ON "odd ""one" (a)')
    for name in ('an "index', '"an ""index"'):
        command = command_of(home, home.target("live"), FIXES["sqlite.reindex"], name)
        assert command == 'REINDEX "an ""index";'
        press(home, "sqlite.reindex", name)


@pytest.mark.parametrize("name", ["gone", 'x"; DROP TABLE bulk; --', "sqlite_schema", ""])
def test_what_is_not_there_is_refused(home: Installation, live: SQLiteDatabase, name: str) -> None:
    before = live.fingerprint()
    with pytest.raises(Refused):
        press(home, "sqlite.reindex", name)
    assert live.fingerprint() == before


@pytest.mark.parametrize("fix", ["sqlite.drop_everything", "postgresql.vacuum", "redis.bgsave", ""])
def test_what_is_not_in_the_registry_or_of_another_kind_is_refused(
    home: Installation, live: SQLiteDatabase, fix: str
) -> None:
    subjects = ["public.t"] if fix.startswith("postgresql") else []
    with pytest.raises(Refused, match=r"Nothing was changed\."):
        do_fix(home, home.target("live"), fix, subjects, SILENT)


def test_a_search_is_built_anew(home: Installation, live: SQLiteDatabase) -> None:
    live.run(
        "CREATE TABLE texts (id INTEGER PRIMARY KEY, body TEXT); INSERT INTO texts VALUES (1, 'a');"
        "CREATE VIRTUAL TABLE words USING fts5(body, content='texts', content_rowid='id')"
    )
    found = "SELECT count(*) FROM words WHERE words MATCH 'a'"
    assert live.rows(found) == [(0,)]
    press(home, "sqlite.rebuild_search", "words")
    assert live.rows(found) == [(1,)]
    with pytest.raises(Refused):
        press(home, "sqlite.rebuild_search", "texts")


class _Stop(Progress):
    """A person who presses Stop while it runs."""

    reports = 0

    def report(self, done: float, total: float, note: str = "") -> None:
        self.reports += 1
        if self.reports > 1:
            raise Cancelled


def test_a_stopped_fix_changes_nothing(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.run("CREATE TABLE many (n)")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)"
    live.run(f"INSERT INTO many {numbers} SELECT i FROM n")
    live.run("CREATE VIRTUAL TABLE words USING fts5(n, content='many', content_rowid='rowid')")
    before = live.fingerprint()
    monkeypatch.setattr("ops.fixes.sqlite._LOOK_EVERY_SECONDS", 0.01)
    with pytest.raises(Cancelled):
        do_fix(home, home.target("live"), "sqlite.rebuild_search", ["words"], _Stop())
    assert live.fingerprint() == before

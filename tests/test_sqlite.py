"""SQLite: other programs at work on the same file, and files that are not what they should be."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ops import (
    Catalog,
    DataFolder,
    Progress,
    Target,
    create_backup,
    dialect_of,
    preview_restore,
    restore_backup,
    undo_points,
    undo_restore,
)
from ops.dialects.sqlite import restore as restoring
from ops.errors import Busy, Cancelled, Refused, Unavailable
from tests import clients, processes
from tests.archives import assert_nothing_left, unpacked_into
from tests.databases import SQLiteDatabase
from tests.load import mark


@pytest.fixture
def two_writers(file: SQLiteDatabase, tmp_path: Path) -> Iterator[None]:
    """Two other programs that commit to the file all the time."""
    writers = [
        processes.started(clients.write_sqlite, file.path, tmp_path / f"writer {first}", first)
        for first in (0, 1_000_000)
    ]
    while file.rows("SELECT count(*) FROM right_hand")[0][0] < 5:
        time.sleep(0.01)
    yield
    for writer in writers:
        assert writer.is_alive()
        writer.kill()
        writer.join()


@pytest.mark.usefixtures("two_writers")
def test_backups_are_whole_while_two_programs_write(
    file: SQLiteDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    seen = []
    for _ in range(5):
        made = create_backup(file.target, folder)
        counted = {table.name: table.rows for table in made.tables}
        assert counted["left_hand"] == counted["right_hand"]
        copy = unpacked_into(made.archive, tmp_path)
        assert file.tables_in_dump(copy) == counted
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        seen.append(counted["left_hand"])
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]


@pytest.mark.usefixtures("two_writers")
def test_no_commit_is_lost_by_a_restore_under_writers(
    file: SQLiteDatabase, folder: DataFolder
) -> None:
    made = create_backup(file.target, folder)
    saved = {table.name: table.rows for table in made.tables}["left_hand"]
    highest = file.rows("SELECT count(*) FROM left_hand")[0][0]
    assert restore_backup(file.target, made.archive, folder).undo is not None
    assert file.rows("SELECT count(*) FROM left_hand")[0][0] >= saved
    (copy,) = folder.undo("live").glob("*.db")
    kept = file.tables_in_dump(copy)
    assert kept["left_hand"] == kept["right_hand"] >= highest
    assert file.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_reader_sees_the_old_or_the_new_and_nothing_between(
    file: SQLiteDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    mark(file, "saved", 4000)
    archive = create_backup(file.target, folder).archive
    mark(file, "live", 6000)
    log = tmp_path / "log"
    reader = processes.started(clients.read_sqlite, file.path, log)
    while not log.exists() or not log.read_text():
        time.sleep(0.01)
    restore_backup(file.target, archive, folder)
    undo_restore(file.target, folder)
    restore_backup(file.target, archive, folder)
    time.sleep(0.3)
    assert reader.is_alive()
    reader.kill()
    reader.join()
    seen = log.read_text().splitlines()
    assert set(seen[:-1]) == {"live live 6000 0", "saved saved 4000 0"}


def test_a_damaged_file_behind_a_link_is_made_anew_where_it_is(
    file: SQLiteDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    archive, saved = create_backup(file.target, folder).archive, file.fingerprint()
    link = tmp_path / "link.db"
    link.symlink_to(file.path)
    for end in ("", "-wal"):
        file.path.with_name(file.path.name + end).write_bytes(b"not a database " * 4096)
    restore_backup(Target.parse("live", f"sqlite:///{link}"), archive, folder)
    assert link.is_symlink()
    assert file.fingerprint() | {"journal mode": ""} == saved | {"journal mode": ""}


def test_another_page_size_leaves_rows_their_numbers(folder: DataFolder, tmp_path: Path) -> None:
    """A search knows records by them, even where no table declares any."""
    path = tmp_path / "live.db"
    target = Target.parse("live", f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE words (w); INSERT INTO words VALUES ('one'), ('two'), ('three');"
            "CREATE VIRTUAL TABLE found USING fts5(w, content=words);"
            "DELETE FROM words WHERE w = 'one'; INSERT INTO found (found) VALUES ('rebuild')"
        )
    archive = create_backup(target, folder).archive
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA page_size=1024; VACUUM; PRAGMA journal_mode=WAL")
    restore_backup(target, archive, folder)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA page_size").fetchone() == (1024,)
        search = connection.execute("SELECT w FROM found WHERE found MATCH 'three'")
        assert search.fetchall() == [("three",)]


@pytest.mark.parametrize("page_size", [1024, 16384])
def test_an_archive_of_another_page_size(
    file: SQLiteDatabase, folder: DataFolder, page_size: int
) -> None:
    saved = file.fingerprint()
    file.run(f"PRAGMA journal_mode=DELETE; PRAGMA page_size={page_size}; VACUUM")
    archive = create_backup(file.target, folder).archive
    file.fill()
    file.drift()
    drifted = file.fingerprint()
    result = restore_backup(file.target, archive, folder)
    assert any("page size" in note for note in result.notes) == (file.mode == "wal")
    assert file.fingerprint()["integrity_check"] == "ok"
    same = ("schema", "user_version", "application_id", "journal mode")
    assert {k: file.fingerprint()[k] for k in same} == {k: saved[k] for k in same}
    assert file.rows("SELECT count(*) FROM fast") == [(50,)]
    undo_restore(file.target, folder)
    assert file.fingerprint() == drifted


def _paged(path: Path, page_size: int) -> None:
    """A database of some megabytes in rollback mode, with pages of that size."""
    rows = f"SELECT value, randomblob(6000) FROM json_each('{list(range(800))}')"
    table = "CREATE TABLE t (id INTEGER PRIMARY KEY, pad)"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA page_size={page_size}; {table}; INSERT INTO t {rows}")


def _contents(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute("SELECT id, hex(pad) FROM t ORDER BY id").fetchall()


@pytest.mark.parametrize("live_size", [512, 1024, 4096, 65536])
@pytest.mark.parametrize("saved_size", [512, 4096, 65536])
def test_pages_of_any_size_leave_the_former_database_whole(
    folder: DataFolder, tmp_path: Path, live_size: int, saved_size: int
) -> None:
    """What does not fit into SQLite's cache goes into the live file at once, which is copied for
    the undo after the first step. A page that is copied may be many of the live file's."""
    path = tmp_path / "live.db"
    target = Target.parse("live", f"sqlite:///{path}")
    _paged(path, saved_size)
    archive, saved = create_backup(target, folder).archive, _contents(path)
    path.unlink()
    _paged(path, live_size)
    former = _contents(path)
    restore_backup(target, archive, folder)
    assert _contents(path) == saved
    (point,) = undo_points(target, folder)
    assert _contents(Path(point.location)) == former
    undo_restore(target, folder)
    assert _contents(path) == former


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is not a database " * 1000)


def _missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("ruin", [_garbage, _missing])
def test_a_ruined_live_file_is_kept_and_replaced(
    file: SQLiteDatabase, folder: DataFolder, ruin: Callable[[Path], None]
) -> None:
    saved = file.fingerprint()
    archive = create_backup(file.target, folder).archive
    for side in file.path.parent.glob("*-*"):
        side.unlink()
    ruin(file.path)
    ruined = file.path.read_bytes() if file.path.exists() else None
    with pytest.raises(Unavailable):
        create_backup(file.target, folder)
    assert preview_restore(file.target, archive, folder).live_problem
    result = restore_backup(file.target, archive, folder)
    assert result.undo is None
    assert {**file.fingerprint(), "journal mode": saved["journal mode"]} == saved
    kept = [path.read_bytes() for path in folder.undo("live").iterdir()]
    assert kept == ([ruined] if ruined else [])
    assert file.neighbours() == set()


@pytest.mark.parametrize("hold", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_file_that_is_held_for_too_long_is_left_alone(
    file: SQLiteDatabase, folder: DataFolder, monkeypatch: pytest.MonkeyPatch, hold: str
) -> None:
    archive = create_backup(file.target, folder).archive
    file.drift()
    drifted = file.fingerprint()
    monkeypatch.setattr(restoring, "BUSY_DEADLINE_SECONDS", 2)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute(hold)
        with pytest.raises(Busy, match="Nothing was changed"):
            restore_backup(file.target, archive, folder)
    assert file.fingerprint() == drifted
    assert undo_points(file.target, folder) == []
    assert_nothing_left(file, folder)


def test_a_restore_waits_for_a_program_that_is_soon_done(
    file: SQLiteDatabase, folder: DataFolder
) -> None:
    saved = file.fingerprint()
    archive = create_backup(file.target, folder).archive
    file.drift()
    other = sqlite3.connect(file.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE made_meanwhile (id INTEGER)")

    class Waiting(Progress):
        """Lets the other program finish once the restore waits for it."""

        def report(self, done: float, total: float, note: str = "") -> None:
            if note.startswith("Waiting") and other.in_transaction:
                other.execute("COMMIT")

    with closing(other):
        restore_backup(file.target, archive, folder, progress=Waiting())
    assert file.fingerprint() == saved
    undo_restore(file.target, folder)
    assert file.rows("SELECT count(*) FROM made_meanwhile") == [(0,)]


def test_a_table_made_before_the_lock_does_not_mislead_the_settling(
    file: SQLiteDatabase, folder: DataFolder
) -> None:
    archive = create_backup(file.target, folder).archive
    other = sqlite3.connect(file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE made_meanwhile (id INTEGER)")

    class StopsInTheMiddle(Progress):
        """The other program commits while the restore waits; later, a person says stop."""

        def report(self, done: float, total: float, note: str = "") -> None:
            if note.startswith("Waiting") and other.in_transaction:
                other.execute("COMMIT")
            if note.startswith("Putting"):
                raise Cancelled

    with closing(other), pytest.raises(Cancelled, match="Nothing was changed"):
        restore_backup(file.target, archive, folder, progress=StopsInTheMiddle())
    assert file.rows("SELECT count(*) FROM made_meanwhile") == [(0,)]
    assert_nothing_left(file, folder)


def test_a_table_whose_name_is_not_text_is_said_in_words(
    folder: DataFolder, tmp_path: Path
) -> None:
    path = tmp_path / "latin.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE cafe (id INTEGER)")
        connection.execute("PRAGMA writable_schema=ON")
        name = "CAST(x'636166e9' AS TEXT)"
        connection.execute(
            f"UPDATE sqlite_schema SET name = {name}, tbl_name = {name}, "
            f"sql = CAST('CREATE TABLE ' || {name} || ' (id INTEGER)' AS TEXT)"
        )
    target = Target.parse("latin", f"sqlite:///{path}")
    for work in (
        lambda: create_backup(target, folder),
        lambda: dialect_of(target.engine).sizes(target.engine),
    ):
        with pytest.raises(Unavailable, match="name is not valid text"):
            work()
    assert Catalog(folder, "latin").entries() == []


def test_a_folder_that_is_gone_is_said_in_words(folder: DataFolder, tmp_path: Path) -> None:
    gone = SQLiteDatabase(tmp_path / "gone", "wal")
    with pytest.raises(Unavailable, match="does not exist"):
        create_backup(gone.target, folder)
    other = SQLiteDatabase(tmp_path, "wal")
    other.fill()
    archive = create_backup(other.target, folder).archive
    with pytest.raises(Unavailable, match="folder of the database file"):
        restore_backup(gone.target, archive, folder)


def test_a_file_that_makes_others_wait_long_says_so_before(
    file: SQLiteDatabase, folder: DataFolder
) -> None:
    archive = create_backup(file.target, folder).archive
    told = [notice.message for notice in preview_restore(file.target, archive, folder).notices]
    assert not any("have to wait" in message for message in told)
    file.run("INSERT INTO bulk VALUES (100000, zeroblob(400 << 20))")
    told = [notice.message for notice in preview_restore(file.target, archive, folder).notices]
    assert any("have to wait for up to 5 seconds" in message for message in told)


def test_an_undo_whose_file_is_gone_changes_nothing(
    file: SQLiteDatabase, folder: DataFolder
) -> None:
    archive = create_backup(file.target, folder).archive
    file.drift()
    undo = restore_backup(file.target, archive, folder).undo
    assert undo is not None
    before = file.fingerprint()
    Path(undo.location).unlink()
    with pytest.raises(Refused, match="is gone"):
        undo_restore(file.target, folder)
    assert file.fingerprint() == before

"""What every kind of database offers before a restore: comparing, and looking at it beside."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from ops import DataFolder, Progress, create_backup, preview_restore, undo_points
from ops.beside import databases_beside, restore_beside
from ops.compare import TableDifference, compare_archive, count_differences
from ops.errors import Cancelled, NotConfirmed, PreflightRefused
from ops.undo import delete_undo_point
from tests.archives import assert_nothing_left
from tests.databases import PASSWORD, LiveDatabase, SQLiteDatabase, with_staging, without_staging


class StopsAt(Progress):
    """Asks to stop at the first note that begins so."""

    def __init__(self, note: str) -> None:
        self._note = note

    def report(self, done: float, total: float, note: str = "") -> None:
        if note.startswith(self._note):
            raise Cancelled


def _by_name(live: LiveDatabase, found: tuple[TableDifference, ...]) -> dict[str, TableDifference]:
    prefix = live.table("")
    return {table.name.removeprefix(prefix): table for table in found if not table.is_none}


@with_staging
def test_a_comparison_counts_every_row_that_differs(live: LiveDatabase, folder: DataFolder) -> None:
    archive = create_backup(live.target, folder).archive
    assert _by_name(live, compare_archive(live.target, archive, folder).tables) == {}
    live.run("UPDATE customer SET name = 'x' WHERE id <= 7")
    live.run("DELETE FROM orders WHERE id <= 20")
    live.run("INSERT INTO orders (customer_id, note) VALUES (1, 'new'), (2, 'newer')")
    live.run("INSERT INTO left_hand VALUES (1), (1), (2)")
    live.run("CREATE TABLE added (id INTEGER PRIMARY KEY); INSERT INTO added VALUES (1), (2)")
    live.run("DROP TABLE nothing_here")
    live.run("ALTER TABLE tree ADD COLUMN colour TEXT DEFAULT 'green'")
    before = live.fingerprint()
    found = _by_name(live, compare_archive(live.target, archive, folder).tables)
    told = {name: (t.lost, t.back, t.changed) for name, t in found.items()}
    assert told == {
        "customer": (0, 0, 7),
        "orders": (2, 20, 0),
        "left_hand": (3, 0, 0),
        "added": (2, 0, 0),
        "nothing_here": (0, 0, 0),
        "tree": (0, 0, 0),
    }
    assert not found["added"].exists_after
    assert not found["nothing_here"].exists_now
    assert found["tree"].columns_lost == ("colour",)
    assert live.fingerprint() == before
    assert_nothing_left(live, folder)


@with_staging
def test_a_cancelled_comparison_leaves_no_trace(live: LiveDatabase, folder: DataFolder) -> None:
    archive = create_backup(live.target, folder).archive
    with pytest.raises(Cancelled):
        compare_archive(live.target, archive, folder, progress=StopsAt("Comparing every row"))
    assert_nothing_left(live, folder)


@with_staging
def test_a_backup_can_be_looked_at_beside(live: LiveDatabase, folder: DataFolder) -> None:
    archive = create_backup(live.target, folder).archive
    live.run("DELETE FROM orders")
    before = live.fingerprint()
    made = restore_beside(live.target, archive, folder)
    assert PASSWORD not in made.address
    assert _orders_at(live, made.point.location) == 200
    assert [address for _, address in databases_beside(live.target, folder)] == [made.address]
    assert undo_points(live.target, folder) == []
    assert live.fingerprint() == before
    assert_nothing_left(live, folder)
    delete_undo_point(live.target, folder, made.point.id)
    assert databases_beside(live.target, folder) == []
    assert live.neighbours() == set()


def _orders_at(live: LiveDatabase, location: str) -> int:
    query = "SELECT count(*) FROM orders"
    if Path(location).is_absolute():
        with closing(sqlite3.connect(location)) as file:
            return int(file.execute(query).fetchone()[0])
    url = live.target.url
    login = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
    with closing(psycopg2.connect(dbname=location, **login)) as server, server.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


@with_staging
def test_looking_needs_the_same_yes(live: LiveDatabase, folder: DataFolder, tmp_path: Path) -> None:
    archive = create_backup(live.target, DataFolder(tmp_path / "elsewhere")).archive
    with pytest.raises(NotConfirmed):
        restore_beside(live.target, archive, folder)
    with pytest.raises(NotConfirmed):
        compare_archive(live.target, archive, folder)
    assert_nothing_left(live, folder)


@without_staging
def test_where_nothing_can_be_staged_it_says_so(live: LiveDatabase, folder: DataFolder) -> None:
    archive = create_backup(live.target, folder).archive
    assert not preview_restore(live.target, archive, folder).stages_beside
    before = live.fingerprint()
    for look in (compare_archive, restore_beside):
        with pytest.raises(PreflightRefused, match="may not create databases"):
            look(live.target, archive, folder)
    assert live.fingerprint() == before
    assert_nothing_left(live, folder)


def test_rows_are_paired_by_their_key() -> None:
    now = [(1, 10), (2, 20), (3, 30), (3, 30), (5, 50)]
    after = [(1, 10), (2, 21), (3, 30), (4, 40), (6, 60)]
    assert count_differences(now, after) == (2, 2, 1)
    assert count_differences([], []) == (0, 0, 0)


def test_a_preview_names_tables_and_columns_that_differ(
    live: LiveDatabase, folder: DataFolder
) -> None:
    archive = create_backup(live.target, folder).archive
    live.drift()
    preview = preview_restore(live.target, archive, folder)
    assert preview.stages_beside == live.takes_foreign
    changes = {change.name.removeprefix(live.table("")): change for change in preview.changes}
    assert (changes["orders"].now, changes["orders"].after) == (135, 200)
    assert not changes["added"].exists_after
    grown = changes["tree" if live.backend == "sqlite" else "bulk"]
    assert (grown.columns_lost, grown.columns_back) == (("colour",), ())
    assert changes["customer"].columns_lost == changes["customer"].columns_back == ()


def test_a_text_is_not_the_blob_of_its_bytes(folder: DataFolder, tmp_path: Path) -> None:
    (tmp_path / "database").mkdir()
    file = SQLiteDatabase(tmp_path / "database", "wal")
    file.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'x')")
    archive = create_backup(file.target, folder).archive
    file.run("UPDATE t SET v = x'78'")
    (table,) = compare_archive(file.target, archive, folder).tables
    assert (table.lost, table.back, table.changed) == (0, 0, 1)

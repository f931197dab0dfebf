"""SQLite files from outside: they may hold anything, and must not hold up the console."""

from __future__ import annotations

import json
import sqlite3
import struct
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ops import DataFolder, create_backup, restore_backup
from ops.errors import BadArchive, NotConfirmed
from tests.archives import assert_nothing_left, described, packed
from tests.databases import SQLiteDatabase


@pytest.fixture
def file(tmp_path: Path) -> SQLiteDatabase:
    """A filled database, to be spoilt in a copy."""
    (tmp_path / "database").mkdir()
    database = SQLiteDatabase(tmp_path / "database", "wal")
    database.fill()
    return database


def _not_a_database(_path: Path) -> bytes:
    return b"SQLite format 3\0" + b"hello" * 1000


def _no_magic(_path: Path) -> bytes:
    return b"hello" * 1000


def _empty(_path: Path) -> bytes:
    return b""


def _broken_pages(path: Path) -> bytes:
    whole = path.read_bytes()
    return whole[:8192] + bytes(byte ^ 0x5A for byte in whole[8192:40960]) + whole[40960:]


def _cut(path: Path) -> bytes:
    return path.read_bytes()[:20_000]


def _broken_schema(path: Path) -> bytes:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_schema SET sql = 'CREATE TABLE (' WHERE name = 'bulk'")
    return path.read_bytes()


def _wrong_free_list(path: Path) -> bytes:
    """It claims that a page of a table is free (file format 1.3: bytes 32 to 40)."""
    whole = path.read_bytes()
    return whole[:32] + struct.pack(">II", 2, 1) + whole[40:]


def _foreign(content: bytes, tmp_path: Path, **values: object) -> Path:
    manifest = json.dumps(described("x.db", content, **values)).encode()
    return packed(tmp_path / "foreign.zip", {"x.db": content, "manifest.json": manifest})


def _content(file: SQLiteDatabase) -> Path:
    """A copy of the database in one file, without a journal."""
    copy = file.path.with_name("content of a backup")
    file.run(f"VACUUM INTO '{copy}'")
    return copy


@pytest.mark.parametrize(
    "spoil",
    [_not_a_database, _no_magic, _empty, _broken_pages, _cut, _broken_schema, _wrong_free_list],
)
def test_a_hostile_database_is_refused(
    file: SQLiteDatabase, folder: DataFolder, tmp_path: Path, spoil: Callable[[Path], bytes]
) -> None:
    archive = _foreign(spoil(_content(file)), tmp_path)
    before = file.fingerprint()
    with pytest.raises(NotConfirmed):
        restore_backup(file.target, archive, folder)
    with pytest.raises(BadArchive, match="damaged or not a SQLite database"):
        restore_backup(file.target, archive, folder, trust_foreign=True)
    assert file.fingerprint() == before
    assert_nothing_left(file, folder)


def test_an_endless_view_holds_nothing_up(
    file: SQLiteDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    copy = _content(file)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        endless = "WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g) SELECT i FROM g"
        connection.execute(f"CREATE VIEW endless AS {endless}")
        connection.execute("CREATE VIEW broken AS SELECT * FROM no_such_table")
    rows = [{"name": name, "rows": n} for name, n in file.tables_in_dump(copy).items()]
    archive = _foreign(copy.read_bytes(), tmp_path, tables=rows)
    began = time.monotonic()
    restore_backup(file.target, archive, folder, trust_foreign=True)
    create_backup(file.target, folder)
    assert time.monotonic() - began < 20
    assert file.rows("SELECT i FROM endless LIMIT 1") == [(1,)]


def test_a_rule_that_never_ends_does_not_hold_the_database(
    file: SQLiteDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    source = tmp_path / "rule.db"
    endless = "printf('%.*c', 40000000, 'a') NOT LIKE '%' || printf('%.*c', 40000, 'a') || 'b'"
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute(f"CREATE TABLE t (x, CHECK ({endless}))")
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute("INSERT INTO t VALUES (1)")
    tables = [{"name": "t", "rows": 1}]
    archive = _foreign(source.read_bytes(), tmp_path, tables=tables)
    started = time.monotonic()
    result = restore_backup(file.target, archive, folder, trust_foreign=True)
    assert time.monotonic() - started < 10
    assert result.undo is not None
    assert file.rows("SELECT x FROM t") == [(1,)]

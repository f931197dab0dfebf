"""Content checksums: equal wherever the content is equal, and for each kind's own oddities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import DataFolder, create_backup, prove_archive, restore_backup
from ops.archive.manifest import TableRows
from tests.databases import PostgreSQLDatabase, SQLiteDatabase
from tests.services.postgres import RealPostgres

POSTGRESQL_ODD = """
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS varchar(5);
CREATE TABLE odd (
  id int PRIMARY KEY, f4 real, f8 float8, n numeric, day date, moment timestamptz, plain timestamp,
  span interval, raw bytea, doc json, docb jsonb, words tsvector, mark xml, price money,
  many int[], several text[], reach int4range, spot point, host inet, code uuid, bits varbit,
  both_of pair, few short, thing regclass, gone text,
  twice int GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE odd DROP COLUMN gone;
INSERT INTO odd (id, f4, f8, n, day, moment, plain, span, raw, doc, docb, words, price, many,
                 several, reach, spot, host, code, bits, both_of, few, thing) VALUES
 (1, 0.1, 1e-300, 1.50, '2024-02-29', '2024-07-01 12:00+05:30', '0044-03-15 BC',
  '1 mon -2 days 3.5s', '\\x00ff', '{"b": 1,  "a": 1e400}', '{"b": 1, "a": [null]}', 'a:1 fat:2,3',
  '12.34',
  '{{1,2},{3,NULL}}', '{"a,b","c\\"d"}', '[1,10)', '(0.1,-0)', '10.0.0.0/8',
  'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', B'101', '(1,"x y")', 'abc', 'odd'),
 (2, 'NaN', '-Infinity', 'NaN', 'infinity', '-infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  '{}', NULL, 'empty', NULL, '::1', NULL, B'', NULL, NULL, NULL);
CREATE TABLE parent (a int);
CREATE TABLE child (mine text) INHERITS (parent);
ALTER TABLE parent ADD COLUMN late text;
INSERT INTO child VALUES (1, 'mine', 'late'), (2, 'again', NULL);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
"""


def _sums(tables: tuple[TableRows, ...]) -> dict[str, str | None]:
    return {table.name: table.checksum for table in tables}


@pytest.fixture
def older(pg16: RealPostgres) -> Iterator[PostgreSQLDatabase]:
    """A database with values of many types on PostgreSQL 16."""
    database = PostgreSQLDatabase(pg16)
    database.run(POSTGRESQL_ODD)
    yield database
    database.close()


@pytest.fixture
def newer(pg18: RealPostgres) -> Iterator[PostgreSQLDatabase]:
    """An empty database on PostgreSQL 18 whose settings change how values read."""
    database = PostgreSQLDatabase(pg18)
    for name, value in {
        "TimeZone": "Asia/Kolkata",
        "DateStyle": "German, DMY",
        "IntervalStyle": "sql_standard",
        "extra_float_digits": "-5",
        "bytea_output": "escape",
        "quote_all_identifiers": "on",
    }.items():
        database.run(f"ALTER DATABASE \"{database.name}\" SET {name} = '{value}'")
    yield database
    database.close()


def test_checksums_of_every_type_are_equal_on_16_and_18(
    older: PostgreSQLDatabase, newer: PostgreSQLDatabase, folder: DataFolder
) -> None:
    made = create_backup(older.target, folder, checksums=True)
    result = prove_archive(newer.target, made.archive, folder)
    assert result.ok, result.detail
    assert result.compared
    assert all(table.content is True for table in result.compared)
    restore_backup(newer.target, made.archive, folder)
    again = create_backup(newer.target, folder, checksums=True)
    assert _sums(again.tables) == _sums(made.tables)


def test_the_order_of_rows_does_not_matter_and_each_value_does(
    older: PostgreSQLDatabase, folder: DataFolder
) -> None:
    before = create_backup(older.target, folder, checksums=True).tables
    older.run("CREATE TABLE again AS SELECT * FROM odd ORDER BY id DESC; DELETE FROM odd")
    columns = "SELECT string_agg(attname, ', ') FROM pg_attribute WHERE attrelid = 'odd'::regclass"
    ((names,),) = older.rows(f"{columns} AND attnum > 0 AND attgenerated = '' AND NOT attisdropped")
    older.run(f"INSERT INTO odd ({names}) SELECT {names} FROM again; DROP TABLE again")
    assert create_backup(older.target, folder, checksums=True).tables == before
    for change in ("n = 1.5 WHERE id = 1", "docb = '1' WHERE id = 2", "f8 = 0 WHERE id = 1"):
        older.run(f"UPDATE odd SET {change}")
        after = create_backup(older.target, folder, checksums=True).tables
        assert after != before
        assert [table.rows for table in after] == [table.rows for table in before]
        before = after


def test_content_in_another_encoding_is_not_called_different(
    pg16: RealPostgres, folder: DataFolder
) -> None:
    latin = PostgreSQLDatabase(pg16, options="ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    unicode = PostgreSQLDatabase(pg16)
    latin.run("SET client_encoding = 'UTF8'; CREATE TABLE a (t text); INSERT INTO a VALUES ('ü')")
    made = create_backup(latin.target, folder, checksums=True)
    result = prove_archive(unicode.target, made.archive, folder)
    assert result.ok
    assert [table.content for table in result.compared or ()] == [None]
    latin.close()
    unicode.close()


SQLITE_ODD = """
CREATE TABLE plain (a, b);
INSERT INTO plain VALUES (1, 'one'), (1.0, x'6f6e65'), (NULL, ''), (9007199254740993, 1e308 * 10);
INSERT INTO plain VALUES (CAST(x'ff00' AS TEXT), x'ff00'), ('ü', 0.1), (-0.0, char(0));
CREATE INDEX covering ON plain (b, a);
CREATE TABLE computed (a INTEGER PRIMARY KEY, twice AS (a * 2), thrice AS (a * 3) STORED);
INSERT INTO computed VALUES (1), (2);
CREATE TABLE keyed (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
INSERT INTO keyed VALUES ('b', 1), ('a', 2);
CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
  SELECT * FROM n;
"""


@pytest.fixture(params=["wal", "delete"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> SQLiteDatabase:
    """A SQLite database whose values and tables are odd."""
    (tmp_path / "database").mkdir()
    database = SQLiteDatabase(tmp_path / "database", request.param)
    database.start_over()
    database.run(SQLITE_ODD)
    return database


def test_odd_values_go_round(file: SQLiteDatabase, folder: DataFolder) -> None:
    made = create_backup(file.target, folder, checksums=True)
    assert {table.name for table in made.tables} == {"plain", "computed", "keyed"}
    assert prove_archive(file.target, made.archive, folder).ok


def test_row_numbers_that_no_column_declares_are_no_content(
    file: SQLiteDatabase, folder: DataFolder
) -> None:
    file.run("DELETE FROM plain WHERE rowid = 2")
    made = create_backup(file.target, folder, checksums=True)
    file.run("PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM")
    file.run(f"PRAGMA journal_mode={file.mode}")
    assert create_backup(file.target, folder, checksums=True).tables == made.tables
    result = restore_backup(file.target, made.archive, folder)
    assert _sums(result.tables) == _sums(made.tables)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE plain SET b = x'6f6e65' WHERE b = 'one'",  # a blob in place of a text
        "UPDATE plain SET a = 1.0 WHERE rowid = 1",  # a real number in place of a whole one
        "UPDATE plain SET b = '' WHERE b = char(0)",
        "UPDATE plain SET a = a - 1 WHERE a = 9007199254740993",
    ],
)
def test_each_value_and_its_type_matter(
    file: SQLiteDatabase, folder: DataFolder, change: str
) -> None:
    before = create_backup(file.target, folder, checksums=True).tables
    file.run(change)
    after = create_backup(file.target, folder, checksums=True).tables
    assert [t.name for t, u in zip(before, after, strict=True) if t != u] == ["plain"]
    assert [t.rows for t in before] == [t.rows for t in after]

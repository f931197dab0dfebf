"""How a PostgreSQL database is built: each weakness is made, seen, cured, and gone."""

from __future__ import annotations

import secrets

import pytest

from ops.checks.base import Level
from tests.health_postgresql import look, wait_until
from tests.services.postgres import RealPostgres


@pytest.fixture(scope="session")
def pg(pg16: RealPostgres) -> RealPostgres:
    """It is alike in all versions."""
    return pg16


def _orders(pg: RealPostgres, db: str, rows: int, analyze: bool = True) -> None:
    pg.query(
        "CREATE TABLE customers (id serial PRIMARY KEY);"
        "CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, pad text)"
        " WITH (autovacuum_enabled = off);"
        f"INSERT INTO orders (pad) SELECT repeat('x', 200) FROM generate_series(1, {rows})",
        db=db,
    )
    if analyze:
        pg.query("ANALYZE orders", db=db)


def test_notes_that_are_out_of_date(pg: RealPostgres, db: str) -> None:
    _orders(pg, db, 10_500, analyze=False)
    wait_until(lambda: look(pg.url(db), "statistics").level is Level.SOON)
    found = look(pg.url(db), "statistics")
    assert "notes about public.orders are out of date" in found.sentence
    assert (found.remedy, found.subjects) == (("postgresql.analyze",), ("public.orders",))
    pg.query(found.fix.split("Run: ")[1].split(";")[0], db=db)
    wait_until(lambda: look(pg.url(db), "statistics").level is Level.GOOD)
    pg.query("UPDATE orders SET pad = '' WHERE id < 3000", db=db)
    wait_until(lambda: look(pg.url(db), "statistics").level is Level.SOON)


def test_room_that_is_not_given_back(pg: RealPostgres, db: str) -> None:
    _orders(pg, db, 10_000)
    assert look(pg.url(db), "bloat", quiet_below=500_000).level is Level.GOOD
    pg.query("DELETE FROM orders WHERE id % 5 > 0", db=db)
    pg.query("VACUUM ANALYZE orders", db=db)
    found = look(pg.url(db), "bloat", quiet_below=500_000)
    assert found.level is Level.SOON
    assert found.value == pytest.approx(80, abs=5)
    assert "of table public.orders is empty room, by an estimate" in found.sentence
    pg.query("VACUUM FULL orders", db=db)
    assert look(pg.url(db), "bloat", quiet_below=500_000).level is Level.GOOD
    assert look(pg.url(db), "bloat").level is Level.GOOD


@pytest.mark.parametrize("which", ["watch", "ALL"])
def test_rules_that_are_switched_off(pg: RealPostgres, db: str, which: str) -> None:
    _orders(pg, db, 1)
    pg.query(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER watch BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()",
        db=db,
    )
    assert look(pg.url(db), "trigger_off").level is Level.GOOD
    pg.query(f"ALTER TABLE orders DISABLE TRIGGER {which}", db=db)
    found = look(pg.url(db), "trigger_off")
    assert found.level is Level.SOON
    assert "switched off (table public.orders)" in found.sentence
    pg.query(found.fix.split("with: ")[1], db=db)
    assert look(pg.url(db), "trigger_off").level is Level.GOOD


def test_tables_that_a_crash_empties(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE UNLOGGED TABLE visits (id int)", db=db)
    found = look(pg.url(db), "unlogged")
    assert found.level is Level.SOON
    assert "public.visits is kept in a way that a crash of the server empties" in found.sentence
    pg.query(found.fix.split("matters: ")[1], db=db)
    assert look(pg.url(db), "unlogged").level is Level.GOOD


def test_links_without_an_index(pg: RealPostgres, db: str) -> None:
    _orders(pg, db, 10_000)
    found = look(pg.url(db), "links_without_index")
    assert found.level is Level.INFO
    assert found.sentence == "Deleting from public.customers has to read all of public.orders."
    pg.query(found.fix.split("with: ")[1], db=db)
    assert look(pg.url(db), "links_without_index").level is Level.GOOD


def test_indexes_that_do_the_same_work(pg: RealPostgres, db: str) -> None:
    _orders(pg, db, 1)
    pg.query(
        "CREATE INDEX by_pad ON orders (pad); CREATE INDEX down ON orders (pad DESC);"
        "CREATE INDEX a_few ON orders (pad) WHERE id > 5; CREATE INDEX low ON orders (lower(pad));"
        "CREATE INDEX again ON orders (id)",
        db=db,
    )
    found = look(pg.url(db), "duplicate_indexes")
    assert found.level is Level.INFO
    assert found.sentence == "public.again does the same work as another index of public.orders."
    assert (found.remedy, found.subjects) == (("postgresql.drop_index",), ("public.again",))
    pg.query(found.fix.split("with: ")[1], db=db)
    assert look(pg.url(db), "duplicate_indexes").level is Level.GOOD


def test_indexes_that_nobody_uses(pg: RealPostgres, db: str) -> None:
    _orders(pg, db, 10_000)
    pg.query("CREATE INDEX by_pad ON orders (pad, id)", db=db)
    young = {"quiet_below": 10_000, "warning": 35}
    assert look(pg.url(db), "unused_indexes", **young).level is Level.GOOD
    old = {"quiet_below": 10_000, "warning": 0}
    found = look(pg.url(db), "unused_indexes", **old)
    assert found.level is Level.INFO
    assert found.subjects == ("public.by_pad",)
    pg.query(
        "SET enable_seqscan = off; SET enable_bitmapscan = off;"
        "SELECT count(*) FROM orders WHERE pad = 'y'",
        db=db,
    )
    wait_until(lambda: look(pg.url(db), "unused_indexes", **old).level is Level.GOOD)


def test_tables_that_are_read_whole(pg: RealPostgres, db: str) -> None:
    _orders(pg, db, 10_000)
    assert look(pg.url(db), "whole_reads").level is Level.GOOD
    pg.query(
        "DO $$ BEGIN FOR i IN 1..110 LOOP PERFORM 1 FROM orders WHERE pad = 'y' LIMIT 1;"
        " END LOOP; END $$",
        db=db,
    )
    wait_until(lambda: look(pg.url(db), "whole_reads").level is Level.INFO)
    assert "public.orders: often read from beginning" in look(pg.url(db), "whole_reads").sentence
    pg.query("SELECT pg_stat_reset()", db=db)
    wait_until(lambda: look(pg.url(db), "whole_reads").level is Level.GOOD)


def test_tables_without_a_key(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE TABLE remarks (text text)", db=db)
    found = look(pg.url(db), "without_key")
    assert found.level is Level.INFO
    assert "public.remarks has no key of its own" in found.sentence
    pg.query("ALTER TABLE remarks ADD PRIMARY KEY (text)", db=db)
    assert look(pg.url(db), "without_key").level is Level.GOOD


def test_a_rule_that_was_never_proven(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE TABLE bills (amount int)", db=db)
    pg.query("ALTER TABLE bills ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID", db=db)
    found = look(pg.url(db), "not_validated")
    assert found.level is Level.INFO
    assert "first positive of public.bills" in found.sentence
    pg.query(found.fix.split("with: ")[1], db=db)
    assert look(pg.url(db), "not_validated").level is Level.GOOD


def test_an_addition_that_is_behind(pg: RealPostgres, db: str) -> None:
    assert look(pg.url(db), "extension_behind").level is Level.GOOD
    pg.query("UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'plpgsql'", db=db)
    found = look(pg.url(db), "extension_behind")
    assert found.level is Level.INFO
    assert "plpgsql is older inside the database than on the server" in found.sentence
    assert (found.remedy, found.subjects) == (("postgresql.update_extension",), ("plpgsql",))
    pg.query("UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'plpgsql'", db=db)
    assert look(pg.url(db), "extension_behind").level is Level.GOOD


def test_rules_of_sorting_that_have_changed(pg18: RealPostgres) -> None:
    """Only from 17 on is there a rule that has a version on every machine."""
    name = f"test_{secrets.token_hex(6)}"
    pg18.query(f"CREATE DATABASE {name}")
    try:
        pg18.query("CREATE TABLE t (a text COLLATE pg_c_utf8)", db=name)
        assert look(pg18.url(name), "sorting").level is Level.GOOD
        change = "UPDATE pg_collation SET collversion = %s WHERE collname = 'pg_c_utf8'"
        pg18.query(change, "0", db=name)
        found = look(pg18.url(name), "sorting")
        assert found.level is Level.SOON
        assert "changed its rules of sorting" in found.sentence
        assert found.subjects == ("pg_c_utf8",)
        pg18.query(change, "1", db=name)
        assert look(pg18.url(name), "sorting").level is Level.GOOD
    finally:
        pg18.query(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_rules_of_sorting_are_asked_from_15_on() -> None:
    from ops.checks.postgresql import CHECKS

    sorting = next(check for check in CHECKS if check.id == "postgresql.sorting")
    assert [sorting.versions.hold_for(v) for v in ("14.9", "15.1 (Debian)", "18")] == [
        False,
        True,
        True,
    ]

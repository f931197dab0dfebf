"""The health of PostgreSQL databases: each bad state is made, seen, repaired, and gone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta

import psycopg2
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from ops.checks.base import CannotCheck, Level, Status
from ops.checks.postgresql import CHECKS, open_context
from tests.health_postgresql import (
    as_role,
    configure,
    in_background,
    look,
    report_on,
    session,
    wait_until,
)
from tests.health_reports import alarms, assert_has_the_shape, finding
from tests.services.ports import free_port
from tests.services.postgres import RealPostgres

PG_MONITOR = (
    *("idle_in_transaction", "long_transaction", "long_query", "blocked"),
    *("disk", "change_logs", "standby"),
)
"""What is hidden from a role without pg_monitor."""
ADMINISTRATOR = ("open_door", "config_mistakes")
"""What needs a grant of its own."""
LEFT_OUT = "2 things were not looked at."
"""The servers of the tests have neither amcheck nor pg_stat_statements."""


@pytest.fixture(scope="session")
def pg(pg16: RealPostgres) -> RealPostgres:
    """Most of it is alike in all versions; what is not is asked of 18 as well."""
    return pg16


@pytest.fixture(autouse=True, scope="module")
def safe_settings(pg16: RealPostgres, pg18: RealPostgres) -> Iterator[None]:
    """The servers of the tests run without fsync, which is a finding of its own."""
    for cluster in (pg16, pg18):
        for name in ("fsync", "full_page_writes"):
            configure(cluster, f"{name} = on")
    yield
    for cluster in (pg16, pg18):
        for name in ("fsync", "full_page_writes"):
            cluster.query(f"ALTER SYSTEM SET {name} = off")
        cluster.query("SELECT pg_reload_conf()")


def test_an_empty_database_raises_no_alarm(pg_database: str) -> None:
    report = report_on(pg_database)
    assert_has_the_shape(report, "postgresql")
    assert alarms(report) == []
    assert report.status is Status.HEALTHY
    assert report.headline == f"Everything we looked at is fine, but {LEFT_OUT}"
    assert len(report.findings) == len(CHECKS)


def test_a_newer_server_is_asked_the_same(pg18: RealPostgres) -> None:
    report = report_on(pg18.url())
    assert_has_the_shape(report, "postgresql")
    assert alarms(report) == []
    assert len(report.findings) == len(CHECKS)


def test_an_unreachable_server_is_a_report() -> None:
    url = f"postgresql+psycopg2://ann:top-secret@127.0.0.1:{free_port()}/shop"
    report = report_on(url)
    assert_has_the_shape(report, "postgresql")
    assert report.status is Status.UNHEALTHY
    assert [one.id for one in report.findings] == ["postgresql.answers"]
    assert "does not answer" in report.headline
    assert report.findings[0].fix
    assert "top-secret" not in str(report.as_dict())


def test_a_wrong_password_is_a_report(pg: RealPostgres) -> None:
    report = report_on(pg.url(password="not-the-password"))
    assert report.status is Status.UNHEALTHY
    assert "password" in report.findings[0].technical
    assert "not-the-password" not in str(report.as_dict())


def test_looking_leaves_no_session_and_changes_nothing(pg: RealPostgres, db: str) -> None:
    report_on(pg.url(db))
    mine = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ops-console'"
    wait_until(lambda: pg.query(mine) == [(0,)])
    engine = create_engine(pg.url(db), poolclass=NullPool)
    with open_context(engine) as context, pytest.raises(CannotCheck) as refused:
        context.ask("CREATE TABLE t (a int)")
    assert "read-only" in refused.value.detail


def test_a_question_that_fails_spoils_no_other(pg_database: str) -> None:
    with open_context(create_engine(pg_database, poolclass=NullPool)) as context:
        for query in ("SELECT 1/0", "SELECT pg_sleep(9)", "nonsense"):
            with pytest.raises(CannotCheck):
                context.ask(query)
        assert context.ask("SELECT 1 AS one") == [{"one": 1}]


def test_a_question_that_takes_too_long_is_unknown(pg_database: str) -> None:
    slow = replace(CHECKS[0], measure=lambda context, check: context.ask("SELECT pg_sleep(9)"))
    with open_context(create_engine(pg_database, poolclass=NullPool)) as context:
        answered = slow.answer(context)
    assert answered.level is Level.UNKNOWN
    assert "Could not check: it took longer than 2 seconds" in answered.sentence


def test_without_rights_nothing_is_called_good(pg: RealPostgres, db: str, plain_role: str) -> None:
    report = report_on(as_role(pg, db, plain_role))
    assert_has_the_shape(report, "postgresql")
    assert report.status is Status.UNKNOWN
    unknown = {one.id.split(".")[1] for one in report.findings if one.level is Level.UNKNOWN}
    assert unknown == {*PG_MONITOR, *ADMINISTRATOR}
    assert f"{len(unknown)} things could not be checked" in report.headline
    for id in PG_MONITOR:
        found = finding(report, f"postgresql.{id}")
        assert "Could not check" in found.sentence
        assert f"GRANT pg_monitor TO {plain_role};" in found.fix
    pg.query(f"GRANT pg_monitor TO {plain_role}")
    report = report_on(as_role(pg, db, plain_role))
    for id in ADMINISTRATOR:
        found = finding(report, f"postgresql.{id}")
        assert found.level is Level.UNKNOWN
        pg.query(found.fix.split("database: ")[1], db=db)
    report = report_on(as_role(pg, db, plain_role))
    assert alarms(report) == []
    assert report.status is Status.HEALTHY


def test_a_refused_question_names_the_grant(pg: RealPostgres, db: str, plain_role: str) -> None:
    refused = replace(CHECKS[0], measure=lambda context, check: context.ask("TABLE pg_authid"))
    with open_context(create_engine(as_role(pg, db, plain_role), poolclass=NullPool)) as context:
        answered = refused.answer(context)
    assert answered.level is Level.UNKNOWN
    assert f"GRANT pg_monitor TO {plain_role};" in answered.fix
    assert "42501" in answered.technical


def test_tables_that_no_backup_would_hold(pg: RealPostgres, db: str, plain_role: str) -> None:
    pg.query('CREATE TABLE "secret {plans}" (id serial)', db=db)
    url = as_role(pg, db, plain_role)
    found = look(url, "reads_everything")
    assert found.level is Level.NOW
    assert "2 tables or counters" in found.sentence
    assert 'public."secret {plans}"' in found.sentence
    pg.query(found.fix.split("run: ")[1])
    assert look(url, "reads_everything").level is Level.GOOD


def test_rows_that_no_backup_would_hold(pg: RealPostgres, db: str, plain_role: str) -> None:
    pg.query("CREATE TABLE letters (id int)", db=db)
    pg.query(f"GRANT SELECT ON letters TO {plain_role}", db=db)
    pg.query("ALTER TABLE letters ENABLE ROW LEVEL SECURITY", db=db)
    url = as_role(pg, db, plain_role)
    found = look(url, "reads_everything")
    assert found.level is Level.NOW
    assert "hides some records of public.letters" in found.sentence
    pg.query(found.fix.split("run: ")[1])
    assert look(url, "reads_everything").level is Level.GOOD


def test_a_superuser_is_only_mentioned(pg: RealPostgres, db: str, plain_role: str) -> None:
    found = look(pg.url(db), "superuser")
    assert found.level is Level.INFO
    assert f"ALTER DATABASE {db} OWNER TO ops_console;" in found.fix
    assert look(as_role(pg, db, plain_role), "superuser").level is Level.GOOD


def test_a_slow_answer(pg_database: str) -> None:
    assert look(pg_database, "answers").level is Level.GOOD
    found = look(pg_database, "answers", warning=0)
    assert found.level is Level.SOON
    assert "ms to answer" in found.sentence


def test_seats_for_connections(pg: RealPostgres, db: str) -> None:
    assert look(pg.url(db), "connections").level is Level.GOOD
    with session(pg, db), session(pg, db):
        found = look(pg.url(db), "connections", warning=0.01, quiet_below=3)
        assert found.level is Level.SOON
        assert found.value is not None
        assert found.value >= 3
        assert "of 97 seats" in found.sentence


def test_a_half_finished_change(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE TABLE t (a int)", db=db)
    with session(pg, db, "INSERT INTO t VALUES (1)") as other:
        time.sleep(1.1)
        assert look(pg.url(db), "idle_in_transaction").level is Level.GOOD
        found = look(pg.url(db), "idle_in_transaction", warning=1, critical=60)
        assert found.level is Level.SOON
        assert "cash desk began a change, and has left it half-finished" in found.sentence
        assert f"pg_terminate_backend({other.info.backend_pid})" in found.fix
        assert look(pg.url(db), "idle_in_transaction", critical=1).level is Level.NOW
        assert "INSERT" not in found.technical
        other.rollback()
        assert look(pg.url(db), "idle_in_transaction", warning=1).level is Level.GOOD


def test_our_own_snapshot_is_no_half_finished_change(pg: RealPostgres, db: str) -> None:
    with session(pg, db, "SELECT 1", name="ops-console"):
        assert look(pg.url(db), "idle_in_transaction", warning=0).value == 0


def test_very_long_work(pg: RealPostgres, db: str) -> None:
    with session(pg, db, "SELECT 1", name="") as other:
        time.sleep(0.6)
        in_background(other, "SELECT pg_sleep(30)")
        time.sleep(0.6)
        assert look(pg.url(db), "long_transaction", warning=1).level is Level.GOOD
        found = look(pg.url(db), "long_transaction", warning=1, quiet_below=0.5)
        assert found.level is Level.SOON
        assert "a program of user postgres has been at one piece of work" in found.sentence
        assert found.subjects == (str(other.info.backend_pid),)
        pg.query(found.fix.split("run: ")[1])
        wait_until(lambda: look(pg.url(db), "long_transaction", quiet_below=0).value == 0)


def test_a_long_request(pg: RealPostgres, db: str) -> None:
    with session(pg, db) as other:
        other.rollback()
        in_background(other, "SELECT pg_sleep(30)")
        wait_until(lambda: look(pg.url(db), "long_query", warning=0.3).level is Level.SOON)
        found = look(pg.url(db), "long_query", critical=0.1)
        assert found.level is Level.NOW
        assert "cash desk has been waiting for the answer to one request" in found.sentence
        assert found.remedy == ("postgresql.cancel_query",)
        pg.query(found.fix.split("run: ")[1])
        wait_until(lambda: look(pg.url(db), "long_query", warning=0.1).value == 0)


def test_sessions_that_wait(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE TABLE t (a int)", db=db)
    with session(pg, db, "LOCK TABLE t") as holder, session(pg, db, name="shelf") as waiter:
        in_background(waiter, "SELECT * FROM t")
        time.sleep(1.2)
        assert look(pg.url(db), "blocked").level is Level.GOOD
        found = look(pg.url(db), "blocked", warning=1, quiet_below=0.5)
        assert found.level is Level.SOON
        assert "1 session waits for cash desk to finish" in found.sentence
        assert f"pg_terminate_backend({holder.info.backend_pid})" in found.fix
        assert look(pg.url(db), "blocked", critical=1, quiet_below=0.5).level is Level.NOW
        holder.rollback()
        wait_until(lambda: look(pg.url(db), "blocked", quiet_below=0).value == 0)


def test_three_that_wait_are_told_earlier(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE TABLE t (a int)", db=db)
    with (
        session(pg, db, "LOCK TABLE t") as holder,
        session(pg, db) as one,
        session(pg, db) as two,
        session(pg, db) as three,
    ):
        for waiter in (one, two, three):
            in_background(waiter, "SELECT * FROM t")
        wait_until(lambda: look(pg.url(db), "blocked", quiet_below=0).level is Level.SOON)
        assert "3 sessions wait for" in look(pg.url(db), "blocked", quiet_below=0).sentence
        holder.rollback()
        wait_until(lambda: look(pg.url(db), "blocked", quiet_below=0).value == 0)


def test_numbers_for_changes(pg_database: str) -> None:
    found = look(pg_database, "wraparound")
    assert found.level is Level.GOOD
    assert found.value is not None
    assert 0 < found.value < 1
    found = look(pg_database, "wraparound", warning=found.value)
    assert found.level is Level.SOON
    assert "% of the numbers" in found.sentence


def test_deleted_rows(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE TABLE orders (a int) WITH (autovacuum_enabled = off)", db=db)
    pg.query("INSERT INTO orders SELECT generate_series(1, 40000)", db=db)
    pg.query("DELETE FROM orders WHERE a <= 12000", db=db)
    wait_until(lambda: look(pg.url(db), "dead_rows").level is not Level.GOOD)
    found = look(pg.url(db), "dead_rows")
    assert found.level is Level.SOON
    assert "public.orders still carries 12,000 deleted records (30 %)" in found.sentence
    command = found.fix.split("Run: ")[1].split(";")[0]
    pg.query(command, db=db)
    wait_until(lambda: look(pg.url(db), "dead_rows").level is Level.GOOD)


@pytest.mark.parametrize(
    ("kind", "used", "level"),
    [
        ("serial", 1_500_000_000, Level.GOOD),
        ("serial", 1_700_000_000, Level.SOON),
        ("serial", 2_000_000_000, Level.NOW),
        ("smallserial", 32_000, Level.NOW),
        ("bigserial", 2_000_000_000, Level.GOOD),
        ("int GENERATED ALWAYS AS IDENTITY", 2_000_000_000, Level.NOW),
    ],
)
def test_counters_near_their_end(
    pg: RealPostgres, db: str, kind: str, used: int, level: Level
) -> None:
    pg.query(f"CREATE TABLE bills (id {kind})", db=db)
    pg.query("SELECT setval(pg_get_serial_sequence('bills', 'id'), %s)", used, db=db)
    found = look(pg.url(db), "counters")
    assert found.level is level
    if level is Level.NOW:
        assert "public.bills can take only" in found.sentence


def test_a_counter_of_eight_bytes_behind_a_column_of_four(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE SEQUENCE numbers", db=db)
    pg.query("CREATE TABLE bills (id int DEFAULT nextval('numbers'))", db=db)
    pg.query("ALTER SEQUENCE numbers OWNED BY bills.id", db=db)
    pg.query("SELECT setval('numbers', 2000000000)", db=db)
    assert look(pg.url(db), "counters").level is Level.NOW
    pg.query("ALTER TABLE bills ALTER id TYPE bigint", db=db)
    assert look(pg.url(db), "counters").level is Level.GOOD


def test_counters_that_may_not_be_read(pg: RealPostgres, db: str, plain_role: str) -> None:
    pg.query("CREATE TABLE bills (id serial)", db=db)
    found = look(as_role(pg, db, plain_role), "counters")
    assert found.level is Level.UNKNOWN
    assert f"GRANT pg_read_all_data TO {plain_role};" in found.fix


def test_a_forgotten_copy_connection(pg: RealPostgres, db: str) -> None:
    name = f"old_copy_{secrets.token_hex(4)}"
    pg.query("SELECT pg_create_physical_replication_slot(%s, true)", name)
    try:
        found = look(pg.url(db), "slots")
        assert found.level is Level.SOON
        assert f"The copy connection {name} is not keeping up" in found.sentence
    finally:
        pg.query(found.fix.split("run: ")[1])
    assert look(pg.url(db), "slots").level is Level.GOOD


def test_a_half_built_index(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE TABLE t (a int)", db=db)
    pg.query("INSERT INTO t VALUES (1), (1)", db=db)
    with pytest.raises(psycopg2.errors.UniqueViolation):
        pg.query("CREATE UNIQUE INDEX CONCURRENTLY only_once ON t (a)", db=db)
    found = look(pg.url(db), "invalid_index")
    assert found.level is Level.SOON
    assert "only_once was left half-built" in found.sentence
    pg.query("DELETE FROM t", db=db)
    pg.query(found.fix.split("with: ")[1], db=db)
    assert look(pg.url(db), "invalid_index").level is Level.GOOD


def test_an_index_that_is_being_built_is_no_finding(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE TABLE t (a int)", db=db)
    with session(pg, db, "INSERT INTO t VALUES (1)") as writer, session(pg, db) as builder:
        builder.rollback()
        builder.autocommit = True
        in_background(builder, "CREATE INDEX CONCURRENTLY slow ON t (a)")
        unfinished = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        wait_until(lambda: pg.query(unfinished, db=db) == [(1,)])
        assert look(pg.url(db), "invalid_index").level is Level.GOOD
        writer.commit()
        wait_until(lambda: pg.query(unfinished, db=db) == [(0,)])


def test_reads_from_outside_memory(pg: RealPostgres, db: str) -> None:
    assert "Too little has been read" in look(pg.url(db), "cache").sentence
    eager = {"quiet_below": 1, "warning": 0, "critical": 101}
    found = look(pg.url(db), "cache", **eager)
    assert found.level is Level.INFO
    assert "since counting began" in found.sentence
    pg.query("SELECT pg_stat_reset()", db=db)
    wait_until(lambda: f"{date.today():%Y}" in look(pg.url(db), "cache", **eager).sentence)
    assert look(pg.url(db), "cache", quiet_below=0, critical=0).level is Level.SOON


@pytest.mark.parametrize(
    ("setting", "value", "level"),
    [
        ("fsync", "off", Level.NOW),
        ("full_page_writes", "off", Level.NOW),
        ("autovacuum", "off", Level.SOON),
        ("zero_damaged_pages", "on", Level.SOON),
    ],
)
def test_dangerous_settings(
    pg: RealPostgres, db: str, setting: str, value: str, level: Level
) -> None:
    assert look(pg.url(db), "settings").level is Level.GOOD
    configure(pg, f"{setting} = {value}")
    try:
        found = look(pg.url(db), "settings")
        assert found.level is level
        assert setting in found.sentence
    finally:
        configure(pg, f"{setting} = {'off' if value == 'on' else 'on'}")
    assert look(pg.url(db), "settings").level is Level.GOOD


def test_the_end_of_a_version(pg: RealPostgres, pg_database: str) -> None:
    assert look(pg_database, "version").level is Level.GOOD
    near = look(pg_database, "version", warning=-9999)
    assert near.level is Level.SOON
    assert f"PostgreSQL {pg.major} will get no more repairs after" in near.sentence
    assert near.value is not None
    assert date.today() - timedelta(days=near.value) in (date(2028, 11, 9), date(2030, 11, 14))
    assert look(pg_database, "version", critical=-9999).level is Level.NOW


def test_checksums_that_are_off_are_only_mentioned(pg16: RealPostgres) -> None:
    found = look(pg16.url(), "checksums")
    assert found.level is Level.INFO
    assert "does not check what its disk gives back" in found.sentence


def test_damage_on_the_disk(pg18: RealPostgres) -> None:
    """A database copied file by file is not in memory yet: what is changed in its files
    now, the server reads."""
    name = f"test_{secrets.token_hex(6)}"
    pg18.query(f"CREATE DATABASE {name}_source")
    pg18.query("CREATE TABLE t AS SELECT generate_series(1, 5000) a", db=f"{name}_source")
    pg18.query(f"CREATE DATABASE {name} TEMPLATE {name}_source STRATEGY FILE_COPY")
    try:
        assert look(pg18.url(name), "checksums").level is Level.GOOD
        ((path,),) = pg18.query("SELECT pg_relation_filepath('t')", db=name)
        with (pg18.data / path).open("r+b") as handle:
            handle.seek(9000)
            handle.write(b"\x55" * 64)
        with pytest.raises(psycopg2.Error):
            pg18.query("SELECT sum(a) FROM t", db=name)
        wait_until(lambda: look(pg18.url(name), "checksums").level is Level.NOW)
        found = look(pg18.url(name), "checksums")
        assert name in found.sentence
        assert "Do not delete any backup" in found.fix
    finally:
        pg18.query(f"DROP DATABASE {name} WITH (FORCE)")
        pg18.query(f"DROP DATABASE {name}_source WITH (FORCE)")
    assert look(pg18.url(), "checksums").level is Level.GOOD


@contextmanager
def careless(pg: RealPostgres) -> Iterator[None]:
    """Not waiting for the disk, which would take minutes with so many files."""
    configure(pg, "fsync = off")
    yield
    configure(pg, "fsync = on")


def test_five_thousand_tables_are_looked_at_quickly(pg: RealPostgres) -> None:
    name = f"test_{secrets.token_hex(6)}"
    batch = """DO $$ BEGIN FOR i IN {0}..{1} LOOP
        EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY)', i); END LOOP; END $$"""
    with careless(pg):
        pg.query(f"CREATE DATABASE {name}")
        for start in range(0, 5000, 500):
            pg.query(batch.format(start, start + 499), db=name)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        report = report_on(pg.url(name))
        took.append(time.perf_counter() - began)
    with careless(pg):
        pg.query(f"DROP DATABASE {name}")
    assert alarms(report) == []
    assert min(took) < 1  # about 0.2 s where nothing else runs

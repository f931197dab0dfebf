"""A PostgreSQL server at work: each bad state is made, seen, repaired, and gone."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import psycopg2
import pytest
from sqlalchemy import Engine, create_engine, make_url

from ops.checks.base import Finding, Level
from ops.checks.history import History
from ops.checks.postgresql import CHECKS, open_context
from ops.health import get_health_report
from ops.health_deep import look_deep
from ops.target import CountingPool, Target
from tests.health_postgresql import as_role, configure, look, session, wait_until
from tests.health_reports import finding
from tests.services.postgres import RealPostgres

HOUR = 3600.0


@pytest.fixture(scope="module")
def pg() -> Iterator[RealPostgres]:
    """A server of our own: it is restarted, and its files are reached into."""
    settings = {
        "max_prepared_transactions": "5",
        "archive_mode": "on",
        "archive_command": "true",
    }
    cluster = RealPostgres(16, settings)
    yield cluster
    cluster.stop()


def both(url: str, id: str, **thresholds: float) -> tuple[History, Finding]:
    """A first look, and the history that the next one is compared with."""
    history = History()
    return history, look(url, id, history=history, **thresholds)


def test_programs_that_stop_each_other(pg: RealPostgres, db: str) -> None:
    pg.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)", db=db)
    history, first = both(pg.url(db), "deadlocks")
    assert first.level is Level.GOOD
    short = "SET deadlock_timeout = '10ms'"
    with session(pg, db, short) as one, session(pg, db, short) as two:
        one.cursor().execute("SELECT * FROM t WHERE id = 1 FOR UPDATE")
        two.cursor().execute("SELECT * FROM t WHERE id = 2 FOR UPDATE")

        def cross() -> None:
            with suppress(psycopg2.errors.DeadlockDetected):
                one.cursor().execute("SELECT * FROM t WHERE id = 2 FOR UPDATE")
            one.rollback()

        thread = threading.Thread(target=cross)
        thread.start()
        with suppress(psycopg2.errors.DeadlockDetected):
            two.cursor().execute("SELECT * FROM t WHERE id = 1 FOR UPDATE")
        two.rollback()
        thread.join()
    wait_until(lambda: look(pg.url(db), "deadlocks").level is Level.INFO)
    found = look(pg.url(db), "deadlocks", history=history, later=HOUR / 2)
    assert found.level is Level.SOON
    assert found.sentence == (
        "1 time, two programs waited for each other and one of them was stopped "
        "(in the last 30 minutes)."
    )
    later = look(pg.url(db), "deadlocks", history=history, later=3 * HOUR)
    assert later.level is Level.GOOD


def test_work_that_is_taken_back(pg: RealPostgres, db: str) -> None:
    history, _ = both(pg.url(db), "undone")
    with session(pg, db) as other:
        for _ in range(30):
            other.cursor().execute("SELECT 1")
            other.rollback()

    def seen() -> Finding:
        return look(pg.url(db), "undone", history=history, later=HOUR, quiet_below=20)

    wait_until(lambda: seen().level is Level.INFO)
    assert "of all pieces of work were taken back in the last 1 hour" in seen().sentence
    assert look(pg.url(db), "undone").level is Level.GOOD  # too little to judge


def test_work_that_does_not_fit_in_memory(pg: RealPostgres, db: str) -> None:
    history, first = both(pg.url(db), "temporary_files")
    assert first.level is Level.GOOD
    pg.query(
        "SET work_mem = '64kB'; SELECT count(*) FROM (SELECT g FROM generate_series(1, 200000) g"
        " ORDER BY md5(g::text)) s",
        db=db,
    )

    def seen(**thresholds: float) -> Finding:
        return look(pg.url(db), "temporary_files", history=history, later=HOUR, **thresholds)

    wait_until(lambda: seen(warning=1e-4, critical=1).level is Level.SOON)
    assert "as a stand-in for memory in the last 1 hour" in seen(warning=1e-4).sentence
    assert seen(critical=1e-4).level is Level.NOW
    assert seen().level is Level.GOOD


@pytest.mark.parametrize("major", [16, 18])
def test_saving_in_a_hurry(request: pytest.FixtureRequest, major: int) -> None:
    cluster: RealPostgres = request.getfixturevalue(f"pg{major}")
    history, _ = both(cluster.url(), "checkpoints")
    for _ in range(2):
        cluster.query("CREATE TABLE hurry (a int); DROP TABLE hurry")
        cluster.query("CHECKPOINT")

    def seen(later: float) -> Finding:
        return look(cluster.url(), "checkpoints", history=history, later=later, quiet_below=2)

    wait_until(lambda: seen(HOUR).level is Level.SOON)
    assert "to its disk before its time in 100 % of the cases in the last" in seen(HOUR).sentence
    assert seen(4 * HOUR).level is Level.GOOD


def test_reads_between_two_looks(pg: RealPostgres, db: str) -> None:
    history, _ = both(pg.url(db), "cache")
    eager = {"quiet_below": 1.0, "warning": 0.0, "critical": 101.0}
    found = look(pg.url(db), "cache", history=history, later=HOUR, **eager)
    assert found.level is Level.SOON  # and not one level milder
    assert "in the last 1 hour" in found.sentence


def test_restarts(pg: RealPostgres) -> None:
    history, first = both(pg.url(), "restarted")
    assert first.level is Level.GOOD
    for _ in range(2):
        time.sleep(1.1)  # starts are told apart by the second
        pg.restart(immediate=False)
        found = look(pg.url(), "restarted", history=history)
    assert found.level is Level.INFO
    assert "has restarted 2 times within a day" in found.sentence
    assert look(pg.url(), "restarted", history=history, warning=2).level is Level.SOON
    assert look(pg.url(), "restarted", history=history, later=25 * HOUR).level is Level.GOOD
    assert look(pg.url(), "restarted").level is Level.GOOD


def test_a_pool_that_is_used_up(pg: RealPostgres) -> None:
    engine = create_engine(pg.url(), pool_size=2, max_overflow=0, pool_timeout=0.01)
    counting = create_engine(
        pg.url(), poolclass=CountingPool, pool_size=1, max_overflow=0, pool_timeout=0.01
    )
    history = History()

    def seen(engine: Engine, later: float = 0) -> Finding:
        check = next(check for check in CHECKS if check.id == "postgresql.pool")
        with open_context(engine) as context:
            object.__setattr__(context, "history", history)
            object.__setattr__(context, "now", time.time() + later)
            return check.answer(context)

    assert seen(engine).level is Level.GOOD
    with engine.connect(), engine.connect():
        assert seen(engine).level is Level.SOON
        assert "uses 2 of its 2 connections" in seen(engine).sentence
    assert seen(engine).level is Level.GOOD
    history.samples.clear()
    assert seen(counting).level is Level.GOOD
    with counting.connect(), pytest.raises(Exception, match="timeout"):
        counting.connect()
    found = seen(counting, HOUR)
    assert found.level is Level.SOON
    assert "waited 1 time for a connection in vain" in found.sentence
    assert seen(counting, 3 * HOUR).level is Level.GOOD
    engine.dispose()
    counting.dispose()


def test_a_change_in_two_steps(pg: RealPostgres, db: str) -> None:
    name = f"transfer_{secrets.token_hex(3)}"
    with session(pg, db, "SELECT 1") as other:
        other.cursor().execute(f"PREPARE TRANSACTION '{name}'")
    assert look(pg.url(db), "prepared").level is Level.GOOD  # it is young
    found = look(pg.url(db), "prepared", warning=0)
    assert found.level is Level.SOON
    assert f"The second step of the change {name} has been missing" in found.sentence
    assert (found.remedy, found.subjects) == (("postgresql.rollback_prepared",), (name,))
    assert look(pg.url(db), "prepared", critical=0).level is Level.NOW
    pg.query(found.fix.split("database: ")[1], db=db)
    assert look(pg.url(db), "prepared", warning=0).value == 0


def test_the_disk_of_the_server(pg: RealPostgres) -> None:
    assert look(pg.url(), "disk", warning=101, critical=102).level in (Level.GOOD, Level.NOW)
    found = look(pg.url(), "disk", warning=0, critical=101)
    free = "50 GB"
    if found.level is Level.GOOD:
        assert found.sentence.startswith("The database's disk has")
        assert found.technical.find(free)
    else:
        assert "disk has only" in found.sentence
    far = create_engine(pg.url().replace("127.0.0.1", os.uname().nodename))
    check = next(check for check in CHECKS if check.id == "postgresql.disk")
    with open_context(create_engine(pg.url())) as context:
        answered = check.answer(
            type(context)(context.ask, {**context.facts, "engine": far}, context.version)
        )
    assert not answered.looked_at
    assert "that of another machine" in answered.sentence


def test_logs_of_changes_that_pile_up(pg: RealPostgres) -> None:
    assert look(pg.url(), "change_logs").level is Level.GOOD
    found = look(pg.url(), "change_logs", warning=0.001, critical=5)
    assert found.level is Level.SOON
    assert "logs of changes have grown to" in found.sentence
    assert look(pg.url(), "change_logs", critical=0.001).level is Level.NOW


def test_a_continuous_backup_that_fails(pg: RealPostgres) -> None:
    assert look(pg.url(), "archiver").level is Level.GOOD
    configure(pg, "archive_command = false")
    _switch(pg)
    wait_until(lambda: look(pg.url(), "archiver").level is Level.SOON)
    assert "continuous backup has been failing for" in look(pg.url(), "archiver").sentence
    assert look(pg.url(), "archiver", critical=0).level is Level.NOW
    configure(pg, "archive_command = true")
    _switch(pg)
    wait_until(lambda: look(pg.url(), "archiver").level is Level.GOOD)


def _switch(pg: RealPostgres) -> None:
    pg.query("CREATE TABLE switch (a int); DROP TABLE switch")
    pg.query("SELECT pg_switch_wal()")


def test_a_stand_in_copy_that_falls_behind(pg: RealPostgres, db: str) -> None:
    assert "No stand-in copy is fed" in look(pg.url(db), "standby").sentence
    with pg.standby() as copy:
        assert look(copy, "read_only").level is Level.INFO
        assert "stand-in copy of another server" in look(copy, "read_only").sentence
        wait_until(lambda: "keeps up" in look(pg.url(db), "standby").sentence)
        pause = create_engine(copy).raw_connection()
        pause.cursor().execute("SELECT pg_wal_replay_pause()")
        pause.commit()
        pg.query("CREATE TABLE t AS SELECT generate_series(1, 10000) a", db=db)
        behind = {"quiet_below": 100_000.0, "warning": 1e9, "critical": 1e9}
        wait_until(lambda: look(pg.url(db), "standby", **behind).level is Level.SOON)
        found = look(pg.url(db), "standby", **behind)
        assert "The stand-in copy walreceiver is" in found.sentence
        wait_until(lambda: look(copy, "standby", **behind).level is Level.SOON)
        assert look(copy, "standby", warning=0, critical=0).level is Level.NOW
        pause.cursor().execute("SELECT pg_wal_replay_resume()")
        pause.commit()
        wait_until(lambda: look(pg.url(db), "standby", **behind).level is Level.GOOD)
        wait_until(lambda: look(copy, "standby", warning=0).level is Level.GOOD)
        pause.close()
    wait_until(lambda: look(pg.url(db), "slots").level is Level.GOOD)


def test_a_database_that_refuses_changes(pg: RealPostgres, db: str) -> None:
    assert look(pg.url(db), "read_only").level is Level.GOOD
    pg.query(f'ALTER DATABASE "{db}" SET default_transaction_read_only = on')
    found = look(pg.url(db), "read_only")
    assert found.level is Level.SOON
    assert "set to refuse all changes" in found.sentence
    pg.query(f'ALTER DATABASE "{db}" RESET default_transaction_read_only')
    assert look(pg.url(db), "read_only").level is Level.GOOD


def test_settings_that_wait_for_a_restart(pg: RealPostgres) -> None:
    assert look(pg.url(), "pending_restart").level is Level.GOOD
    pg.query("ALTER SYSTEM SET max_connections = 101")
    pg.query("SELECT pg_reload_conf()")
    wait_until(lambda: look(pg.url(), "pending_restart").level is Level.INFO)
    assert "max_connections has been changed" in look(pg.url(), "pending_restart").sentence
    assert look(pg.url(), "config_mistakes").level is Level.GOOD
    pg.query("ALTER SYSTEM RESET max_connections")
    pg.query("SELECT pg_reload_conf()")
    wait_until(lambda: look(pg.url(), "pending_restart").level is Level.GOOD)


def test_mistakes_in_the_settings(pg: RealPostgres) -> None:
    path = pg.data / "postgresql.conf"
    sound = path.read_text()
    path.write_text(sound + "work_mem = 'a lot'\n")
    found = look(pg.url(), "config_mistakes")
    assert found.level is Level.SOON
    assert "hold 1 mistake (work_mem, postgresql.conf, line" in found.sentence
    path.write_text(sound)
    assert look(pg.url(), "config_mistakes").level is Level.GOOD


@pytest.mark.parametrize(("method", "level"), [("trust", Level.NOW), ("password", Level.SOON)])
def test_an_open_door(pg: RealPostgres, method: str, level: Level) -> None:
    path = pg.data / "pg_hba.conf"
    sound = path.read_text()
    assert look(pg.url(), "open_door").level is Level.GOOD
    path.write_text(f"{sound}host all all 10.0.0.0/8 {method}\n")
    found = look(pg.url(), "open_door")
    assert found.level is level
    assert "other machines" in found.sentence
    assert f"line {len(sound.splitlines()) + 1} of pg_hba.conf" in found.fix
    path.write_text(sound)
    assert look(pg.url(), "open_door").level is Level.GOOD


def test_programs_for_backups(pg: RealPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(pg.url(), "tool").level is Level.GOOD
    check = next(check for check in CHECKS if check.id == "postgresql.tool")
    with open_context(create_engine(pg.url())) as context:
        newer = type(context)(context.ask, {**context.facts, "major": 99}, "99.1")
        found = check.answer(newer)
    assert found.level is Level.NOW
    assert "does not fit PostgreSQL 99" in found.sentence
    assert "postgresql-client-99" in found.fix


def test_a_database_that_grows_fast(pg: RealPostgres) -> None:
    now = time.time()
    history = History(sizes=[(now - 8 * 86_400, 100 << 20), (now, 300 << 20)])
    found = look(pg.url(), "growth", history=history)
    assert found.level is Level.INFO
    assert "grew by 175 MB (175 %) within a week" in found.sentence
    assert look(pg.url(), "growth").level is Level.GOOD


def test_slow_statements(contrib: RealPostgres) -> None:
    name = f"test_{secrets.token_hex(6)}"
    contrib.query(f"CREATE DATABASE {name}")
    assert not look(contrib.url(name), "slow_statements").looked_at
    assert "CREATE EXTENSION" in look(contrib.url(name), "slow_statements").fix
    contrib.query("CREATE EXTENSION pg_stat_statements", db=name)
    assert look(contrib.url(name), "slow_statements").level is Level.GOOD
    for _ in range(3):
        contrib.query("SELECT pg_sleep(0.01)", db=name)
    contrib.query("CREATE ROLE secretive PASSWORD 'top-secret'", db=name)
    found = look(contrib.url(name), "slow_statements", warning=5, quiet_below=3)
    assert found.level is Level.INFO
    assert "1 kind of statement takes most of the time" in found.sentence
    assert "SELECT pg_sleep($1)" in found.technical
    everything = look(contrib.url(name), "slow_statements", warning=0, quiet_below=1)
    assert "top-secret" not in everything.technical
    contrib.query("CREATE ROLE plain LOGIN PASSWORD 'open sesame'")
    plain = look(as_role(contrib, name, "plain"), "slow_statements")
    assert plain.level is Level.UNKNOWN
    assert "GRANT pg_monitor TO plain" in plain.fix
    contrib.query("SELECT pg_stat_statements_reset()", db=name)
    assert look(contrib.url(name), "slow_statements", warning=5, quiet_below=3).level is Level.GOOD


COMPARE = """CREATE OR REPLACE FUNCTION comes_first(int, int) RETURNS int LANGUAGE sql IMMUTABLE
AS 'SELECT btint4cmp({})'"""


def test_damaged_indexes(contrib: RealPostgres) -> None:
    name = f"test_{secrets.token_hex(6)}"
    contrib.query(f"CREATE DATABASE {name}")
    contrib.query(COMPARE.format("$1, $2"), db=name)
    contrib.query(
        "CREATE OPERATOR CLASS odd_order FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=,"
        "OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 comes_first(int, int);"
        "CREATE TABLE t AS SELECT generate_series(1, 100) a; CREATE INDEX odd ON t (a odd_order)",
        db=name,
    )
    target = Target.parse("shop", contrib.url(name))
    assert look_deep(target) == ()  # amcheck is not there, so nothing was looked at
    assert "CREATE EXTENSION amcheck" in look(contrib.url(name), "structure", deep=True).fix
    contrib.query("CREATE EXTENSION amcheck", db=name)
    assert not look(contrib.url(name), "structure").looked_at
    (sound,) = look_deep(target)
    assert sound.level is Level.GOOD
    contrib.query(COMPARE.format("$2, $1"), db=name)
    (found,) = look_deep(target)
    assert found.level is Level.NOW
    assert "public.odd is damaged: searches may miss records" in found.sentence
    assert (found.remedy, found.subjects) == (("postgresql.reindex",), ("public.odd",))
    history = History(results={found.id: found})
    report = get_health_report(target.engine, history=history)
    assert finding(report, "postgresql.structure").level is Level.NOW
    contrib.query("REINDEX INDEX odd", db=name)
    assert look(contrib.url(name), "structure", deep=True).level is Level.GOOD
    contrib.query("CREATE ROLE looks LOGIN PASSWORD 'open sesame'")
    refused = look(as_role(contrib, name, "looks"), "structure", deep=True)
    assert refused.level is Level.UNKNOWN
    contrib.query(refused.fix.split("database: ")[1], db=name)
    assert look(as_role(contrib, name, "looks"), "structure", deep=True).level is Level.GOOD
    target.engine.dispose()


def test_looking_deep_holds_no_lock_for_long(contrib: RealPostgres) -> None:
    """What a question has locked is given back before the next one."""
    name = f"test_{secrets.token_hex(6)}"
    contrib.query(f"CREATE DATABASE {name}")
    contrib.query("CREATE TABLE t (a int)", db=name)
    locks = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass"
    with open_context(create_engine(contrib.url(name))) as context:
        context.ask("SELECT * FROM public.t")
        assert contrib.query(locks, db=name) == [(1,)]
        context.ask("SELECT 1")
        assert contrib.query(locks, db=name) == [(0,)]


def test_one_connection_serves_a_report(pg: RealPostgres, db: str) -> None:
    opened = "SELECT sessions FROM pg_stat_database WHERE datname = %s"
    with closing(
        psycopg2.connect(
            make_url(pg.url()).set(drivername="postgresql").render_as_string(hide_password=False)
        )
    ):
        before = pg.query(opened, db)[0][0]
        get_health_report(create_engine(pg.url(db)))
        wait_until(lambda: pg.query(opened, db)[0][0] > before)
        time.sleep(0.2)
        assert pg.query(opened, db)[0][0] == before + 1

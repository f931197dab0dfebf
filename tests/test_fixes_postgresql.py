"""Fixes of PostgreSQL: the bad state is made, cured by the job, and the finding is gone; a user
without the right is refused with the grant that helps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg2
import pytest

from ops import Target
from ops.checks.base import Level
from ops.errors import Busy, Refused
from ops.fixes import FIXES, command_of, obstacle
from ops.health import get_health_report
from ops.installation import Installation
from ops.jobs import create, execute
from tests.databases import PASSWORD, PostgreSQLDatabase
from tests.health_reports import finding

on_both = pytest.mark.parametrize("live", ["postgresql-16", "postgresql-18"], indirect=True)

on_one = pytest.mark.parametrize("live", ["postgresql-16"], indirect=True)


def press(home: Installation, fix: str, *subjects: str, check: str = "") -> Any:
    """The fix as the Health page starts it: as a job."""
    params = {"fix": fix, "subjects": list(subjects), "check": check}
    return execute(home, create(home, "fix", "live", "somebody", params))


def look(live: PostgreSQLDatabase, check: str) -> Any:
    return finding(get_health_report(live.target.engine), check)


@contextmanager
def program(live: PostgreSQLDatabase, name: str = "till", **login: Any) -> Iterator[Any]:
    """Another program that is connected to the database."""
    session = psycopg2.connect(**{**live.login(), **login}, application_name=name)
    with closing(session):
        yield session


@on_both
def test_deleted_records_are_cleaned_up(home: Installation, live: PostgreSQLDatabase) -> None:
    live.run('CREATE TABLE "many %d" (id int) WITH (autovacuum_enabled = off)')
    live.run('INSERT INTO "many %d" SELECT generate_series(1, 30000)')
    live.run('DELETE FROM "many %d" WHERE id > 15000')
    _until(lambda: look(live, "postgresql.dead_rows").level is not Level.GOOD)
    found = look(live, "postgresql.dead_rows")
    (subject,) = found.subjects
    fix = FIXES[found.remedy[0]]
    assert command_of(home, home.target("live"), fix, subject) == (
        'VACUUM (ANALYZE) public."many %d";'
    )
    done = press(home, fix.id, subject, check=found.id)
    assert done["helped"] is True
    assert done["told"] == ['public."many %d" was cleaned up.']
    assert look(live, "postgresql.dead_rows").level is Level.GOOD


@on_one
def test_a_table_in_use_is_not_queued_for(home: Installation, live: PostgreSQLDatabase) -> None:
    """Readers come through while the fix waits, and it gives up after two seconds."""
    with program(live) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE bulk IN SHARE ROW EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(Busy, match="nobody should have to queue"):
            press(home, "postgresql.analyze", "public.bulk")
        assert time.monotonic() - began < 4
        assert live.rows("SELECT count(*) FROM bulk") == [(300,)]


@on_both
def test_a_half_built_index_is_built_anew(home: Installation, live: PostgreSQLDatabase) -> None:
    live.run("CREATE TABLE twice (n int); INSERT INTO twice VALUES (1), (1)")
    with suppress(psycopg2.Error):
        live.run("CREATE UNIQUE INDEX CONCURRENTLY twice_n ON twice (n)")
    found = look(live, "postgresql.invalid_index")
    assert found.level is Level.SOON
    assert found.subjects == ("public.twice_n",)
    with pytest.raises(Exception, match="reported an error"):
        press(home, "postgresql.reindex", *found.subjects)  # the duplicates are still there
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    assert live.rows(invalid) == [(1,)], "what a failed attempt left is gone"
    live.run("DELETE FROM twice")
    done = press(home, "postgresql.reindex", *found.subjects, check=found.id)
    assert done["helped"] is True
    assert live.rows(invalid) == [(0,)]


@on_one
def test_an_index_is_removed_and_can_be_had_back(
    home: Installation, live: PostgreSQLDatabase
) -> None:
    live.run("CREATE TABLE t (n int PRIMARY KEY, m int); CREATE INDEX t_m ON t (m)")
    target, fix = home.target("live"), FIXES["postgresql.drop_index"]
    guard = obstacle(home, target, fix, "public.t_pkey")
    assert guard is not None
    assert "keeps out duplicates" in guard.reason
    (told,) = press(home, fix.id, "public.t_m")["told"]
    assert live.rows("SELECT to_regclass('t_m')") == [(None,)]
    live.run(told.split("run: ")[1])
    assert live.rows("SELECT to_regclass('t_m')::text") == [("t_m",)]


@on_one
def test_a_copy_connection_is_given_up(home: Installation, live: PostgreSQLDatabase) -> None:
    name = f"slot_{live.name}"
    live.as_superuser(f"SELECT pg_create_physical_replication_slot('{name}', true)")
    target, fix = home.target("live"), FIXES["postgresql.drop_slot"]
    try:
        found = look(live, "postgresql.slots")
        assert found.level is Level.SOON
        refused = obstacle(home, target, fix, name)
        assert refused is not None
        assert 'ALTER ROLE "ops tester" REPLICATION;' in refused.hint
        with pytest.raises(Refused, match="may not give up"):
            press(home, fix.id, name)
        live.as_superuser('ALTER ROLE "ops tester" REPLICATION')
        assert press(home, fix.id, *found.subjects, check=found.id)["helped"] is True
        assert live.as_superuser("SELECT count(*) FROM pg_replication_slots") == [(0,)]
        with pytest.raises(Refused, match="no copy connection"):
            press(home, fix.id, name)
    finally:
        live.as_superuser('ALTER ROLE "ops tester" NOREPLICATION')


@on_one
def test_the_whole_database_is_cleaned_up(home: Installation, live: PostgreSQLDatabase) -> None:
    age = "SELECT relfrozenxid::text FROM pg_class WHERE relname = 'bulk'"
    before = live.rows(age)
    press(home, "postgresql.freeze")
    assert live.rows(age) != before


@on_one
def test_a_setting_is_the_administrators(home: Installation, live: PostgreSQLDatabase) -> None:
    target, fix = home.target("live"), FIXES["postgresql.safe_setting"]
    assert "SET autovacuum = on;" in command_of(home, target, fix, "autovacuum")
    with pytest.raises(Refused, match="administrator"):
        press(home, fix.id, "autovacuum")
    with pytest.raises(Refused):
        command_of(home, target, fix, "autovacuum = off; DROP TABLE bulk; --")


@on_both
def test_work_is_stopped(home: Installation, live: PostgreSQLDatabase) -> None:
    with program(live, "a report") as other:
        thread = threading.Thread(target=_sleep, args=(other,))
        thread.start()
        pid = other.get_backend_pid()
        asleep = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'"
        _until(lambda: live.rows(asleep) == [(1,)])
        (told,) = press(home, "postgresql.cancel_query", str(pid))["told"]
        assert told == "What a report was doing has been stopped and taken back."
        thread.join(10)
        assert not thread.is_alive()
        other.rollback()
        with pytest.raises(Refused, match="not working on anything"):
            press(home, "postgresql.cancel_query", str(pid))


def _sleep(session: Any) -> None:
    with suppress(psycopg2.Error), session.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(60)")


@on_both
def test_a_session_is_ended_and_its_number_is_not_enough(
    home: Installation, live: PostgreSQLDatabase
) -> None:
    with program(live) as other, other.cursor() as cursor:
        cursor.execute(
            "SELECT pid, extract(epoch FROM backend_start)::float FROM pg_stat_activity"
            " WHERE pid = pg_backend_pid()"
        )
        pid, began = cursor.fetchone()
        for wrong in (f"{pid}@{began - 60:.6f}", "0", "1; SELECT 1", str(2**31)):
            with pytest.raises(Refused, match="ended by itself"):
                press(home, "postgresql.end_session", wrong)
        (told,) = press(home, "postgresql.end_session", f"{pid}@{began:.6f}")["told"]
        assert told == "The session of till has ended."
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT 1")


@on_one
def test_the_consoles_own_work_is_not_ended(home: Installation, live: PostgreSQLDatabase) -> None:
    ours, refusal = "ops-console 2026 restore", pytest.raises(Refused, match="console's own work")
    with program(live, ours) as other, refusal:
        press(home, "postgresql.end_session", str(other.get_backend_pid()))


@on_one
def test_others_sessions_need_a_right(
    home: Installation, live: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, fix = home.target("live"), FIXES["postgresql.end_session"]
    cluster = live.cluster
    login = {"user": "postgres", "password": cluster.password}
    with program(live, "psql", **login) as other:
        mighty = obstacle(home, target, fix, str(other.get_backend_pid()))
        assert mighty is not None
        assert "belongs to an administrator" in mighty.reason
    cluster.query('REVOKE pg_signal_backend FROM "ops tester"')
    cluster.query("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    try:
        with program(live, user="stranger", password="x") as other:
            pid = str(other.get_backend_pid())
            with pytest.raises(Refused, match="may not reach into") as refused:
                press(home, fix.id, pid)
            assert refused.value.hint.endswith('GRANT pg_signal_backend TO "ops tester";')
    finally:
        cluster.query("DROP ROLE stranger")
        cluster.query('GRANT pg_signal_backend TO "ops tester"')


@pytest.mark.parametrize(
    ("fix", "needs"),
    [
        ("postgresql.analyze", "public.theirs"),
        ("postgresql.vacuum", "public.theirs"),
        ("postgresql.reindex", "public.theirs_pkey"),
        ("postgresql.freeze", ""),
        ("postgresql.renew_sorting", ""),
    ],
)
@on_both
def test_without_the_right_it_is_refused_with_the_grant_that_helps(
    live: PostgreSQLDatabase, home: Installation, fix: str, needs: str
) -> None:
    live.as_superuser(f'ALTER DATABASE "{live.name}" OWNER TO postgres')
    live.as_superuser("CREATE TABLE public.theirs (id int PRIMARY KEY)")
    subjects = [needs] if needs else []
    with pytest.raises(Refused) as refused:
        press(home, fix, *subjects)
    assert "Nothing was changed." in str(refused.value)
    grant = refused.value.hint.split("run: ")[1]
    assert grant.startswith("GRANT ")
    live.as_superuser(grant)
    try:
        press(home, fix, *subjects)
    finally:
        live.as_superuser('REVOKE postgres FROM "ops tester"')


@on_one
@pytest.mark.parametrize(
    "name", ["public.gone", "pg_catalog.pg_class", "bulk; DROP TABLE bulk", "a b c", '"', ""]
)
def test_what_is_not_a_table_is_refused(
    home: Installation, live: PostgreSQLDatabase, name: str
) -> None:
    with pytest.raises(Refused):
        press(home, "postgresql.vacuum", name)
    assert live.rows("SELECT count(*) FROM bulk") == [(300,)]


@pytest.fixture(scope="module")
def prepared() -> Iterator[Any]:
    """A server on which changes can be finished in two steps."""
    from tests.services.postgres import RealPostgres

    cluster = RealPostgres(16, {"max_prepared_transactions": "5"})
    yield cluster
    cluster.stop()


@on_one
def test_a_forgotten_change_is_taken_back(
    prepared: Any, home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = prepared
    cluster.query("CREATE TABLE IF NOT EXISTS t (n int)")
    with closing(psycopg2.connect(cluster.url().replace("+psycopg2", ""))) as session:
        session.tpc_begin(session.xid(1, "it's", "b"))
        session.cursor().execute("INSERT INTO t VALUES (1)")
        session.tpc_prepare()
    ((gid,),) = cluster.query("SELECT gid FROM pg_prepared_xacts")
    fix = FIXES["postgresql.rollback_prepared"]
    cluster.query(f"CREATE ROLE plain LOGIN PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'")
    plain = Target.parse("x", cluster.url(user="plain", password=PASSWORD)).engine
    refused = fix.may(plain, gid)
    assert refused is not None
    assert "GRANT postgres TO plain;" in refused.hint
    engine = Target.parse("x", cluster.url()).engine
    from ops.progress import SILENT

    assert fix.apply(engine, gid, SILENT) == f"The change {gid} was taken back."
    assert cluster.query("SELECT count(*) FROM pg_prepared_xacts") == [(0,)]
    engine.dispose()
    plain.dispose()


def _until(is_so: Callable[[], bool]) -> None:
    """Figures about rows come a moment after the change."""
    ends = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.1)

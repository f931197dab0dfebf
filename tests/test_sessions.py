"""Who waits for whom, and which statements take the time, on real servers."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ops import Target
from ops.dialects.base import StatementOrder, WaitingSession
from ops.fixes import FIXES
from ops.fixes.postgresql_sessions import session_name
from ops.installation import Installation
from ops.jobs import create, execute
from ops.progress import SILENT
from ops.sessions import Queue, get_queues, get_slow_statements, queues_of
from tests.databases import PostgreSQLDatabase, SQLiteDatabase
from tests.services.postgres import DEBIAN, RealPostgres


@pytest.mark.parametrize("live", ["sqlite-wal"], indirect=True)
def test_a_file_has_neither(live: SQLiteDatabase) -> None:
    assert get_queues(live.target.engine) is None
    assert get_slow_statements(live.target.engine) is None


def _program(live: PostgreSQLDatabase, name: str) -> Any:
    return psycopg2.connect(**live.login(), application_name=name)


@pytest.mark.parametrize("live", ["postgresql-16", "postgresql-18"], indirect=True)
def test_a_queue_and_letting_it_move_on(home: Installation, live: PostgreSQLDatabase) -> None:
    engine = home.target("live").engine
    assert get_queues(engine) == ()
    with ExitStack() as stack:
        front, second, third = (
            stack.enter_context(closing(_program(live, name))) for name in ("till", "shop", "scan")
        )
        front.cursor().execute("UPDATE bulk SET pad = 'a secret' WHERE id = 1")
        waiting = []
        for session, statement in (
            (second, "UPDATE bulk SET pad = 'another' WHERE id = 1"),
            (third, "LOCK TABLE bulk IN ACCESS EXCLUSIVE MODE"),
        ):
            thread = threading.Thread(target=_run, args=(session, statement))
            thread.start()
            waiting.append(thread)
            _until_waiting(live, len(waiting))
        queues = get_queues(engine)
        assert queues is not None
        (queue,) = queues
        assert queue.session.application == "till"
        assert queue.session.state == "idle in transaction"
        assert queue.session.statement == "UPDATE bulk SET pad = …"
        names = {one.session.application for one in queue.behind}
        assert names == {"shop", "scan"}
        assert queue.length >= 2
        subject = session_name(queue.session.pid, queue.session.began)
        params = {"fix": "postgresql.end_session", "subjects": [subject], "check": ""}
        (told,) = execute(home, create(home, "fix", "live", "somebody", params))["told"]
        assert told == "The session of till has ended."
        for thread, session in zip(waiting, (second, third), strict=True):
            thread.join(10)
            assert not thread.is_alive()
            session.rollback()
        assert get_queues(engine) == ()


def _run(session: Any, statement: str) -> None:
    with suppress(psycopg2.Error):
        session.cursor().execute(statement)
        session.rollback()


def _until_waiting(live: PostgreSQLDatabase, number: int) -> None:
    ends = time.monotonic() + 10
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    while live.rows(f"{query} AND datname = current_database()") != [(number,)]:
        assert time.monotonic() < ends
        time.sleep(0.05)


def _session(pid: int, *waits_for: int) -> WaitingSession:
    return WaitingSession(pid, 0, f"p{pid}", "r", "d", "active", "", 1, waits_for)


def _shape(queue: Queue) -> Any:
    return queue.session.pid, [_shape(one) for one in queue.behind]


def test_the_tree_of_odd_queues() -> None:
    """Several in front, a ring, a blocker that nobody sees, and a prepared change (0)."""
    several = queues_of((_session(1), _session(2), _session(3, 1, 2)))
    assert sorted(map(_shape, several)) == [(1, [(3, [])]), (2, [(3, [])])]
    (ring,) = queues_of((_session(1, 2), _session(2, 1)))
    assert _shape(ring) == (1, [(2, [])])
    for unseen in (0, 99):
        (queue,) = queues_of((_session(1, unseen), _session(2, 1)))
        assert _shape(queue) == (1, [(2, [])])
    assert queues_of(()) == ()


@pytest.fixture(scope="module")
def counting() -> Iterator[RealPostgres]:
    """A server that keeps count of its statements: that takes Debian's PostgreSQL 15, because
    ours comes without the additions."""
    if not Path(DEBIAN.format(major=15), "postgres").exists() or not shutil.which("localedef"):
        pytest.skip("no PostgreSQL with pg_stat_statements on this machine")
    settings = {"shared_preload_libraries": "pg_stat_statements"}
    cluster = RealPostgres(15, settings, languages=["de_DE"])
    yield cluster
    cluster.stop()


def test_statements_that_take_the_time(counting: RealPostgres) -> None:
    engine = Target.parse("x", counting.url()).engine
    before = get_slow_statements(engine)
    assert before is not None
    assert [step.splitlines()[1] for step in before.steps] == [
        "CREATE EXTENSION pg_stat_statements;"
    ]
    counting.query("CREATE EXTENSION pg_stat_statements")
    counting.query("ALTER ROLE postgres SET work_mem = '5MB'")
    for _ in range(3):
        counting.query("SELECT 'a secret', pg_sleep(0.02)")
    for order in StatementOrder:
        found = get_slow_statements(engine, order)
        assert found is not None
        assert found.steps == ()
        assert found.since is not None
        assert "secret" not in str(found)
        assert "5MB" not in str(found), "what the server does not leave out, we do"
    by_total = get_slow_statements(engine, StatementOrder.TOTAL, most=3)
    assert by_total is not None
    assert len(by_total.statements) == 3
    slow = next(one for one in by_total.statements if "pg_sleep" in one.statement)
    assert slow.calls == 3
    assert 0.02 <= slow.mean_seconds < 1
    engine.dispose()


def test_starting_the_figures_anew_runs_nobody_elses_function(counting: RealPostgres) -> None:
    engine = Target.parse("x", counting.url()).engine
    counting.query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    counting.query("CREATE TABLE harm (done int)")
    counting.query(
        "CREATE FUNCTION pg_stat_statements_reset() RETURNS void LANGUAGE sql"
        " AS 'INSERT INTO public.harm VALUES (1)'"
    )
    fix = FIXES["postgresql.reset_statements"]
    assert "anew" in fix.apply(engine, "", SILENT)
    assert counting.query("SELECT FROM harm") == []
    found = get_slow_statements(engine)
    assert found is not None
    assert not any("CREATE FUNCTION" in one.statement for one in found.statements)
    engine.dispose()


@pytest.mark.parametrize("live", ["postgresql-16"], indirect=True)
def test_how_to_have_statements_counted(live: PostgreSQLDatabase) -> None:
    found = get_slow_statements(live.target.engine)
    assert found is not None
    assert found.statements == ()
    commands = [step.partition("\n")[2] for step in found.steps]
    assert all(commands)
    assert "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements';" in commands
    assert commands[-1] == "CREATE EXTENSION pg_stat_statements;"

"""What becomes of work that hangs, that does not heed a stop, or that only looks as if it hung."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from ops.dialects.postgresql.connect import connected
from ops.dialects.postgresql.sessions import attended
from ops.installation import Installation
from ops.jobs import Job, State, cancel, create, execute, look, minder, oversight, rows
from ops.jobs.oversight import look_after
from ops.jobs.work import WORK
from ops.journal import Journal, Step
from ops.locks import locks_of
from ops.programs import run
from ops.progress import Progress
from tests import processes
from tests.databases import LiveDatabase, PostgreSQLDatabase, SQLiteDatabase, filled_file
from tests.services.postgres import RealPostgres
from tests.waiting import ended, until

STALLED = 1.5
LONG = 3 * STALLED
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
COMPUTE = [sys.executable, "-c", f"import time; e = time.time() + {LONG}\nwhile time.time() < e: 1"]

Work = Callable[[Installation, Progress], None]


@pytest.fixture
def live(tmp_path: Path) -> SQLiteDatabase:
    """A small database; most work here does not touch it."""
    return filled_file(tmp_path)


def stands_still(_home: Installation, progress: Progress) -> None:
    """It reports, as the watch over a hung program does, and nothing comes of it."""
    while True:
        progress.report(1, 2, "Copying the database")
        time.sleep(0.05)


def is_deaf(_home: Installation, _progress: Progress) -> None:
    """A program that hangs, and nobody who asks whether to stop."""
    try:
        run(SLEEP, env=os.environ, watch=lambda: None)
    finally:
        time.sleep(60)


def is_deaf_for_a_while(_home: Installation, _progress: Progress) -> None:
    """As a restore is in its last step."""
    time.sleep(2)


def has_a_program_that_computes(_home: Installation, progress: Progress) -> None:
    """It does not say how far it is."""
    run(COMPUTE, env=os.environ, watch=lambda: progress.report(1, 2, "Checking"))


def computes(_home: Installation, _progress: Progress) -> None:
    """As SQLite does while it checks a large file, in this very process."""
    ends = time.monotonic() + LONG
    while time.monotonic() < ends:
        sum(range(1000))


def lets_the_server_work(home: Installation, progress: Progress) -> None:
    """One statement that takes long, such as an ANALYZE."""
    _ask(home, f"SELECT pg_sleep({LONG})", progress)


def waits_for_a_lock(home: Installation, progress: Progress) -> None:
    """One that somebody else holds, without a limit."""
    _ask(home, "SELECT pg_advisory_lock(4711)", progress)


def _ask(home: Installation, statement: str, progress: Progress) -> None:
    with connected(home.target("live").engine) as connection:
        attended(
            connection,
            lambda: connection.execute(text(statement)),
            lambda: progress.report(1, 2, "Telling the planner"),
        )


def _do(job_id: str, work: Work, times: Mapping[str, float], env: Mapping[str, str]) -> None:
    """The process of a job whose work this is, with shorter times."""
    os.environ.update(env)

    def instead(home: Installation, _target: str, _params: object, to: Progress) -> dict[str, Any]:
        work(home, to)
        return {}

    for name, seconds in times.items():
        setattr(minder, name, seconds)
    WORK["backup"] = instead
    execute(Installation.open(), job_id)


def _settings() -> dict[str, str]:
    """The fork server was started with another test's."""
    return {name: value for name, value in os.environ.items() if name.startswith("OPS_")}


def _started(home: Installation, work: Work, **times: float) -> tuple[str, BaseProcess]:
    job_id = create(home, "backup", "live", "somebody", {})
    process = processes.started(_do, job_id, work, times, _settings())
    until(home, job_id, lambda job: job.state is State.RUNNING)
    return job_id, process


def test_work_that_stands_still_is_ended_and_shown_as_what_it_is(home: Installation) -> None:
    job_id, process = _started(home, stands_still, STALLED_SECONDS=0.5)
    job = ended(home, job_id)
    assert job.state is State.INTERRUPTED
    assert job.error is not None
    assert "had not moved for" in job.error["error"]
    process.join(10)
    assert process.exitcode == 1


def test_what_hangs_and_heeds_nothing_is_killed_and_its_target_freed(home: Installation) -> None:
    times = {"STALLED_SECONDS": 0.5, "_CHILDREN_SECONDS": 0.3, "_LAST_RESORT_SECONDS": 0.3}
    job_id, process = _started(home, is_deaf, **times)
    job = ended(home, job_id)
    process.join(10)
    assert (job.state, process.exitcode) == (State.INTERRUPTED, -signal.SIGKILL)
    assert rows.claim_on(home, "live") is not None
    look_after(home)
    assert rows.claim_on(home, "live") is None


@pytest.mark.parametrize("work", [has_a_program_that_computes, computes])
def test_long_work_that_reports_nothing_new_is_left_alone(home: Installation, work: Work) -> None:
    job_id, _ = _started(home, work, STALLED_SECONDS=STALLED)
    assert ended(home, job_id).state is State.DONE


class TestOnAServer:
    """The same with PostgreSQL, whose work is seen on the server only."""

    @pytest.fixture
    def live(self, pg16: RealPostgres) -> Any:
        database = PostgreSQLDatabase(pg16)
        yield database
        database.close()

    def test_a_long_statement_is_left_alone(self, home: Installation) -> None:
        job_id, _ = _started(home, lets_the_server_work, STALLED_SECONDS=2.5)
        assert ended(home, job_id).state is State.DONE

    def test_one_that_waits_for_a_lock_is_ended(
        self, home: Installation, live: LiveDatabase, pg16: RealPostgres
    ) -> None:
        with connected(live.target.engine) as other:
            other.execute(text("SELECT pg_advisory_lock(4711)"))
            job_id, _ = _started(home, waits_for_a_lock, STALLED_SECONDS=STALLED)
            assert ended(home, job_id).state is State.INTERRUPTED
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            assert pg16.query(waiting) == [(0,)]


def test_cancelling_ends_programs_within_five_seconds_and_deaf_work_after_that(
    home: Installation,
) -> None:
    job_id, process = _started(home, is_deaf, _LAST_RESORT_SECONDS=0.5)
    assert process.pid
    while not (programs := psutil.Process(process.pid).children()):
        time.sleep(0.02)
    cancel(home, job_id)
    began = time.monotonic()
    assert psutil.wait_procs(programs, timeout=10)[1] == []
    assert time.monotonic() - began < 5
    job = ended(home, job_id)
    process.join(10)
    assert (job.state, process.exitcode) == (State.CANCELLED, -signal.SIGKILL)


def test_a_restore_at_its_swap_is_not_killed_for_not_heeding(home: Installation) -> None:
    journal = Journal.begin(home.folder, "live", "sqlite", "restore", "some archive")
    journal.advance(Step.SWAPPING)
    times = {"_CHILDREN_SECONDS": 0.1, "_LAST_RESORT_SECONDS": 0.1}
    job_id, _ = _started(home, is_deaf_for_a_while, **times)
    cancel(home, job_id)
    assert ended(home, job_id).state is State.DONE


def _ended_from_outside(home: Installation, job_id: str) -> Job:
    """The job once who looks after all jobs has ended its process."""
    ends = time.monotonic() + 10
    while (job := look(home, job_id)).is_active:
        assert time.monotonic() < ends
        look_after(home)
        time.sleep(0.1)
    return job


def test_a_process_that_is_frozen_is_ended_from_outside(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oversight, "_HEED_SECONDS", 0.5)
    job_id, process = _started(home, stands_still)
    frozen = psutil.Process(process.pid)
    frozen.suspend()
    look_after(home)
    assert look(home, job_id).state is State.RUNNING
    cancel(home, job_id)
    assert _ended_from_outside(home, job_id).state is State.CANCELLED
    look_after(home)
    assert rows.claim_on(home, "live") is None
    assert not locks_of(home.folder).is_held(oversight.lock_of(job_id))


def test_work_that_cannot_write_to_the_store_is_not_taken_for_frozen(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oversight, "STALLED_SECONDS", 0.5)
    job_id, process = _started(home, computes, _BEAT_SECONDS=60)
    ends = time.monotonic() + 1.5
    while time.monotonic() < ends:
        look_after(home)
        assert process.is_alive()
        time.sleep(0.1)
    psutil.Process(process.pid).suspend()
    assert _ended_from_outside(home, job_id).state is State.INTERRUPTED


def test_a_late_sign_of_life_does_not_undo_the_end(home: Installation) -> None:
    job_id = create(home, "backup", "live", "somebody", {})
    rows.end(home, job_id, State.DONE, done=1, total=1)
    rows.beat(home, job_id, done=0.9, note="Packing the ZIP")
    assert look(home, job_id).state is State.DONE


def test_old_jobs_are_forgotten_but_for_the_newest(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oversight, "KEEP_ROWS", 2)
    made = []
    for _ in range(4):
        job_id = create(home, "backup", "live", "somebody", {})
        cancel(home, job_id)
        made.append(job_id)
        time.sleep(0.002)
    made.append(create(home, "backup", "live", "somebody", {}))
    oversight.thin(home)
    assert [job.id for job in rows.newest(home, None, 10)] == made[:1:-1]
    monkeypatch.setattr(oversight, "KEEP_DAYS", 0)
    oversight.thin(home)
    assert [job.id for job in rows.newest(home, None, 10)] == made[-1:]

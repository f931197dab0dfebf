"""Scheduled runs: begun when they are due, once, whatever dies in between."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from ops import Catalog, jobs
from ops.activity import SCHEDULE
from ops.installation import Installation
from ops.jobs import Job, State
from ops.runs import PAUSES, Run, RunState, begin_due, recent_runs
from ops.schedule import Plan, Routine, plan_from, save_plan, schedule_of
from ops.store import scheduled_runs, schedules
from tests import processes
from tests.databases import SQLiteDatabase, filled_file

ONLY_BACKUPS = Plan(zone="Europe/Berlin", test=None, recheck=None)


@pytest.fixture
def live(tmp_path: Path) -> SQLiteDatabase:
    """A small database."""
    return filled_file(tmp_path, rows=10)


def _chosen_long_ago(home: Installation, plan: Plan = ONLY_BACKUPS) -> None:
    """A plan that has been in force for a week."""
    since = time.time() - 7 * 24 * 3600
    row = {"target": "live", "plan": plan.model_dump(mode="json"), "since": since, "who": "test"}
    with home.store.begin() as store:
        store.execute(insert(schedules).values(row))


def _run(home: Installation) -> Run:
    (run,) = recent_runs(home, "live")
    return run


def _jobs(home: Installation) -> list[Job]:
    return [job for job in jobs.recent(home, "live") if job.who == SCHEDULE]


def _wait_for_jobs(home: Installation, count: int) -> list[Job]:
    ends = time.monotonic() + 60
    while len(found := _jobs(home)) < count or any(job.is_active for job in found):
        assert time.monotonic() < ends, found
        time.sleep(0.05)
    return found


def _wait_until_it_runs(home: Installation) -> Job:
    """The one job of the schedule, at work in its process."""
    ends = time.monotonic() + 60
    while (job := _jobs(home)[0]).state is State.WAITING:
        assert time.monotonic() < ends
        time.sleep(0.05)
    return job


@contextmanager
def _under_way(home: Installation) -> Iterator[None]:
    """Other work on the target: a job that has not ended."""
    job_id = jobs.create(home, "backup", "live", "somebody", {})
    yield
    jobs.execute(home, job_id)


def test_what_is_due_is_begun_once_and_its_end_is_noted(home: Installation) -> None:
    _chosen_long_ago(home)
    for _ in range(3):
        begin_due(home)
    (job,) = _wait_for_jobs(home, 1)
    assert (job.kind, job.state) == ("backup", State.DONE)
    begin_due(home)
    run = _run(home)
    assert (run.state, run.job, run.tries) == (RunState.DONE, job.id, 0)
    assert run.due_at == ONLY_BACKUPS.timetables()[Routine.BACKUP].last_run(datetime.now(UTC))
    assert len(Catalog(home.folder, "live").entries()) == 1


def test_a_plan_that_was_made_while_the_clock_was_wrong_is_in_force(home: Installation) -> None:
    _chosen_long_ago(home)
    with home.store.begin() as store:
        store.execute(update(schedules).values(since=time.time() + 10 * 365 * 24 * 3600))
    with _under_way(home):
        begin_due(home)
    assert len(recent_runs(home, "live")) == 1


def test_a_plan_is_not_due_for_the_time_before_it_was_made(home: Installation) -> None:
    save_plan(home, "live", ONLY_BACKUPS, "somebody")
    begin_due(home)
    assert recent_runs(home, "live") == []
    found = schedule_of(home, "live")
    assert found is not None
    save_plan(home, "live", plan_from({"keep": {"daily": 3}}, ONLY_BACKUPS), "somebody")
    kept = schedule_of(home, "live")
    assert kept is not None
    assert kept.since == found.since, "other numbers to keep leave the times as they are"
    with _under_way(home):
        begin_due(home, found.next_backups(found.since, 1)[0])
    assert len(recent_runs(home, "live")) == 1


def _look_at_once(consoles: Sequence[Installation]) -> None:
    """Each looks at the same instant whether something is due."""
    gate = threading.Barrier(len(consoles))

    def look(console: Installation) -> None:
        gate.wait()
        begin_due(console)

    threads = [threading.Thread(target=look, args=(console,)) for console in consoles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_two_consoles_with_one_store_begin_one_run(home: Installation) -> None:
    _chosen_long_ago(home)
    consoles = [Installation.open() for _ in range(4)]
    _look_at_once(consoles)
    for console in consoles:
        console.store.dispose()
    assert len(_wait_for_jobs(home, 1)) == 1
    assert len(recent_runs(home, "live")) == 1


def test_consoles_on_several_machines_share_a_store_and_begin_one_run(
    home: Installation, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_STORE_URL", store_url)
    machines = []
    for number in range(2):
        monkeypatch.setenv("OPS_DATA_DIR", str(tmp_path / f"machine-{number}"))
        machines.append(Installation.open())
    _chosen_long_ago(machines[0])
    _look_at_once(machines)
    assert len(_wait_for_jobs(machines[0], 1)) == 1
    begin_due(machines[1])
    assert _run(machines[1]).state is RunState.DONE
    kept = [Catalog(machine.folder, "live").entries() for machine in machines]
    assert sorted(map(len, kept)) == [0, 1]
    for machine in machines:
        machine.store.dispose()


def test_a_busy_target_is_waited_for(home: Installation) -> None:
    _chosen_long_ago(home)
    with _under_way(home):
        begin_due(home)
        assert _run(home).state is RunState.WAITING
        assert _jobs(home) == []
    begin_due(home)
    assert _run(home).state is RunState.RUNNING
    _wait_for_jobs(home, 1)


def test_a_run_that_waits_is_left_to_the_next_one(home: Installation) -> None:
    _chosen_long_ago(home)
    with _under_way(home):
        begin_due(home)
        begin_due(home, datetime.now(UTC) + timedelta(days=1))
    newer, older = recent_runs(home, "live")
    assert (newer.state, older.state) == (RunState.WAITING, RunState.OVERTAKEN)


def test_days_without_the_console_are_made_up_by_one_run(home: Installation) -> None:
    _chosen_long_ago(home)
    begin_due(home, datetime.now(UTC) + timedelta(days=5, hours=3))
    assert len(_wait_for_jobs(home, 1)) == 1
    assert len(recent_runs(home, "live")) == 1


def test_what_was_missed_is_not_made_up_where_nobody_wants_that(home: Installation) -> None:
    plan = plan_from({"makes_up": False}, ONLY_BACKUPS)
    _chosen_long_ago(home, plan)
    due = plan.timetables()[Routine.BACKUP].next_runs(datetime.now(UTC), 2)
    begin_due(home, due[0] + timedelta(hours=1))
    assert _run(home).state is RunState.MISSED
    begin_due(home, due[1] + timedelta(seconds=20))
    assert len(_wait_for_jobs(home, 1)) == 1
    assert [run.state for run in recent_runs(home, "live")] == [RunState.RUNNING, RunState.MISSED]


def test_a_plan_that_is_switched_off_begins_nothing(home: Installation) -> None:
    _chosen_long_ago(home)
    with _under_way(home):
        begin_due(home)
    save_plan(home, "live", plan_from({"is_on": False}, ONLY_BACKUPS), "somebody")
    begin_due(home, datetime.now(UTC) + timedelta(days=3))
    assert _run(home).state is RunState.OVERTAKEN
    assert _jobs(home) == []


@pytest.mark.parametrize("month", [3, 10])
def test_across_the_change_of_the_clock_one_run_a_day(home: Installation, month: int) -> None:
    """Looked at every ten minutes through the night in which Berlin changes its clocks."""
    _chosen_long_ago(home, plan_from({"backup": "30 2 * * *"}, ONLY_BACKUPS))
    start = datetime(2027, month, 27 if month == 3 else 30, 12, tzinfo=UTC)
    with _under_way(home):
        for minutes in range(0, 48 * 60, 10):
            begin_due(home, start + timedelta(minutes=minutes))
        moments = sorted(run.due_at for run in recent_runs(home, "live"))
    shown = [moment.astimezone(UTC).strftime("%d %H:%M") for moment in moments[1:]]
    assert shown == (["28 01:00", "29 00:30"] if month == 3 else ["31 00:30", "01 01:30"])


def test_a_run_that_fails_is_tried_again_with_growing_pauses_then_reported(
    home: Installation, live: SQLiteDatabase
) -> None:
    _chosen_long_ago(home)
    content = live.path.read_bytes()
    live.path.write_bytes(b"not a database" * 100)
    begin_due(home)
    (failed,) = _wait_for_jobs(home, 1)
    assert failed.state is State.FAILED
    begin_due(home)
    run = _run(home)
    assert (run.state, run.tries) == (RunState.WAITING, 1)
    assert run.next_try == pytest.approx((failed.ended or 0) + PAUSES[0])
    assert run.error
    assert run.error["error"]

    def in_seconds(seconds: float) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=seconds)

    begin_due(home, in_seconds(PAUSES[0] - 60))
    assert len(_jobs(home)) == 1, "too early"
    begin_due(home, in_seconds(PAUSES[0] + 1))
    _wait_for_jobs(home, 2)
    begin_due(home)
    run = _run(home)
    assert run.tries == 2
    assert run.next_try - run.changed == pytest.approx(PAUSES[1])

    with home.store.begin() as store:
        store.execute(update(scheduled_runs).values(tries=len(PAUSES), next_try=0))
    begin_due(home)
    _wait_for_jobs(home, 3)
    begin_due(home, in_seconds(3600))
    assert (_run(home).state, _run(home).tries) == (RunState.FAILED, len(PAUSES) + 1)
    begin_due(home, in_seconds(7200))
    assert len(_jobs(home)) == 3, "given up"

    live.path.write_bytes(content)
    begin_due(home, datetime.now(UTC) + timedelta(days=1))
    _wait_for_jobs(home, 4)
    begin_due(home)
    assert recent_runs(home, "live")[0].state is RunState.DONE


def test_a_run_whose_process_is_killed_is_tried_again(
    home: Installation, live: SQLiteDatabase
) -> None:
    _chosen_long_ago(home)
    with _nobody_may_read(live):
        begin_due(home)
        processes.of_job(_wait_until_it_runs(home).id).kill()
        (job,) = _wait_for_jobs(home, 1)
        assert job.state is State.INTERRUPTED
    begin_due(home)
    assert (_run(home).state, _run(home).tries) == (RunState.WAITING, 1)
    begin_due(home, datetime.now(UTC) + timedelta(minutes=6))
    _wait_for_jobs(home, 2)
    begin_due(home)
    assert _run(home).state is RunState.DONE


@contextmanager
def _nobody_may_read(live: SQLiteDatabase) -> Iterator[None]:
    """A backup of the database waits until this is over."""
    with closing(sqlite3.connect(live.path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_a_run_that_was_taken_by_a_console_which_died_is_begun_by_another(
    home: Installation,
) -> None:
    _chosen_long_ago(home)
    with _under_way(home):
        begin_due(home)
    taken = {"state": RunState.RUNNING, "job": None, "changed": time.time() - 3600}
    with home.store.begin() as store:
        store.execute(update(scheduled_runs).values(taken))
    begin_due(home)
    _wait_for_jobs(home, 1)
    begin_due(home)
    assert _run(home).state is RunState.DONE


def test_a_run_whose_job_was_begun_but_not_noted_finds_it(home: Installation) -> None:
    _chosen_long_ago(home)
    begin_due(home)
    (job,) = _wait_for_jobs(home, 1)
    with home.store.begin() as store:
        store.execute(update(scheduled_runs).values(job=None, changed=job.created))
    begin_due(home)
    assert (_run(home).state, _run(home).job) == (RunState.DONE, job.id)


def test_what_a_person_stops_stays_stopped(home: Installation, live: SQLiteDatabase) -> None:
    _chosen_long_ago(home)
    with _nobody_may_read(live):
        begin_due(home)
        jobs.cancel(home, _wait_until_it_runs(home).id)
        time.sleep(3)  # it hears of it
    (job,) = _wait_for_jobs(home, 1)
    assert job.state is State.CANCELLED
    begin_due(home, datetime.now(UTC) + timedelta(hours=1))
    assert _run(home).state is RunState.CANCELLED
    assert len(_jobs(home)) == 1


def test_what_a_shutdown_stops_is_tried_again(home: Installation, live: SQLiteDatabase) -> None:
    """It sends SIGTERM to every process, and nobody has asked for that."""
    _chosen_long_ago(home)
    with _nobody_may_read(live):
        begin_due(home)
        processes.of_job(_wait_until_it_runs(home).id).send_signal(signal.SIGTERM)
    (job,) = _wait_for_jobs(home, 1)
    assert job.state is State.CANCELLED
    begin_due(home)
    waiting = _run(home)
    assert (waiting.state, waiting.tries) == (RunState.WAITING, 1)
    begin_due(home, datetime.now(UTC) + timedelta(hours=1))
    _wait_for_jobs(home, 2)
    begin_due(home, datetime.now(UTC) + timedelta(hours=1))
    assert _run(home).state is RunState.DONE


def test_the_newest_backup_is_proved_and_all_are_read_on_their_days(home: Installation) -> None:
    plan = Plan(backup="0 3 1 1 *", test="0 0 * * *", recheck="0 1 * * *")
    _chosen_long_ago(home, plan)
    begin_due(home)  # there is no backup yet: nothing to prove, nothing to read
    assert {run.state for run in recent_runs(home, "live")} == {RunState.DONE}
    jobs.execute(home, jobs.create(home, "backup", "live", "somebody", {}))
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    begin_due(home, tomorrow)
    _wait_for_jobs(home, 1)
    begin_due(home, tomorrow)
    _wait_for_jobs(home, 2)
    begin_due(home, tomorrow)
    (entry,) = Catalog(home.folder, "live").entries()
    assert entry.tested
    assert entry.tested.passed
    assert entry.checked
    assert entry.checked.passed
    assert {job.kind for job in _jobs(home)} == {"test", "recheck"}
    assert {run.state for run in recent_runs(home, "live")} == {RunState.DONE}

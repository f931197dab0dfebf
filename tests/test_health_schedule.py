"""Findings about what keeps backups coming: each bad state is seen, and goes when it is mended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from ops import Catalog, jobs
from ops.backup_health import findings_about_backups
from ops.checks.backups import BackupFact, backup_findings
from ops.checks.backups_schedule import RunFact, ScheduleFact, Upkeep
from ops.checks.base import Finding, Level
from ops.installation import Installation
from ops.runs import RunState, begin_due
from ops.schedule import Plan, plan_from, save_plan
from ops.store import scheduled_runs, schedules
from ops.verify import recheck_all
from tests.calendars import back_up_daily, damage
from tests.databases import SQLiteDatabase, filled_file

NOW = datetime(2027, 5, 4, 12, 0, tzinfo=UTC)
DAILY = ScheduleFact(True, "every day at 03:00 (UTC)", 24 * 3600)
MB = 1 << 20


def _finding(id: str, upkeep: Upkeep, archives: Sequence[BackupFact] = ()) -> Finding:
    found = backup_findings(archives, NOW, upkeep=upkeep)
    finding = next(finding for finding in found if finding.id == f"backups.{id}")
    if finding.level in (Level.SOON, Level.NOW):
        assert finding.why
        assert finding.fix
    return finding


def _backups(*megabytes: float) -> list[BackupFact]:
    """Good backups of these sizes, the newest first, a day between two."""
    return [
        BackupFact(NOW - timedelta(days=day, hours=1), int(size * MB), True, f"shop-{day}.zip")
        for day, size in enumerate(megabytes)
    ]


def _runs(*states: str, tries: int = 0, kind: str = "backup", hours: float = 9) -> list[RunFact]:
    reason = "The server does not answer." if tries else ""
    return [
        RunFact(kind, NOW - timedelta(days=day, hours=hours), state, tries, reason)
        for day, state in enumerate(states)
    ]


def test_no_schedule_or_one_that_is_off_is_to_be_looked_at() -> None:
    assert _finding("schedule", Upkeep(None)).level is Level.SOON
    off = _finding("schedule", Upkeep(ScheduleFact(False, "every day", 86_400)))
    assert (off.level, "switched off" in off.sentence) == (Level.SOON, True)
    on = _finding("schedule", Upkeep(DAILY))
    assert on.level is Level.GOOD
    assert "every day at 03:00 (UTC)" in on.sentence
    unread = _finding("schedule", Upkeep(None, unreadable="no zone"))
    assert (unread.level, unread.technical.startswith("no zone")) == (Level.UNKNOWN, True)


@pytest.mark.parametrize(
    ("gap_hours", "age_hours", "level"),
    [
        (24, 25, Level.GOOD),
        (24, 37, Level.SOON),
        (24, 61, Level.NOW),
        (1, 1.2, Level.GOOD),
        (1, 2, Level.SOON),
        (1, 3, Level.NOW),
        (7 * 24, 200, Level.GOOD),
        (7 * 24, 300, Level.SOON),
    ],
)
def test_the_age_is_judged_by_the_schedule(gap_hours: int, age_hours: float, level: Level) -> None:
    schedule = ScheduleFact(True, "", gap_hours * 3600)
    backup = BackupFact(NOW - timedelta(hours=age_hours), MB, True, "shop.zip")
    assert _finding("age", Upkeep(schedule), [backup]).level is level


def test_an_age_is_judged_as_daily_where_the_schedule_is_off() -> None:
    schedule = ScheduleFact(False, "", 7 * 24 * 3600)
    backup = BackupFact(NOW - timedelta(hours=61), MB, True, "shop.zip")
    assert _finding("age", Upkeep(schedule), [backup]).level is Level.NOW


def test_runs_that_failed_are_told_with_the_reason_and_counted() -> None:
    one = _finding("runs", Upkeep(DAILY, [*_runs("failed", tries=4), *_runs("done")]))
    assert one.level is Level.SOON
    assert "1 scheduled run in a row" in one.sentence
    assert "The server does not answer." in one.sentence
    two = _finding("runs", Upkeep(DAILY, _runs("failed", "failed", "done", tries=4)))
    assert two.level is Level.NOW
    again = _finding("runs", Upkeep(DAILY, _runs("waiting", tries=1)))
    assert (again.level, "tried again by itself" in again.sentence) == (Level.SOON, True)
    mended = _finding("runs", Upkeep(DAILY, [*_runs("done"), *_runs("failed", tries=4)]))
    assert mended.level is Level.GOOD
    assert _finding("runs", Upkeep(DAILY)).level is Level.GOOD


def test_a_missed_a_stopped_and_a_waiting_run() -> None:
    missed = _finding("runs", Upkeep(DAILY, _runs("missed", "done")))
    assert (missed.level, "was missed" in missed.sentence) == (Level.SOON, True)
    assert "made up" in missed.fix
    waiting = _finding("runs", Upkeep(DAILY, _runs("waiting")))
    assert (waiting.level, "still waits" in waiting.sentence) == (Level.SOON, True)
    assert _finding("runs", Upkeep(DAILY, _runs("waiting", hours=0.1))).level is Level.GOOD
    made_up = RunFact("backup", NOW - timedelta(days=4), "waiting", next_try=NOW)
    assert _finding("runs", Upkeep(DAILY, [made_up])).level is Level.GOOD
    assert _finding("runs", Upkeep(DAILY, _runs("cancelled"))).level is Level.GOOD


def test_a_run_of_a_wrong_clock_hides_none_of_today() -> None:
    ahead = RunFact("backup", NOW + timedelta(days=3650), "done")
    finding = _finding("runs", Upkeep(DAILY, [ahead, *_runs("failed", "failed", tries=4)]))
    assert finding.level is Level.NOW


def test_a_test_restore_that_cannot_be_done_is_told_beside_good_backups() -> None:
    runs = [*_runs("done"), *_runs("failed", tries=4, kind="test")]
    finding = _finding("runs", Upkeep(DAILY, runs))
    assert (finding.level, "scheduled test restore" in finding.sentence) == (Level.SOON, True)


def test_a_size_far_from_the_usual() -> None:
    def level(*sizes: float) -> Level:
        return _finding("size", Upkeep(DAILY), _backups(*sizes)).level

    assert level(10, 10, 11, 9) is Level.GOOD
    assert level(7.9, 10, 10, 10) is Level.SOON
    assert level(4, 10, 10, 10) is Level.NOW
    assert level(21, 10, 10, 10) is Level.SOON
    assert level(0.01, 0.1, 0.1, 0.1) is Level.GOOD, "quiet below 1 MB"
    assert level(1, 10, 10) is Level.GOOD, "too few to say"
    assert "smaller" in _finding("size", Upkeep(DAILY), _backups(4, 10, 10, 10)).sentence


def test_a_backup_that_takes_much_longer_than_usual() -> None:
    def level(*seconds: float) -> Level:
        return _finding("duration", Upkeep(DAILY, seconds=seconds)).level

    assert level(100, 90, 80, 110) is Level.GOOD
    assert level(250, 90, 80, 110) is Level.SOON
    assert level(50, 1, 1, 1) is Level.GOOD, "quiet below a minute"
    assert level(500, 1, 1) is Level.GOOD, "too few to say"


def test_backups_that_have_gone_are_named() -> None:
    finding = _finding("missing", Upkeep(DAILY, missing=["a.zip", "b.zip"]))
    assert finding.level is Level.SOON
    assert finding.sentence.startswith("2 kept backups have disappeared")
    assert "a.zip and b.zip" in finding.sentence
    assert _finding("missing", Upkeep(DAILY)).level is Level.GOOD


def test_a_file_that_nobody_has_read_for_weeks() -> None:
    old = BackupFact(NOW - timedelta(days=30), MB, True, "old.zip")
    assert _finding("reread", Upkeep(DAILY), [old]).level is Level.SOON
    read = BackupFact(old.created_at, MB, True, "old.zip", read_at=NOW - timedelta(days=6))
    assert _finding("reread", Upkeep(DAILY), [read]).level is Level.GOOD


def test_room_for_the_next_three() -> None:
    def level(free: float) -> Level:
        upkeep = Upkeep(DAILY, free_bytes=int(free * MB))
        return _finding("next_room", upkeep, _backups(10, 20)).level

    assert level(30) is Level.GOOD
    assert level(29) is Level.SOON
    assert level(11) is Level.NOW


@pytest.fixture
def live(tmp_path: Path) -> SQLiteDatabase:
    """A small database."""
    return filled_file(tmp_path, rows=10)


def _look(home: Installation, id: str) -> Finding:
    entries = Catalog(home.folder, "live").entries()
    found = findings_about_backups(home, home.target("live"), entries)
    return next(finding for finding in found if finding.id == f"backups.{id}")


def test_in_a_real_installation_each_comes_and_goes(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _look(home, "schedule").level is Level.SOON
    save_plan(home, "live", Plan(), "somebody")
    assert _look(home, "schedule").level is Level.GOOD
    save_plan(home, "live", plan_from({"is_on": False}, Plan()), "somebody")
    assert _look(home, "schedule").level is Level.SOON
    with home.store.begin() as store:
        store.execute(update(schedules).values(plan={"zone": "Nowhere"}))
    assert _look(home, "schedule").level is Level.UNKNOWN
    save_plan(home, "live", Plan(), "somebody")

    made = back_up_daily(monkeypatch, live.target, home.folder, 3)
    catalog, folder = Catalog(home.folder, "live"), home.folder.backups("live")
    (folder / made[2]).rename(folder / "moved away")
    assert _look(home, "missing").level is Level.SOON
    (folder / "moved away").rename(folder / made[2])
    assert _look(home, "missing").level is Level.GOOD

    damage(folder / made[1])
    recheck_all(live.target, home.folder)
    assert _look(home, "failed").level is Level.NOW
    assert made[1] in _look(home, "failed").sentence
    catalog.delete(made[1])
    assert _look(home, "failed").level is Level.GOOD


def test_a_failed_run_is_a_finding_until_one_succeeds(
    home: Installation, live: SQLiteDatabase
) -> None:
    since = {"since": time.time() - 7 * 24 * 3600, "who": "test"}
    plan = Plan(test=None, recheck=None).model_dump(mode="json")
    with home.store.begin() as store:
        store.execute(insert(schedules).values(target="live", plan=plan, **since))
    begin_due(home)
    while any(job.is_active for job in jobs.recent(home, "live")):
        time.sleep(0.05)
    begin_due(home)
    assert _look(home, "runs").level is Level.GOOD
    failed = {"state": RunState.FAILED, "tries": 4, "error": {"error": "No room."}}
    with home.store.begin() as store:
        store.execute(update(scheduled_runs).values(failed))
    assert _look(home, "runs").level is Level.SOON
    assert "No room." in _look(home, "runs").sentence

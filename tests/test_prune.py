"""Deleting old backups: real archives, and everything that keeps one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops import Catalog, restore_backup
from ops.errors import Busy, Refused
from ops.installation import Installation
from ops.jobs.work import WORK
from ops.journal import Journal
from ops.locks import target_lock
from ops.progress import SILENT
from ops.prune import look_ahead, prune
from ops.retention import Policy
from ops.schedule import Plan, save_plan
from ops.verify import prove_archive, recheck_all
from tests.calendars import back_up_at, back_up_daily, damage
from tests.databases import SQLiteDatabase, filled_file

SMALL = Plan(keep=Policy(daily=2, weekly=0, monthly=0))


@pytest.fixture
def live(tmp_path: Path) -> SQLiteDatabase:
    """A small database."""
    return filled_file(tmp_path, rows=10)


def _names(home: Installation) -> set[str]:
    return {entry.name for entry in Catalog(home.folder, "live").entries()}


def test_what_is_told_beforehand_is_what_happens(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 5)
    told = look_ahead(live.target, home.folder, SMALL)
    assert told.deleted == made[2:]
    assert told.freed_bytes > 0
    assert _names(home) == set(made)
    assert prune(live.target, home.folder, SMALL).deleted == made[2:]
    assert _names(home) == set(made[:2])
    assert not list(home.folder.backups("live").glob(f"{made[4]}*")), "its note goes with it"
    assert prune(live.target, home.folder, SMALL).deleted == []


def test_what_somebody_holds_or_needs_or_proved_stays(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 7)
    catalog = Catalog(home.folder, "live")
    catalog.hold(made[3])
    prove_archive(live.target, home.folder.backups("live") / made[4], home.folder)
    Journal.begin(home.folder, "live", "sqlite", "restore", made[5])  # it was interrupted
    catalog.set_label(made[6], "before the move")
    assert prune(live.target, home.folder, SMALL).deleted == [made[2]]

    with pytest.raises(Refused, match="is held"):
        catalog.delete(made[3])
    catalog.let_go(made[3])
    assert prune(live.target, home.folder, SMALL).deleted == [made[3]]


def test_the_last_good_backup_stays_however_old_when_the_newer_ones_are_damaged(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 4)
    for name in made[:3]:
        damage(home.folder.backups("live") / name)
    recheck_all(live.target, home.folder)
    result = prune(live.target, home.folder, SMALL)
    assert result.deleted == []
    reasons = {decision.backup.name: decision.reason for decision in result.decisions}
    assert reasons[made[3]] == "The newest good backup"
    assert "cannot be trusted" in reasons[made[0]]


def test_an_undo_point_is_not_touched(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 4)
    live.drift()
    before = live.fingerprint()
    restore_backup(live.target, home.folder.backups("live") / made[0], home.folder)
    prune(live.target, home.folder, Plan(keep=Policy(daily=1, weekly=0, monthly=0)))
    WORK["undo"](home, "live", {}, SILENT)
    assert live.fingerprint() == before


def test_other_work_keeps_it_away(home: Installation, live: SQLiteDatabase) -> None:
    with target_lock(home.folder, live.target), pytest.raises(Busy):
        prune(live.target, home.folder, SMALL)


def test_a_hold_that_comes_at_the_last_moment_counts(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 4)
    catalog = Catalog(home.folder, "live")

    class Slow(type(SILENT)):  # type: ignore[misc]
        def report(self, done: float, total: float, note: str = "") -> None:
            if done == 0:
                catalog.hold(made[3])

    result = prune(live.target, home.folder, SMALL, progress=Slow())
    assert result.deleted == [made[2]]
    assert made[3] in _names(home)


def test_a_scheduled_backup_tidies_up_after_itself_and_one_by_hand_does_not(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 4)
    save_plan(home, "live", SMALL, "somebody")
    WORK["backup"](home, "live", {}, SILENT)
    assert set(made) <= _names(home)
    done = WORK["backup"](home, "live", {"scheduled": 1.0}, SILENT)
    assert done["deleted"] == made[1:], "today's is the first of the two days"
    assert done["notes"] == ["3 old backups deleted, as the schedule says."]
    assert _names(home) & set(made) == {made[0]}
    assert Path(done["archive"]).exists()


def test_reading_all_again_finds_the_one_that_changed(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 3)
    damage(home.folder.backups("live") / made[1])
    assert recheck_all(live.target, home.folder) == {
        "whole": 2,
        "changed": [made[1]],
        "unknown": [],
    }


def test_what_goes_behind_our_back_is_missed(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC) - timedelta(days=3)
    gone = back_up_at(monkeypatch, live.target, home.folder, now)
    deleted = back_up_at(monkeypatch, live.target, home.folder, now - timedelta(days=1))
    catalog = Catalog(home.folder, "live")
    catalog.hold(gone)
    (home.folder.backups("live") / gone).unlink()
    catalog.delete(deleted)
    assert catalog.missing() == [gone]
    catalog.forget_missing()
    assert catalog.missing() == []
    assert list(home.folder.backups("live").iterdir()) == []

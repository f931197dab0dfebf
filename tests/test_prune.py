"""Deleting old backups: real archives, and everything that keeps one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ops import Catalog, DataFolder, restore_backup, verify
from ops.backup_health import findings_about_backups
from ops.checks.base import Level
from ops.errors import Busy, Refused
from ops.installation import Installation
from ops.jobs.work import WORK
from ops.journal import Journal
from ops.locks import target_lock
from ops.progress import SILENT, Progress
from ops.prune import look_ahead, prune
from ops.retention import Policy
from ops.schedule import Plan, save_plan
from ops.settings import Settings
from ops.store import open_store
from ops.verify import prove_archive, recheck_all
from tests.calendars import back_up_at, back_up_daily, damage
from tests.databases import SQLiteDatabase, filled_file
from tests.small_disk import small_disk

SMALL = Plan(keep=Policy(daily=2, weekly=0, monthly=0))


@pytest.fixture
def live(tmp_path: Path) -> SQLiteDatabase:
    """A small database."""
    return filled_file(tmp_path, rows=10)


class Just(Progress):
    """Does something at the last moment before the first one is deleted."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def report(self, done: float, total: float, note: str = "") -> None:
        if done == 0:
            self._act()


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

    result = prune(live.target, home.folder, SMALL, progress=Just(lambda: catalog.hold(made[3])))
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


def test_what_was_named_stays_where_its_note_cannot_be_read_any_more(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 4)
    catalog = Catalog(home.folder, "live")
    catalog.set_label(made[3], "before the move")
    note = home.folder.backups("live") / f"{made[3]}.note.json"
    note.write_bytes(note.read_bytes()[:20])
    assert prune(live.target, home.folder, SMALL).deleted == [made[2]]
    finding = next(
        found
        for found in findings_about_backups(home, live.target, catalog.entries())
        if found.id == "backups.notes"
    )
    assert (finding.level, made[3] in finding.sentence) == (Level.SOON, True)
    prove_archive(live.target, home.folder.backups("live") / made[3], home.folder)
    assert catalog.entry(made[3]).is_note_lost, "what a test notes is not all that there was"
    catalog.set_label(made[3], "before the move")
    assert not catalog.entry(made[3]).is_note_lost


def test_a_note_that_can_be_read_again_counts_again(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a test has noted meanwhile counts as well."""
    made = back_up_daily(monkeypatch, live.target, home.folder, 4)
    catalog = Catalog(home.folder, "live")
    catalog.set_label(made[3], "before the move")
    note = home.folder.backups("live") / f"{made[3]}.note.json"
    whole = note.read_bytes()
    note.write_bytes(whole[:20])
    prove_archive(live.target, home.folder.backups("live") / made[3], home.folder)
    aside = note.with_name(f"{note.name}.lost")
    assert aside.read_bytes() == whole[:20]
    aside.write_bytes(whole)
    entry = catalog.entry(made[3])
    assert (entry.label, entry.is_note_lost) == ("before the move", False)
    assert entry.sha256
    assert entry.tested
    catalog.delete(made[3])
    assert not list(home.folder.backups("live").glob(f"{made[3]}*"))


def test_a_name_that_comes_at_the_last_moment_counts(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 4)
    catalog = Catalog(home.folder, "live")

    just = Just(lambda: catalog.set_label(made[3], "wanted"))
    assert prune(live.target, home.folder, SMALL, progress=just).deleted == [made[2]]


def test_one_that_cannot_be_deleted_keeps_neither_the_others_nor_the_backup(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 4)
    stuck = home.folder.backups("live") / made[2]
    if subprocess.run(["chattr", "+i", stuck], capture_output=True, check=False).returncode:
        pytest.skip("files cannot be made immutable here")
    try:
        save_plan(home, "live", SMALL, "somebody")
        done = WORK["backup"](home, "live", {"scheduled": 1.0}, SILENT)
    finally:
        subprocess.run(["chattr", "-i", stuck], check=True)
    assert done["deleted"] == [made[1], made[3]]
    assert any("could not be deleted" in note and made[2] in note for note in done["notes"])


def test_where_there_is_no_room_for_a_backup_old_ones_go_first(
    live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TemporaryDirectory() as place, small_disk(Path(place) / "disk", 60) as disk:
        if not disk.tells_room:
            pytest.skip("no disk of its own can be had here")
        folder = DataFolder(disk.path / "data")
        store = open_store(folder.store_path)
        small = Installation(Settings.model_validate({}), folder, store, (live.target,))
        live.run("CREATE TABLE filler AS SELECT randomblob(5000000) AS x")
        made = back_up_daily(monkeypatch, live.target, folder, 4)
        save_plan(small, "live", SMALL, "somebody")
        disk.fill(leaving=8_000_000)  # twice the database does not fit, nor with one less
        done = WORK["backup"](small, "live", {"scheduled": 1.0}, SILENT)
        kept = {entry.name for entry in Catalog(folder, "live").entries()}
        assert kept == {made[0], Path(done["archive"]).name}
        store.dispose()


def test_a_file_that_its_disk_cannot_read_is_told_as_such(
    home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is mapped at the beginning of a process's memory: to read there is an error of
    input."""
    (name,) = back_up_daily(monkeypatch, live.target, home.folder, 1)
    unreadable = replace(Catalog(home.folder, "live").entry(name), path=Path("/proc/self/mem"))
    problem, detail = verify._fault_of(unreadable, SILENT)
    assert "disk cannot read" in problem
    assert "Input/output error" in detail

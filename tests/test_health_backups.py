"""The health of backups, judged from facts and a clock."""

from __future__ import annotations

import doctest
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ops.checks import sqlite_place, words
from ops.checks.backups import BackupFact, Room, backup_findings
from ops.checks.base import Finding, Level

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
GB = 1 << 30


def _backup(hours: float, *, is_good: bool = True, name: str = "shop.zip") -> BackupFact:
    return BackupFact(NOW - timedelta(hours=hours), 5_000, is_good, name)


def _finding(found: list[Finding], id: str) -> Finding:
    return next(finding for finding in found if finding.id == id)


def _age(*archives: BackupFact) -> Finding:
    return _finding(backup_findings(archives, NOW), "backups.age")


def test_no_backup_at_all_needs_action_now() -> None:
    finding = _age()
    assert finding.level is Level.NOW
    assert finding.sentence == "There is no backup yet."
    assert finding.fix


def test_only_damaged_backups_are_no_backups() -> None:
    finding = _age(_backup(1, is_good=False), _backup(2, is_good=False))
    assert finding.level is Level.NOW
    assert "There is no good backup: 2 kept backups" in finding.sentence


def test_age_is_judged_by_the_newest_good_backup() -> None:
    assert _age(_backup(35.9)).level is Level.GOOD
    assert _age(_backup(36)).level is Level.SOON
    assert _age(_backup(59.9)).level is Level.SOON
    assert _age(_backup(60)).level is Level.NOW
    assert _age(_backup(1, is_good=False), _backup(61)).level is Level.NOW
    assert _age(_backup(90), _backup(2), _backup(40)).level is Level.GOOD
    assert "3 days old" in _age(_backup(75)).sentence


def test_a_backup_from_the_future_cannot_be_judged() -> None:
    finding = _age(_backup(-30))
    assert finding.level is Level.UNKNOWN
    assert "dated in the future" in finding.sentence
    assert "clock" in finding.fix
    assert _age(_backup(-0.5)).level is Level.GOOD
    told = _finding(backup_findings([_backup(-30)], NOW), "backups.dated_ahead")
    assert (told.level, "shop.zip" in told.sentence) == (Level.SOON, True)


def test_a_backup_from_the_future_hides_no_other() -> None:
    assert _age(_backup(-30), _backup(61)).level is Level.NOW
    assert _age(_backup(-30), _backup(1)).level is Level.GOOD


def test_other_time_zones_count_the_same() -> None:
    abroad = _backup(37).created_at.astimezone(tz=None)
    assert _age(BackupFact(abroad, 1, True, "a.zip")).level is Level.SOON


def test_damaged_backups_are_named() -> None:
    archives = [_backup(1), _backup(30, is_good=False, name="broken {0}.zip")]
    finding = _finding(backup_findings(archives, NOW), "backups.damaged")
    assert finding.level is Level.SOON
    assert finding.sentence.startswith("1 kept backup is damaged")
    assert "broken {0}.zip" in finding.sentence
    fine = _finding(backup_findings(archives[:1], NOW), "backups.damaged")
    assert fine.level is Level.GOOD
    assert fine.fix == ""


def test_room_for_a_restore() -> None:
    def room(free: float) -> Finding:
        found = backup_findings([_backup(1)], NOW, Room(int(free * GB), GB))
        return _finding(found, "backups.room")

    assert room(2.1).level is Level.GOOD
    assert room(1.9).level is Level.SOON
    assert room(1.1).level is Level.NOW
    assert "1.1 GB free" in room(1.1).sentence


def test_room_is_not_judged_where_nobody_measured_it() -> None:
    ids = {finding.id for finding in backup_findings([], NOW)}
    assert "backups.room" not in ids


def test_a_failed_test_is_critical_and_told_with_its_reason() -> None:
    failed = replace(_backup(1, is_good=False, name="b.zip"), failure="1 of 2 tables differ.")
    found = backup_findings([failed, _backup(30)], NOW)
    finding = _finding(found, "backups.failed")
    assert finding.level is Level.NOW
    assert finding.sentence == "1 kept backup failed a test. b.zip: 1 of 2 tables differ."
    assert _finding(found, "backups.damaged").level is Level.GOOD
    assert "30 hours" in _finding(found, "backups.age").sentence
    assert _finding(backup_findings([_backup(1)], NOW), "backups.failed").level is Level.GOOD


def _tested(days: float | None, *, oldest: float = 1) -> Finding:
    newest = replace(_backup(1), tested_at=NOW - timedelta(days=days) if days else None)
    return _finding(backup_findings([newest, _backup(oldest * 24)], NOW), "backups.tested")


def test_the_last_test_restore_that_passed_is_judged_by_its_age() -> None:
    assert _tested(13.9).level is Level.GOOD
    assert _tested(14).level is Level.SOON
    assert _tested(34.9).level is Level.SOON
    assert _tested(35).level is Level.NOW
    assert "20 days ago" in _tested(20).sentence


def test_never_having_tested_is_told_and_gets_urgent_with_time() -> None:
    assert _tested(None).level is Level.INFO
    assert "No kept backup has been brought back" in _tested(None, oldest=15).sentence
    assert _tested(None, oldest=15).level is Level.SOON
    assert _tested(None, oldest=36).level is Level.NOW
    assert _finding(backup_findings([], NOW), "backups.tested").level is Level.INFO


def test_examples_in_the_docstrings() -> None:
    for module in (words, sqlite_place):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0

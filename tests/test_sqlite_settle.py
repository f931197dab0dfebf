"""A restore of SQLite that was killed, after which other programs went on: how it is settled."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ops import (
    DataFolder,
    Progress,
    Target,
    create_backup,
    restore_backup,
    undo_points,
    undo_restore,
)
from ops.dialects.sqlite import swap
from ops.errors import Busy, NeedsHuman, Refused
from ops.journal import journals_of
from ops.recovery import look_stuck, settle_target, take_way_out, unsettled
from tests import processes
from tests.archives import assert_nothing_left
from tests.databases import SQLiteDatabase


def _die(*_: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


class _DiesBeforeTheCommit(Progress):
    def report(self, done: float, total: float, note: str = "") -> None:
        if note.startswith("Putting"):
            _die()


def die_before_the_commit(url: str, root: Path, archive: Path) -> None:
    """A restore that is killed once its safety copy is kept."""
    target = Target.parse("live", url)
    restore_backup(target, archive, DataFolder(root), progress=_DiesBeforeTheCommit())


def die_after_the_commit(url: str, root: Path, archive: Path) -> None:
    """A restore that is killed before it can note that it is done."""
    swap._look_over = _die
    restore_backup(Target.parse("live", url), archive, DataFolder(root))


Killed = Callable[[str, Path, Path], None]


def _break_off(file: SQLiteDatabase, folder: DataFolder, killed: Killed) -> tuple[Any, Any]:
    """The content before the restore, and that of the archive."""
    saved, archive = file.fingerprint(), create_backup(file.target, folder).archive
    file.drift()
    before = file.fingerprint()
    process = processes.started(killed, file.url, folder.root, archive)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert unsettled(file.target, folder)
    return before, saved


@pytest.mark.parametrize("statement", ["CREATE TABLE meanwhile (a)", "VACUUM"])
def test_a_change_of_others_is_not_taken_for_the_commit(
    file: SQLiteDatabase, folder: DataFolder, statement: str
) -> None:
    _break_off(file, folder, die_before_the_commit)
    file.run(statement)
    changed = file.fingerprint()
    try:
        settle_target(file.target, folder)
    except NeedsHuman:  # a VACUUM leaves little of either
        assert statement == "VACUUM"
    else:
        assert undo_points(file.target, folder) == []
        assert_nothing_left(file, folder)
    assert file.fingerprint() == changed


def test_the_commit_is_seen_though_others_went_on(file: SQLiteDatabase, folder: DataFolder) -> None:
    before, _ = _break_off(file, folder, die_after_the_commit)
    file.run("CREATE TABLE meanwhile (a)")
    settle_target(file.target, folder)
    assert file.rows("SELECT count(*) FROM meanwhile") == [(0,)]
    assert_nothing_left(file, folder)
    undo_restore(file.target, folder)
    assert file.fingerprint() == before


def _missing(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is not a database " * 1000)


@pytest.mark.parametrize(
    ("ruin", "choice"), [(_missing, "former"), (_garbage, "restored"), (_empty, "keep")]
)
def test_a_database_lost_after_a_crash_can_be_had_back(
    file: SQLiteDatabase, folder: DataFolder, ruin: Callable[[Path], None], choice: str
) -> None:
    before, saved = _break_off(file, folder, die_before_the_commit)
    for end in ("-wal", "-shm", "-journal"):
        file.path.with_name(file.path.name + end).unlink(missing_ok=True)
    ruin(file.path)
    there = file.path.exists()
    with pytest.raises(NeedsHuman):
        settle_target(file.target, folder)
    assert file.path.exists() == there
    found = look_stuck(file.target, folder)
    assert found is not None
    assert [way.id for way in found[1].ways] == ["former", "restored", "keep"]
    take_way_out(file.target, folder, found[0].id, choice)
    assert not unsettled(file.target, folder)
    if choice == "former":
        assert file.fingerprint() == before
        assert undo_points(file.target, folder) == []
        return
    if choice == "restored":
        assert file.fingerprint() == saved
    undo_restore(file.target, folder)
    # An empty file has no journal mode of its own to be kept.
    mode = before["journal mode"] if choice == "restored" else [("delete",)]
    assert file.fingerprint() == {**before, "journal mode": mode}


def test_a_program_that_reads_the_old_state_is_waited_for(
    tmp_path: Path, folder: DataFolder
) -> None:
    (tmp_path / "database").mkdir()
    file = SQLiteDatabase(tmp_path / "database", "wal")
    file.fill()
    _break_off(file, folder, die_before_the_commit)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM bulk").fetchone()
        file.run("CREATE TABLE meanwhile (a)")
        with pytest.raises(Busy):
            settle_target(file.target, folder)
    settle_target(file.target, folder)
    assert undo_points(file.target, folder) == []


def test_a_damaged_undo_copy_is_not_put_in_place(file: SQLiteDatabase, folder: DataFolder) -> None:
    archive = create_backup(file.target, folder).archive
    file.drift()
    undo = restore_backup(file.target, archive, folder).undo
    assert undo is not None
    restored, copy = file.fingerprint(), Path(undo.location)
    sound = copy.read_bytes()
    copy.write_bytes(sound[:-100] + b"x" + sound[-99:])
    with pytest.raises(Refused, match="is damaged"):
        undo_restore(file.target, folder)
    assert file.fingerprint() == restored
    copy.write_bytes(sound)
    undo_restore(file.target, folder)
    assert all(journal.is_settled for journal in journals_of(folder, "live"))

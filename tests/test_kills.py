"""SIGKILL at any moment: afterwards there is the database as before or exactly the archive."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from ops import (
    Catalog,
    DataFolder,
    create_backup,
    delete_undo_point,
    prove_archive,
    restore_backup,
    undo_points,
    undo_restore,
)
from ops.installation import Installation
from ops.journal import Journal, Step, journals_of
from ops.recovery import settle_all, unsettled
from ops.settings import Settings
from ops.store import open_store
from tests import processes
from tests.archives import assert_nothing_left
from tests.databases import LiveDatabase

GROW = """
INSERT INTO bulk SELECT a.id + 1000 * b.id, a.pad FROM bulk a CROSS JOIN bulk b WHERE b.id <= 40
"""
"""12 MB: enough for a kill to meet the work half done."""

KILLED = -9


@pytest.fixture
def chance() -> random.Random:
    """Other moments in every run; the seed is printed where a test fails."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


def _recover(live: LiveDatabase, folder: DataFolder) -> None:
    """What the console does at its start."""
    store = open_store(folder.store_path)
    settle_all(Installation(Settings.model_validate({}), folder, store, (live.target,)))
    store.dispose()
    assert not unsettled(live.target, folder)


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


def _newest(folder: DataFolder) -> Journal | None:
    return next(iter(journals_of(folder, "live")), None)


def _wait_for(folder: DataFolder, known: int, step: Step, process: BaseProcess) -> None:
    """Until a new journal has reached the step, or the process has ended."""
    order = list(Step)
    while process.is_alive():
        with suppress(FileNotFoundError):
            found = journals_of(folder, "live")
            if len(found) > known and order.index(found[0].step) >= order.index(step):
                return
        time.sleep(0.0005)


def test_a_killed_backup_is_not_listed(
    live: LiveDatabase, folder: DataFolder, chance: random.Random
) -> None:
    live.run(GROW)
    began = time.monotonic()
    kept = [create_backup(live.target, folder).archive]
    usual = time.monotonic() - began
    killed = 0
    for part in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        process = processes.started(processes.back_up, live.url, folder.root)
        process.join(usual * part * chance.uniform(0.7, 1.3))
        _kill(process)
        killed += process.exitcode == KILLED
        listed = [entry.path for entry in Catalog(folder, "live").entries()]
        if process.exitcode == 0 or len(listed) > len(kept):
            kept = listed  # it was complete before it was killed
        assert listed == kept
        assert all(entry.manifest for entry in Catalog(folder, "live").entries())
    assert killed >= 3
    create_backup(live.target, folder)
    assert len(Catalog(folder, "live").entries()) == len(kept) + 1
    assert_nothing_left(live, folder)


MOMENTS = (
    (Step.STAGING, 0.0),
    (Step.STAGING, 0.2),
    (Step.VERIFIED, 0.0),
    (Step.SWAPPING, 0.0),
    (Step.SWAPPING, 0.03),
    (Step.SWAPPING, 0.15),
)
"""A step of the journal, and up to how many seconds later the kill comes."""


@pytest.fixture
def archive(live: LiveDatabase, folder: DataFolder) -> Path:
    """A backup of the live database, which has drifted since."""
    live.run(GROW)
    made = create_backup(live.target, folder).archive
    live.drift()
    return made


def _killed_restores(
    live: LiveDatabase, folder: DataFolder, archive: Path, chance: random.Random
) -> Iterator[bool]:
    """Whether the restore was killed, each time after recovery."""
    for step, at_most in MOMENTS:
        known = len(journals_of(folder, "live"))
        process = processes.started(processes.restore, live.url, folder.root, archive)
        _wait_for(folder, known, step, process)
        time.sleep(chance.uniform(0, at_most))
        _kill(process)
        _recover(live, folder)
        assert_nothing_left(live, folder)
        yield process.exitcode == KILLED


def test_a_killed_restore_is_before_or_archive(
    live: LiveDatabase, folder: DataFolder, archive: Path, chance: random.Random
) -> None:
    before = live.fingerprint()
    undo = restore_backup(live.target, archive, folder).undo
    assert undo is not None
    saved = live.fingerprint()
    undo_restore(live.target, folder)
    _forget_all(live, folder)
    killed = 0
    for was_killed in _killed_restores(live, folder, archive, chance):
        killed += was_killed
        now = live.fingerprint()
        assert now in (before, saved)
        points = undo_points(live.target, folder)
        assert len(points) == (now == saved)
        if points:
            undo_restore(live.target, folder)
            assert live.fingerprint() == before
            _forget_all(live, folder)
    assert killed >= 3


def test_a_killed_test_restore_leaves_nothing(
    live: LiveDatabase, folder: DataFolder, archive: Path, chance: random.Random
) -> None:
    before = live.fingerprint()
    killed = 0
    for step, at_most in ((Step.STAGING, 0.0), (Step.STAGING, 0.2), (Step.STAGED, 0.0)):
        known = len(journals_of(folder, "live"))
        process = processes.started(processes.prove, live.url, folder.root, archive)
        _wait_for(folder, known, step, process)
        time.sleep(chance.uniform(0, at_most))
        _kill(process)
        killed += process.exitcode == KILLED
        _recover(live, folder)
        assert_nothing_left(live, folder)
        assert live.fingerprint() == before
        assert undo_points(live.target, folder) == []
    assert killed >= 1
    assert prove_archive(live.target, archive, folder).ok


def test_a_killed_undo_is_before_or_after(
    live: LiveDatabase, folder: DataFolder, archive: Path, chance: random.Random
) -> None:
    states = [live.fingerprint()]
    restore_backup(live.target, archive, folder)
    states.append(live.fingerprint())
    for at_most in (0.0, 0.02, 0.1):
        known = len(journals_of(folder, "live"))
        process = processes.started(processes.undo, live.url, folder.root)
        _wait_for(folder, known, Step.SWAPPING, process)
        time.sleep(chance.uniform(0, at_most))
        _kill(process)
        _recover(live, folder)
        assert_nothing_left(live, folder)
        assert live.fingerprint() in states
        assert len(undo_points(live.target, folder)) == 1
        undo_restore(live.target, folder)
        assert live.fingerprint() in states


def _forget_all(live: LiveDatabase, folder: DataFolder) -> None:
    for point in undo_points(live.target, folder):
        delete_undo_point(live.target, folder, point.id)

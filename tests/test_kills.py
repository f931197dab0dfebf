"""Whatever breaks a backup, a restore or an undo, at any moment: nothing is lost by it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import pytest

from ops import Catalog, DataFolder, create_backup, prove_archive, undo_points
from ops.installation import Installation
from ops.journal import Step
from tests import processes
from tests.archives import assert_nothing_left
from tests.databases import KINDS, LiveDatabase, PostgreSQLDatabase
from tests.figures import SEED, in_soak, recorded
from tests.trial import Blow, Moment, Trial, Work, recover

GROW = """
INSERT INTO bulk SELECT a.id + 1000 * b.id, a.pad FROM bulk a CROSS JOIN bulk b WHERE b.id <= 40
"""
"""12 MB: enough for a kill to meet the work half done."""

KILLED = -9


@pytest.fixture
def chance() -> random.Random:
    """Moments that look random; figures.SEED makes others."""
    print(f"seed {SEED}")
    return random.Random(SEED)


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


def test_a_killed_backup_is_not_listed(
    live: LiveDatabase, folder: DataFolder, chance: random.Random
) -> None:
    live.run(GROW)
    usual = 0.0
    for _ in range(2):  # the first one waits for the server of processes as well
        began = time.monotonic()
        processes.started(processes.back_up, live.url, folder.root).join()
        usual = time.monotonic() - began
    kept = [entry.path for entry in Catalog(folder, "live").entries()]
    assert len(kept) == 2
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


def kill(_live: LiveDatabase, work: Work) -> bool:
    """End the job's processes. Whether that broke off the work."""
    return work.kill()


def crash(live: LiveDatabase, work: Work) -> bool:
    """End the server as a power switch would, and start it anew."""
    assert isinstance(live, PostgreSQLDatabase)
    live.cluster.restart()
    return not work.is_done() if work.is_over(30) else work.kill()


ROUNDS: Final = {
    "sqlite": (
        (kill, Moment.RESTORE, 2, 100),
        (kill, Moment.SWAP, 2, 90),
        (kill, Moment.UNDO, 1, 60),
    ),
    "postgresql": (
        (kill, Moment.RESTORE, 2, 200),
        (kill, Moment.SWAP, 2, 60),
        (kill, Moment.UNDO, 1, 50),
        (crash, Moment.SWAP, 1, 20),
        (crash, Moment.RESTORE, 0, 10),
    ),
}
"""What happens at which moment, how often in every run of the tests and in a soak."""

ENOUGH: Final = 10
"""Of so many blows at one moment some must meet the work."""

PART: Final = {"postgresql-18": 0.25, "postgresql-16-managed": 0.2}
"""Kinds that differ little from another one get a part of the soak's rounds, and so does the
way without CREATEDB, which takes longer."""

Plan = Sequence[tuple[Blow, Moment, int]]


def _plans() -> list[Any]:
    """For every kind all blows in one test, and again, for the soak, each by itself."""
    few = [
        pytest.param(kind, [(blow, moment, rounds) for blow, moment, rounds, _ in rows], id=kind)
        for backend, rows in ROUNDS.items()
        for kind in KINDS[backend]
    ]
    many = [
        pytest.param(
            kind,
            [(blow, moment, in_soak(rounds * PART.get(kind, 1)))],
            id=f"{kind}-{blow.__name__}-{moment.name.lower()}",
            marks=pytest.mark.soak,
        )
        for backend, rows in ROUNDS.items()
        for kind in KINDS[backend]
        for blow, moment, _, rounds in rows
    ]
    return few + many


def _shares(chance: random.Random, rounds: int) -> list[float]:
    """When the blows fall; the first at once, so that one meets the work for certain."""
    return [0.0, *(chance.uniform(0, 1.02) for _ in range(rounds - 1))][:rounds]


@pytest.mark.parametrize(("live", "plan"), _plans(), indirect=["live"])
def test_what_is_broken_off_loses_nothing(
    live: LiveDatabase, home: Installation, tmp_path: Path, chance: random.Random, plan: Plan
) -> None:
    trial, broken_off = Trial(live, home, tmp_path / "logs"), 0
    for blow, moment, rounds in plan:
        with recorded(f"{live}: {blow.__name__} {moment}", rounds) as outcomes:
            for share in _shares(chance, rounds):
                outcomes += trial.round(moment, share, blow)
            broken_off += outcomes["broken off"]
            # A single blow may come when the swap is just over.
            assert outcomes["broken off"] > 0 or rounds < ENOUGH
    assert broken_off > 0


def test_a_killed_test_restore_leaves_nothing(
    live: LiveDatabase, home: Installation, chance: random.Random
) -> None:
    live.run(GROW)
    archive = create_backup(home.target("live"), home.folder).archive
    before = live.fingerprint()
    broken_off = 0
    for step, at_most in ((Step.PREPARED, 0.0), (Step.STAGING, 0.2), (Step.STAGED, 0.0)):
        work = Work(home, "test", archive=str(archive))
        work.reaches(step)
        time.sleep(chance.uniform(0, at_most))
        broken_off += work.kill()
        recover(home.target("live"))
        assert_nothing_left(live, home.folder)
        assert live.fingerprint() == before
        assert undo_points(home.target("live"), home.folder) == []
    assert broken_off >= 1
    assert prove_archive(home.target("live"), archive, home.folder).ok

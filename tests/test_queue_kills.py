"""Console, worker and job are killed at any moment, again and again: nothing is left half done."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops import Catalog, create_backup, delete_undo_point, undo_points
from ops.installation import Installation
from ops.jobs import State, look, recent, rows, start
from ops.jobs.oversight import look_after
from ops.locks import target_lock
from ops.recovery import unsettled
from tests.archives import assert_nothing_left
from tests.databases import SQLiteDatabase
from tests.figures import SEED, few_or_many, recorded
from tests.services.console import RunningConsole
from tests.services.worker import RunningWorker
from tests.test_kills import GROW
from tests.test_queue import live, more_settings, redis_server, settings_of_the_tests

__all__ = ["live", "more_settings", "redis_server"]

KINDS = ("backup", "restore", "test")
ENDED_SECONDS = 90


class Machines:
    """A console with its duties and a worker, either of which can be killed and started anew."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self._folder = folder
        self._settings = settings
        self._number = 0
        self.console = self._new_console()
        self.worker = self._new_worker()

    def _new_console(self) -> RunningConsole:
        return RunningConsole(self._folder, None, **self._settings)

    def _new_worker(self) -> RunningWorker:
        self._number += 1
        worker = RunningWorker(self._folder, f"worker {self._number}")
        assert worker.is_ready(), worker.log.read_text()
        return worker

    def kill(self, victim: str, job_id: str) -> None:
        """Strike, and start again what was struck."""
        if victim == "console":
            self.console.process.kill()
            self.console.stop()
            self.console = self._new_console()
        elif victim == "worker":
            self.worker.kill()
            self.worker = self._new_worker()
        else:
            for process in psutil.Process(self.worker.process.pid).children():
                if process.cmdline()[-1:] == [job_id]:
                    process.kill()

    def stop(self) -> None:
        self.worker.ask_to_stop()
        self.console.stop()
        self.worker.stop()


@pytest.fixture
def machines(home: Installation, tmp_path: Path) -> Iterator[Machines]:
    running = Machines(tmp_path, settings_of_the_tests())
    yield running
    running.stop()


@pytest.mark.parametrize("rounds", few_or_many(5, 100))
def test_whatever_is_killed_nothing_is_left_half_done(
    home: Installation, live: SQLiteDatabase, machines: Machines, rounds: int
) -> None:
    chance = random.Random(SEED)
    live.run(GROW)
    target, folder = home.target("live"), home.folder
    archive = create_backup(target, folder).archive
    states = [live.fingerprint()]
    live.drift()
    states.append(live.fingerprint())
    with recorded("console, worker or job killed", rounds) as outcomes:
        for number in range(rounds):
            victim = ("job", "worker", "console")[number % 3]
            kind = chance.choice(KINDS)
            job_id = start(home, kind, "live", "somebody", {"archive": str(archive)})
            _wait_for_a_moment(home, job_id, chance)
            machines.kill(victim, job_id)
            outcomes[_ended(home, job_id)] += 1
            _assert_nothing_is_left(home, live)
            assert live.fingerprint() in states
            for point in undo_points(target, folder):
                delete_undo_point(target, folder, point.id)
        before = len(Catalog(folder, "live").entries())
        assert _ended(home, start(home, "backup", "live", "somebody", {})) == State.DONE
        assert len(Catalog(folder, "live").entries()) == before + 1
        assert not any(job.is_active for job in recent(home, limit=200))


def _wait_for_a_moment(home: Installation, job_id: str, chance: random.Random) -> None:
    """Mostly in the midst of the work, sometimes before it has begun."""
    while chance.random() > 0.01 and look(home, job_id).state is State.WAITING:
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.7))


def _ended(home: Installation, job_id: str) -> str:
    ends = time.monotonic() + ENDED_SECONDS
    while (job := look(home, job_id)).is_active:
        assert time.monotonic() < ends, job
        time.sleep(0.1)
    assert job.state in (State.DONE, State.INTERRUPTED), job
    return job.state.value


def _assert_nothing_is_left(home: Installation, live: SQLiteDatabase) -> None:
    """Once somebody has looked after it, as a console does every few seconds."""
    ends = time.monotonic() + ENDED_SECONDS
    while rows.all_claims(home):
        assert time.monotonic() < ends
        look_after(home)
        time.sleep(0.1)
    target, folder = home.target("live"), home.folder
    with target_lock(folder, target):
        assert not unsettled(target, folder)
    assert all(entry.manifest for entry in Catalog(folder, "live").entries())
    assert_nothing_left(live, folder)

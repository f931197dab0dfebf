"""A live database under load is restored again and again, and each time something breaks.

The work is a real job of the console, killed with all that it has started. Then the console
does what it does at its start. The database must be as before or as in the archive; every
commit that was acknowledged must be in it or in its undo point; nothing else may lie about.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil

from ops import create_backup, delete_undo_point, restore_backup, undo_points, undo_restore
from ops.installation import Installation
from ops.jobs import State, recent, start
from ops.journal import Journal, Step
from ops.recovery import settle_all, unsettled
from ops.target import Target
from tests import processes
from tests.archives import assert_nothing_left
from tests.databases import LiveDatabase
from tests.load import Load, mark, still_content

_SETTLED_SECONDS: Final = 10
"""A child that was killed before it became another program holds the job's lock for as long as
it takes to die."""


class Moment(StrEnum):
    """Where in the work the blow falls."""

    RESTORE = "anywhere in a restore"
    SWAP = "in the swap"
    UNDO = "in an undo"


class Work:
    """A job of the console: its group of processes, and the journal that it writes."""

    def __init__(self, home: Installation, kind: str, **params: object) -> None:
        self._home = home
        self._journals = home.folder.journals
        self._known = set(os.listdir(self._journals))
        self.process = processes.of_job(start(home, kind, "live", "a test", params))

    def is_over(self, within: float = 0) -> bool:
        """Whether the process has ended, by itself and within these seconds."""
        try:
            self.process.wait(within)
        except psutil.TimeoutExpired:
            return False
        return True

    def reaches(self, step: Step) -> bool:
        """Wait for a step of the journal, or a later one; False where the work ended before."""
        order = list(Step)
        while not self.is_over():
            for name in set(os.listdir(self._journals)) - self._known:
                if name.endswith(".json"):
                    journal = Journal.read(self._journals / name)
                    if order.index(journal.step) >= order.index(step):
                        return True
            time.sleep(0.001)
        return False

    def kill(self) -> bool:
        """SIGKILL to all of it. Whether that broke off the work."""
        processes.kill_group(self.process.pid)
        self.process.wait()
        return not self.is_done()

    def is_done(self) -> bool:
        """Whether the job says that it has done its work; it must say something."""
        ends = time.monotonic() + _SETTLED_SECONDS
        (job,) = recent(self._home, limit=1)
        while job.is_active:
            assert time.monotonic() < ends
            time.sleep(0.01)
            (job,) = recent(self._home, limit=1)
        return job.state is State.DONE


def recover(target: Target) -> None:
    """What the console does at its start, after which nothing waits to be settled."""
    home = Installation.open()
    settle_all(home)
    home.store.dispose()
    assert not unsettled(target, home.folder)


Blow = Callable[[LiveDatabase, Work], bool]
"""What befalls the work; whether that broke it off."""


class Trial:
    """One database with one archive, tried as often as wanted."""

    def __init__(self, live: LiveDatabase, home: Installation, logs: Path) -> None:
        self.live = live
        self._home = home
        self._target = home.target("live")
        self._load = Load(live, logs)
        live.furnish()
        mark(live, "saved")
        self._archive = create_backup(self._target, home.folder).archive
        self._states = {"archive": still_content(live)}
        live.drift()
        mark(live, "live")
        self._states["before"] = still_content(live)
        self._seconds = self._measured()

    def round(self, moment: Moment, share: float, blow: Blow) -> Counter[str]:
        """Strike when `share` of what the moment names is over (0 is its very beginning).

        Returns what came of it, for counting. Raises AssertionError where anything was lost.
        """
        self._load.start()
        try:
            if moment is Moment.UNDO:
                restore_backup(self._target, self._archive, self._home.folder)
            work = self._begin(moment)
            if work.reaches(Step.PREPARED if moment is Moment.RESTORE else Step.SWAPPING):
                time.sleep(share * self._seconds[moment])
            is_broken_off = blow(self.live, work)
            recover(self._target)
        finally:
            self._load.stop()
        return Counter({"broken off": is_broken_off}) + self._judge(moment)

    def _begin(self, moment: Moment) -> Work:
        if moment is Moment.UNDO:
            return Work(self._home, "undo")
        return Work(self._home, "restore", archive=str(self._archive))

    def _measured(self) -> dict[Moment, float]:
        """The seconds that each moment lasts here. What nobody breaks off must be exact."""
        self._load.start()
        work = self._begin(Moment.RESTORE)
        assert work.reaches(Step.PREPARED)
        began = time.monotonic()
        assert work.reaches(Step.SWAPPING)
        swapping = time.monotonic()
        assert work.is_over(60)
        ended = time.monotonic()
        assert work.is_done()
        assert self._state() == "archive"
        undo_restore(self._target, self._home.folder)
        assert self._state() == "before"
        self._load.stop()
        self._forget()
        swap = ended - swapping
        return {Moment.RESTORE: ended - began, Moment.SWAP: swap, Moment.UNDO: swap}

    def _state(self) -> str:
        now = still_content(self.live)
        for name, content in self._states.items():
            if now == content:
                return name
        states = self._states.values()
        differ = [part for part in now if now[part] not in [state.get(part) for state in states]]
        raise AssertionError(f"neither of the two; of no state at all: {differ}")

    def _judge(self, moment: Moment) -> Counter[str]:
        assert_nothing_left(self.live, self._home.folder)
        found, state = self._load.found(), self._state()
        points = undo_points(self._target, self._home.folder)
        assert len(points) == (state == "archive" or moment is Moment.UNDO)
        for there in ("archive", "before") if state == "before" else ("before",):
            if points:
                undo_restore(self._target, self._home.folder)
                assert self._state() == there
                found |= self._load.found()
        self._forget()
        acknowledged = self._load.acknowledged()
        assert acknowledged <= found
        assert self._load.torn_reads() == set()
        kept = {"commits acknowledged and kept": len(acknowledged), "reads": self._load.reads()}
        return Counter({state: 1, **kept})

    def _forget(self) -> None:
        for point in undo_points(self._target, self._home.folder):
            delete_undo_point(self._target, self._home.folder, point.id)

"""A server that gives no CREATEDB: restores are killed at random moments while programs commit.

Afterwards the database is as before or as in the backup, and every commit that a program was
told of is in the database or in the undo point.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest

from ops import (
    DataFolder,
    create_backup,
    delete_undo_point,
    restore_backup,
    undo_points,
    undo_restore,
)
from ops.journal import journals_of
from ops.locks import target_lock
from ops.recovery import settle_target
from tests import processes
from tests.archives import assert_nothing_left
from tests.databases import WRITE_PAIR, Fingerprint, ManagedPostgreSQL
from tests.services.postgres import RealPostgres

KILLS = 40
WRITERS = 3
GROW = "INSERT INTO bulk SELECT a.id + 1000 * b, a.pad FROM bulk a, generate_series(1, 60) b"
WRITTEN = ("public.acknowledged", "public.left_hand", "public.right_hand")

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]


class _Writers:
    """Programs that commit numbers, note those that were acknowledged, and come back at once."""

    def __init__(self, database: ManagedPostgreSQL, first: int) -> None:
        self.acknowledged: set[int] = set()
        self.longest_wait = 0.0
        self._database, self._next = database, first
        self._stop, self._lock = threading.Event(), threading.Lock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _write(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                number, self._next = self._next, self._next + 1
            began = time.monotonic()
            insert = f"INSERT INTO acknowledged VALUES ({number}); COMMIT"
            with suppress(psycopg2.Error):
                self._database.run(WRITE_PAIR.replace("COMMIT", insert))
                self.acknowledged.add(number)
                self.longest_wait = max(self.longest_wait, time.monotonic() - began)


def _still(found: Fingerprint) -> Fingerprint:
    """What the writers leave alone."""
    return {name: told for name, told in found.items() if name not in WRITTEN}


def _numbers(database: ManagedPostgreSQL) -> set[int]:
    return {number for (number,) in database.rows("SELECT n FROM acknowledged")}


def _after_a_kill(
    database: ManagedPostgreSQL, folder: DataFolder, archive: Path, delay: float
) -> bool:
    """Kill a restore after so many seconds and settle it; whether it was still at work."""
    process = processes.started(processes.restore, database.url, folder.root, archive)
    process.join(delay)
    process.kill()
    process.join()
    with target_lock(folder, database.target):
        folder.clear_workspaces("live")
        settle_target(database.target, folder)
    return process.exitcode != 0


def test_kills_under_load(pg16: RealPostgres, folder: DataFolder) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    database = ManagedPostgreSQL(pg16)
    database.fill()
    database.run(GROW)
    database.run("CREATE TABLE acknowledged (n bigint PRIMARY KEY)")
    saved = _still(database.fingerprint())
    archive = create_backup(database.target, folder).archive
    database.drift()
    before = _still(database.fingerprint())
    began = time.monotonic()
    restore_backup(database.target, archive, folder)
    usual = time.monotonic() - began
    undo_restore(database.target, folder)
    states: Counter[str] = Counter()
    waited, known, first = 0.0, len(journals_of(folder, "live")), 1
    for _ in range(KILLS):
        for point in undo_points(database.target, folder):
            delete_undo_point(database.target, folder, point.id)
        writers = _Writers(database, first)
        with writers.at_work():
            killed = _after_a_kill(database, folder, archive, chance.uniform(0.05, usual * 2.2))
        waited = max(waited, writers.longest_wait)
        first += 1_000_000
        now = _still(database.fingerprint())
        assert now in (before, saved), f"in between; seed {seed}"
        states["before" if now == before else "archive"] += 1
        states["killed"] += killed
        kept = _numbers(database)
        if now == saved:
            undo_restore(database.target, folder)
            assert _still(database.fingerprint()) == before
            kept |= _numbers(database)
        lost = writers.acknowledged - kept
        assert not lost, f"{len(lost)} acknowledged commits are lost; seed {seed}"
        states["commits"] += len(writers.acknowledged)
        assert_nothing_left(database, folder)
    print(f"\n{dict(states)}; a restore takes {usual:.1f} s, a program waited {waited:.1f} s")
    assert len(journals_of(folder, "live")) > known
    assert states["killed"] > KILLS / 4
    database.close()

"""Figures over time: how they are kept and thinned, and what they say about the disk."""

from __future__ import annotations

import random
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from ops import jobs
from ops.checks.base import Level
from ops.checks.outlook import outlook_findings
from ops.duties import DUTIES
from ops.installation import Installation
from ops.samples import (
    BACKUP_SIZE,
    CONSOLE,
    FREE_DISK,
    JOB_SECONDS,
    SESSIONS,
    SIZE,
    TABLE_ROWS,
    TABLE_SIZE,
    names_of,
    note,
    samples_of,
    size_samples,
    take_sample,
    take_samples,
    thin,
)
from ops.store import open_store
from ops.store import samples as old_samples
from ops.target import Target
from ops.trends import Course, by_day, change, disk_outlook, outlook_in_words, slope
from tests.databases import LiveDatabase

HOUR, DAY = 3600, 86_400
NOW = 20_000 * DAY + 10 * HOUR
GB = 1e9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(tmp_path / "console.db")
    yield engine
    engine.dispose()


def _falling(
    days: float, per_day: float, *, free: float = 100 * GB, noise: float = 0.0
) -> list[tuple[float, float]]:
    """Free bytes every 15 minutes, ending at NOW with about `free`."""
    dice = random.Random(days)
    steps = int(days * 96)
    return [
        (NOW - step * 900, free + step / 96 * per_day + dice.uniform(-noise, noise))
        for step in range(steps, -1, -1)
    ]


# --- What they say --------------------------------------------------------------------------


def test_a_steady_fall_is_foretold_exactly() -> None:
    outlook = disk_outlook(_falling(14, 5 * GB), NOW)
    assert outlook.course is Course.FILLING
    assert outlook.days == pytest.approx(20)
    assert outlook.soonest == pytest.approx(20)
    told = outlook_in_words(outlook)
    assert re.fullmatch(
        r"At this rate the disk is full in about 20 days \(between (19|20) and 2[01] days\)\.", told
    )


def test_noise_and_one_odd_day_widen_the_range_and_hardly_move_the_middle() -> None:
    free = _falling(14, 5 * GB, noise=3 * GB)
    # Somebody needed 60 GB for a day, a week ago.
    free = [(at, value - 60 * GB * (7 < (NOW - at) / DAY < 8)) for at, value in free]
    outlook = disk_outlook(free, NOW)
    assert outlook.days == pytest.approx(20, rel=0.1)
    assert outlook.soonest is not None
    assert outlook.latest is not None
    assert outlook.soonest < outlook.days < outlook.latest


@pytest.mark.parametrize("days", [0, 0.5, 2.9])
def test_before_three_days_have_passed_it_is_too_early(days: float) -> None:
    outlook = disk_outlook(_falling(days, 5 * GB), NOW)
    assert outlook.course is Course.TOO_EARLY
    assert outlook.days is None
    assert outlook_in_words(outlook) == "It is too early to tell when the disk will be full."


def test_without_samples_nothing_is_told() -> None:
    assert disk_outlook([], NOW).course is Course.TOO_EARLY
    assert change([], 0) is None


@pytest.mark.parametrize("per_day", [0, -5 * GB])
def test_a_disk_that_does_not_fill_has_no_last_day(per_day: float) -> None:
    outlook = disk_outlook(_falling(14, per_day), NOW)
    assert outlook.course is Course.NOT_FILLING
    assert outlook_in_words(outlook) == "The disk is not clearly filling up."


def test_up_and_down_is_no_trend() -> None:
    dice = random.Random(1)
    free = [(NOW - day * DAY, 100 * GB + dice.uniform(-9, 9) * GB) for day in range(14, -1, -1)]
    assert disk_outlook(free, NOW).course is Course.NOT_FILLING


def test_a_slow_fall_is_far_away() -> None:
    outlook = disk_outlook(_falling(14, 0.01 * GB), NOW)
    assert outlook_in_words(outlook) == "At this rate the disk has room for more than two years."


def test_only_the_last_two_weeks_count() -> None:
    before = [(at - 15 * DAY, value + 300 * GB) for at, value in _falling(14, 50 * GB)]
    assert disk_outlook([*before, *_falling(13, 5 * GB)], NOW).days == pytest.approx(20)


values = st.floats(-1e12, 1e12)


@given(st.lists(values, min_size=4, max_size=14))
def test_the_range_holds_the_slope(found: list[float]) -> None:
    told = slope([(float(day), value) for day, value in enumerate(found)])
    assert told is not None
    assert told.low <= told.per_day <= told.high


def test_the_range_is_honest() -> None:
    """Of 300 noisy falls, the true slope lies within the range in about 90 of 100."""
    dice, held = random.Random(7), 0
    for _ in range(300):
        told = slope([(float(day), -5.0 * day + dice.gauss(0, 10)) for day in range(14)])
        assert told is not None
        held += told.low <= -5 <= told.high
    assert 0.87 <= held / 300 <= 0.97


def test_a_day_counts_by_its_middle() -> None:
    points = [(DAY * 3 + hour * HOUR, value) for hour, value in ((1, 5.0), (2, 6.0), (3, 900.0))]
    assert by_day(points) == [(pytest.approx(3 + 2 / 24), 6.0)]


def test_findings_tell_how_urgent_it_is() -> None:
    levels = {2: Level.NOW, 20: Level.SOON, 200: Level.GOOD}
    for days, level in levels.items():
        free = _falling(14, 5 * GB, free=days * 5 * GB)
        another = [(at, 2 * value) for at, value in free]
        assert len(outlook_findings(free, free, NOW)) == 1  # one disk is told of once
        database, backups = outlook_findings(free, another, NOW)
        assert (database.level, backups.level) == (level, level)
        assert f"about {days} days" in database.sentence
        assert backups.id == "outlook.backups-disk"
    (early,) = outlook_findings([], _falling(1, 5 * GB), NOW)
    assert (early.id, early.level) == ("outlook.backups-disk", Level.INFO)


# --- How they are kept ----------------------------------------------------------------------


def test_a_target_is_measured_every_15_minutes(home: Installation, live: LiveDatabase) -> None:
    target = home.target("live")
    take_sample(home.store, target)
    take_sample(home.store, target)
    ((_, size),) = size_samples(home.store, "live")
    assert size > 0
    sees_disk = "managed" not in live.kind  # its user may not know where the server keeps its data
    assert len(samples_of(home.store, "live", FREE_DISK)) == sees_disk
    tables = names_of(home.store, "live", TABLE_SIZE)
    assert any(name.endswith("customer") for name in tables)
    assert 0 < len(tables) <= 50
    sessions = samples_of(home.store, "live", SESSIONS)
    assert [value >= 1 for _, value in sessions] == ([True] if live.url.startswith("p") else [])
    if not live.url.startswith("p"):  # PostgreSQL estimates only what it has analysed
        assert names_of(home.store, "live", TABLE_ROWS)


def test_a_target_that_does_not_answer_keeps_no_other_from_being_measured(
    store: Engine, tmp_path: Path, folder: object
) -> None:
    with closing(sqlite3.connect(tmp_path / "good.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    bad = Target.parse("bad", "postgresql://nobody@127.0.0.1:1/nothing")
    good = Target.parse("good", f"sqlite:///{tmp_path / 'good.db'}")
    take_samples(Installation(None, folder, store, (bad, good)))  # type: ignore[arg-type]
    assert len(size_samples(store, "good")) == 1
    assert size_samples(store, "bad") == []
    assert len(samples_of(store, CONSOLE, FREE_DISK)) == 1
    assert take_samples in [duty.do for duty in DUTIES]


def test_sizes_of_an_older_console_are_taken_over(store: Engine, tmp_path: Path) -> None:
    target = Target.parse("shop", f"sqlite:///{tmp_path / 'shop.db'}")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    with store.begin() as connection:
        row = {"target": "shop", "taken": 1000.5, "size_bytes": 4096.0}
        connection.execute(insert(old_samples).values(row))
    take_sample(store, target)
    take_sample(store, target)
    assert size_samples(store, "shop")[0] == (1000, 4096)
    assert len(size_samples(store, "shop")) == 2


def test_jobs_leave_their_figures(home: Installation) -> None:
    made = jobs.execute(home, jobs.create(home, "backup", "live", "ann", {}))
    ((_, size),) = samples_of(home.store, "live", BACKUP_SIZE)
    assert size == made["size"]
    ((_, seconds),) = samples_of(home.store, "live", JOB_SECONDS + "backup")
    assert 0 < seconds < 60


def test_older_figures_are_fewer(store: Engine) -> None:
    """40 days of samples: the last of each hour and day stays, of connections the highest."""
    for name in (SIZE, SESSIONS):
        points = [(NOW - step * 900, step % 7) for step in range(40 * 96)]
        _fill(store, "shop", name, points)
    thin(store, NOW)
    sizes = samples_of(store, "shop", SIZE)
    gaps = [round(later - earlier) for (earlier, _), (later, _) in pairwise(sizes)]
    assert gaps == sorted(gaps, reverse=True)
    assert 9 <= gaps.count(DAY) <= 11
    assert 192 <= gaps.count(900) <= 200
    assert 670 <= gaps.count(HOUR) <= 700
    assert sizes[-1][0] == NOW
    old = [value for at, value in samples_of(store, "shop", SESSIONS) if at < NOW - 31 * DAY]
    assert set(old) == {6}
    thin(store, NOW)
    assert samples_of(store, "shop", SIZE) == sizes


def test_tables_that_are_gone_are_forgotten_and_the_rest_is_not(store: Engine) -> None:
    for age in (100, 80):
        note(store, "shop", {f"{TABLE_SIZE}from {age}": 1}, NOW - age * DAY)
    note(store, "shop", {SIZE: 1}, NOW - 3000 * DAY)
    note(store, "shop", {SIZE: 2}, NOW - 3700 * DAY)
    thin(store, NOW)
    assert names_of(store, "shop", TABLE_SIZE) == ["from 80"]
    assert [value for _, value in samples_of(store, "shop", SIZE)] == [1]


def test_five_years_of_a_database_with_many_tables_are_small(store: Engine, tmp_path: Path) -> None:
    """50 tables with size and rows, and five more series, as they are after thinning."""
    ages = [
        *(step * 900 for step in range(192)),
        *(2 * DAY + step * HOUR for step in range(28 * 24)),
        *((30 + step) * DAY for step in range(5 * 365 - 30)),
    ]
    dice = random.Random(1)
    for number in range(105):
        points = [(NOW - age, float(dice.randrange(10**9))) for age in sorted(ages)]
        _fill(store, "shop", f"{TABLE_SIZE}public.a_table_with_a_name_{number}", points)
    began = time.monotonic()
    thin(store, NOW)
    took = time.monotonic() - began
    store.dispose()
    size = sum(path.stat().st_size for path in tmp_path.glob("console.db"))
    print(f"five years: {size / 1e6:.1f} MB, thinned in {took:.2f} s")
    assert size < 15e6


def _fill(store: Engine, target: str, name: str, points: list[tuple[float, float]]) -> None:
    note(store, target, {name: points[0][1]}, points[0][0])
    with store.begin() as connection:
        (number,) = connection.exec_driver_sql("SELECT max(id) FROM series").one()
        connection.exec_driver_sql(
            "INSERT OR IGNORE INTO measures VALUES (?, ?, ?)",
            [(number, int(taken), value) for taken, value in points],
        )

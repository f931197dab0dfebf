"""What is remembered between looks, and what people decide: no server is needed for it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from ops.checks.base import CannotCheck, Check, Context, Finding, Level, Reading, Status
from ops.checks.history import WHOSE, History, Sample, counted, weekly_growth
from ops.checks.purpose import Purpose
from ops.checks.sqlite import CHECKS
from ops.errors import Refused
from ops.health import get_health_report, report_of
from ops.health_memory import keep_results, load_history, save_history
from ops.health_settings import (
    chosen_thresholds,
    purpose_of,
    put_aside,
    put_asides,
    set_purpose,
    set_threshold,
    take_back,
    thresholds_of,
    with_asides,
)
from ops.store import open_store
from tests.databases import SQLiteDatabase

HOUR = 3600.0


def _measure(context: Context, check: Check) -> Reading:
    value = context.facts["value"]
    if value is None:
        raise CannotCheck("the door is shut")
    return Reading(check.judge(value), {}, value)


BUSY = Check(
    id="test.busy",
    title="Busy",
    measure=_measure,
    finding="It is busy.",
    why="Others wait.",
    fix="Wait.",
    good="It is calm.",
    unit="%",
    warning=80,
    critical=90,
    source="own",
    opens_after=3,
    closes_at=0.9,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(tmp_path / "store.db")
    yield engine
    engine.dispose()


def _nothing(query: str) -> list[dict[str, object]]:
    raise AssertionError(query)


def look(history: History, value: float | None, at: float, check: Check = BUSY) -> Finding:
    return history.settle(check, Context(_nothing, {"value": value}, now=at))


def test_a_finding_opens_late_and_closes_late() -> None:
    history = History()
    first = look(history, 85, 0)
    assert first.level is Level.INFO
    assert first.sentence == ("It is busy. It is looked at again before it counts as a problem.")
    assert look(history, 85, 60).level is Level.INFO
    opened = look(history, 85, 120)
    assert (opened.level, opened.sentence, opened.since) == (Level.SOON, "It is busy.", 0)
    assert look(history, 73, 180).level is Level.SOON  # 72 is 0.9 of 80
    assert look(history, 71, 240).level is Level.GOOD
    assert look(history, 85, 300).level is Level.INFO


def test_a_page_drawn_twice_is_one_look() -> None:
    history = History()
    for moment in range(5):
        assert look(history, 95, moment).level is Level.INFO


def test_not_having_looked_closes_nothing() -> None:
    history = History()
    for at in (0, 60, 120):
        look(history, 95, at)
    assert look(history, None, 180).level is Level.UNKNOWN
    assert look(history, 95, 240).level is Level.NOW


def gained(history: History | None, hits: float, at: float, began: float | None = 0) -> str:
    context = Context(_nothing, history=history, now=at)
    found = counted(context, "hits", {"hits": hits}, began)
    return f"{found.by['hits']:g} {found.since}{' in all' if found.is_total else ''}"


def test_counters_are_compared_with_an_hour_ago() -> None:
    history = History()
    assert gained(history, 100, 0) == "100 since 01 January 1970, 00:00 UTC in all"
    assert gained(history, 110, 30) == "110 since 01 January 1970, 00:00 UTC in all"
    for minute in range(10, 200, 10):
        gained(history, 100 + minute, minute * 60)
    assert gained(history, 300, 200 * 60) == "60 in the last 1 hour"
    assert len(history.samples["hits"]) <= 8
    assert gained(history, 1000, 30 * HOUR) == "700 in the last 26 hours"


def test_a_counter_that_began_anew_is_not_compared() -> None:
    history = History()
    gained(history, 100, 0)
    assert gained(history, 40, HOUR).endswith("in all")
    assert gained(history, 90, 2 * HOUR) == "50 in the last 1 hour"
    assert gained(history, 95, 3 * HOUR, began=2.5 * HOUR).endswith("in all")


def test_the_counters_of_a_restored_database_are_its_own() -> None:
    """It stands where the former one was, and may have counted more already."""
    before, after = Sample(0, {"hits": 100, WHOSE: 5}), Sample(HOUR, {"hits": 900, WHOSE: 6})
    assert not before.counts_on(after)
    assert before.counts_on(Sample(HOUR, {"hits": 900, WHOSE: 5}))


def test_without_a_history_all_that_was_counted_counts() -> None:
    assert gained(None, 7, HOUR, began=None) == "7 since counting began in all"


def test_totals_are_judged_more_mildly_and_short_windows_are_not_blown_up() -> None:
    history = History()
    context = Context(_nothing, history=history, now=0)
    first = counted(context, "x", {"x": 1}, None)
    assert [first.level(level) for level in (Level.NOW, Level.SOON)] == [Level.SOON, Level.INFO]
    later = counted(replace(context, now=120), "x", {"x": 4}, None)
    assert later.per_hour("x") == 3
    assert later.level(Level.NOW) is Level.NOW


def test_growth_is_told_from_a_week_on() -> None:
    now = 100 * 86_400.0
    week = 7 * 86_400
    history = History(sizes=[(now - 3 * week, 1), (now - week, 1000), (now, 1500)])
    assert weekly_growth(Context(_nothing, history=history, now=now)) == (500, 50)
    young = History(sizes=[(now - 86_400, 1000), (now, 1500)])
    assert weekly_growth(Context(_nothing, history=young, now=now)) is None


def test_the_store_remembers(store: Engine) -> None:
    history = History()
    look(history, 95, 10)
    gained(history, 5, 10)
    save_history(store, "shop", history)
    found = load_history(store, "shop")
    assert found.as_dict() == history.as_dict()
    assert found.standings
    assert found.samples
    assert load_history(store, "other").as_dict() == History().as_dict()


def test_what_a_deep_check_found_is_kept_and_an_older_copy_does_not_replace_it(
    store: Engine,
) -> None:
    found = Finding("a.b", "A", Level.NOW, "Damaged.", remedy=("x",), subjects=("t", "u"))
    keep_results(store, "shop", [found], taken=500)
    keep_results(store, "shop", [replace(found, level=Level.GOOD)], taken=400)
    kept = load_history(store, "shop").results["a.b"]
    assert kept == replace(found, checked_at=500)
    keep_results(store, "shop", [replace(found, level=Level.GOOD)])
    assert load_history(store, "shop").results["a.b"].level is Level.GOOD


def test_thresholds_can_be_set_and_given_back(store: Engine) -> None:
    quiet = replace(BUSY, id="test.quiet", warning=None, critical=None)
    set_threshold(store, "shop", BUSY, warning=50, who="ann")
    (shown,) = thresholds_of(store, "shop", (BUSY, quiet))
    assert (shown.warning, shown.critical, shown.is_changed) == (50, 90, True)
    assert (shown.default_warning, shown.default_critical, shown.source) == (80, 90, "own")
    assert chosen_thresholds(store, "other") == {}
    set_threshold(store, "shop", BUSY, who="ann")
    assert not thresholds_of(store, "shop", (BUSY,))[0].is_changed
    with pytest.raises(Refused, match="urgent before it is worth a look"):
        set_threshold(store, "shop", BUSY, warning=95, who="ann")
    for never in (math.nan, math.inf):
        with pytest.raises(Refused, match="has to be a number"):
            set_threshold(store, "shop", BUSY, warning=never, who="ann")
    with pytest.raises(Refused, match="no such threshold"):
        set_threshold(store, "shop", quiet, warning=1, who="ann")


def test_a_set_threshold_is_what_a_report_judges_by(store: Engine, tmp_path: Path) -> None:
    database = SQLiteDatabase(tmp_path, "delete")
    database.run("CREATE TABLE a (b)")
    engine = create_engine(database.url)
    links = next(check for check in CHECKS if check.id == "sqlite.empty_space")
    set_threshold(store, "live", links, warning=0, who="ann")
    report = get_health_report(engine, thresholds=chosen_thresholds(store, "live"))
    (found,) = [one for one in report.findings if one.id == links.id]
    assert "look soon from 0 %" in found.technical


def test_a_finding_is_put_aside_until_it_gets_worse(store: Engine) -> None:
    soon = Finding("test.busy", "Busy", Level.SOON, "It is busy.")
    until = time.time() + 1000
    put_aside(store, "shop", soon, until=until, reason=" known ", who="ann")
    rests = put_asides(store, "shop")
    report = report_of("x", with_asides((soon,), rests), {})
    assert report.status is Status.UNKNOWN
    assert report.headline == "Everything found was put aside."
    note = report.findings[0].aside
    assert note is not None
    assert (note.until, note.reason, note.who) == (until, "known", "ann")
    good = Finding("test.ok", "Ok", Level.GOOD, "Fine.")
    report = report_of("x", with_asides((soon, good), rests), {})
    assert report.status is Status.HEALTHY
    assert report.headline == "Everything we looked at is fine, but 1 thing was put aside."
    (worse,) = with_asides((replace(soon, level=Level.NOW),), rests)
    assert worse.aside is None
    take_back(store, "shop", "test.busy")
    assert put_asides(store, "shop") == ()


def test_what_can_not_be_put_aside(store: Engine) -> None:
    soon = Finding("test.busy", "Busy", Level.SOON, "It is busy.")
    later = time.time() + 1000
    for finding, until, reason in (
        (replace(soon, level=Level.GOOD), later, "why"),
        (soon, later, "  "),
        (soon, time.time() - 1, "why"),
    ):
        with pytest.raises(Refused):
            put_aside(store, "shop", finding, until=until, reason=reason, who="ann")
    assert put_asides(store, "shop") == ()


def test_what_a_redis_is_for_is_said_once(store: Engine) -> None:
    assert purpose_of(store) is None
    for purpose in (Purpose.QUEUE, Purpose.CACHE):
        set_purpose(store, purpose, who="ann")
        assert purpose_of(store) is purpose

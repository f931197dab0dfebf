"""When something is due: real time zones, both daylight-saving changes, both hemispheres."""

from __future__ import annotations

import doctest
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import timetable
from ops.errors import Refused
from ops.timetable import Every, Rhythm, Timetable

# Half an hour's change, a change at midnight, two southern ones, and none at all among them.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "UTC",
)
STARTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
TIMES = st.times(time(0, 0), time(23, 59))


def _local(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone))


def _runs(line: str, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    runs = []
    for run in Timetable(line, zone).after(begin):
        if run > end:
            break
        runs.append(run)
    return runs


@pytest.mark.parametrize(
    ("zone", "line", "day", "expected"),
    [
        # The clock goes from 02:00 to 03:00, and from 03:00 back to 02:00.
        ("Europe/Berlin", "30 2 * * *", date(2027, 3, 28), "2027-03-28T03:00:00+02:00"),
        ("Europe/Berlin", "30 2 * * *", date(2027, 10, 31), "2027-10-31T02:30:00+02:00"),
        ("Europe/Berlin", "0 3 * * *", date(2027, 3, 28), "2027-03-28T03:00:00+02:00"),
        ("America/New_York", "15 2 * * *", date(2027, 3, 14), "2027-03-14T03:00:00-04:00"),
        ("America/New_York", "15 1 * * *", date(2027, 11, 7), "2027-11-07T01:15:00-04:00"),
        ("Australia/Sydney", "30 2 * * *", date(2027, 10, 3), "2027-10-03T03:00:00+11:00"),
        ("Australia/Sydney", "30 2 * * *", date(2027, 4, 4), "2027-04-04T02:30:00+11:00"),
        # Midnight itself is skipped; half an hour is.
        ("America/Santiago", "30 0 * * *", date(2027, 9, 5), "2027-09-05T01:00:00-03:00"),
        ("Australia/Lord_Howe", "15 2 * * *", date(2027, 10, 3), "2027-10-03T02:30:00+11:00"),
    ],
)
def test_the_clock_is_changed_and_it_is_due_once(
    zone: str, line: str, day: date, expected: str
) -> None:
    before = (datetime.combine(day, time(0), ZoneInfo(zone)) - timedelta(minutes=1)).astimezone(UTC)
    runs = _runs(line, zone, before, before + timedelta(hours=23))
    assert [_local(run, zone).isoformat() for run in runs] == [expected]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ZONES), TIMES, STARTS)
def test_a_daily_run_is_due_once_on_every_day(zone: str, at: time, start: datetime) -> None:
    end = start + timedelta(days=370)
    runs = _runs(Rhythm(Every.DAY, at).line, zone, start, end)
    days = Counter(_local(run, zone).date() for run in runs)
    assert set(days.values()) == {1}
    first, last = min(days), max(days)
    assert len(days) == (last - first).days + 1
    assert first - _local(start, zone).date() <= timedelta(days=1)
    assert _local(end, zone).date() - last <= timedelta(days=1)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from([2, 3, 4, 6, 8, 12]), TIMES, STARTS)
def test_every_few_hours_each_hour_of_the_clock_is_due_once(
    zone: str, hours: int, at: time, start: datetime
) -> None:
    """Also in the night in which the clock shows some hour twice, or never."""
    runs = _runs(Rhythm(Every.HOURS, at, hours).line, zone, start, start + timedelta(days=366))
    shown = Counter((_local(run, zone).date(), _local(run, zone).hour) for run in runs)
    assert set(shown.values()) == {1}
    for earlier, later in pairwise(runs):
        assert timedelta(hours=hours - 1) <= later - earlier <= timedelta(hours=hours + 1)


def test_every_hour_goes_by_true_hours() -> None:
    begin = datetime(2027, 10, 30, 20, 30, tzinfo=UTC)
    runs = _runs("0 * * * *", "Europe/Berlin", begin, begin + timedelta(days=1))
    assert {later - earlier for earlier, later in pairwise(runs)} == {timedelta(hours=1)}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(["30 2 * * *", "0 */2 * * *", "*/20 1-3 * * *", "0 3 * * 0", "5 0 1 * *"]),
    STARTS,
    st.integers(0, 3 * 24 * 60),
)
def test_from_wherever_one_looks_the_same_moments_are_due(
    zone: str, line: str, start: datetime, minutes: int
) -> None:
    """A run that was noted is found again, and never a second moment for it."""
    plan = Timetable(line, zone)
    runs = _runs(line, zone, start, start + timedelta(days=40))
    look = start + timedelta(minutes=minutes)
    assert plan.next_runs(look, 1) == [next(run for run in runs if run > look)]
    last = plan.last_run(look)
    assert last is not None
    assert last <= look
    passed = [run for run in runs if run <= look]
    assert last == passed[-1] if passed else last <= start


def test_the_last_run_of_a_rare_line_and_of_a_busy_one() -> None:
    now = datetime(2027, 2, 1, 0, 0, 30, tzinfo=UTC)
    assert Timetable("0 3 29 2 *", "UTC").last_run(now) == datetime(2024, 2, 29, 3, tzinfo=UTC)
    assert Timetable("* * * * *", "UTC").last_run(now) == now.replace(second=0)


def test_the_longest_gap_is_the_one_to_wait_for() -> None:
    now = datetime(2027, 2, 1, tzinfo=UTC)
    assert Timetable("0 3 * * *", "UTC").longest_gap(now) == timedelta(days=1)
    assert Timetable("0 3 * * 1-5", "UTC").longest_gap(now) == timedelta(days=3)


@pytest.mark.parametrize(
    ("line", "zone", "told"),
    [
        ("0 3 * *", "UTC", "five fields"),
        ("0 0 3 * * *", "UTC", "five fields"),
        ("0 25 * * *", "UTC", "its hour is not possible"),
        ("0 3 30 2 *", "UTC", "day-of-month is not possible"),
        ("every day", "UTC", "five fields"),
        ("0 3 * * *", "Berlin", "no time zone"),
        ("0 3 * * *", "../etc/passwd", "no time zone"),
    ],
)
def test_what_cannot_be_understood_is_refused(line: str, zone: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        Timetable(line, zone)


@given(
    st.one_of(
        st.builds(Rhythm, st.just(Every.DAY), TIMES),
        st.builds(Rhythm, st.just(Every.WEEK), TIMES, weekday=st.integers(0, 6)),
        st.builds(Rhythm, st.just(Every.MONTH), TIMES, day=st.integers(1, 28)),
    )
)
def test_a_rhythm_is_read_back_from_its_line(rhythm: Rhythm) -> None:
    plain = Rhythm(
        rhythm.every, rhythm.at.replace(second=0, microsecond=0), 6, rhythm.weekday, rhythm.day
    )
    assert Rhythm.of(rhythm.line) == plain


def test_what_plain_controls_cannot_say_is_told_in_words_all_the_same() -> None:
    assert Rhythm.of("0 3 * * 1-5") is None
    assert "Monday through Friday" in Timetable("0 3 * * 1-5", "UTC").in_words()
    assert Rhythm.of("10 */6 * * *") == Rhythm(Every.HOURS, time(0, 10), hours=6)
    assert Timetable("0 * * * *", "UTC").in_words() == "every hour at minute 0"


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(timetable)
    assert result.attempted > 0
    assert result.failed == 0

"""What retention promises, over thousands of generated calendars."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from ops.retention import YOUNG, Decision, Kept, Policy, decide, summary

NOW = datetime(2027, 6, 30, 12, tzinfo=UTC)
ZONE = "Europe/Berlin"
DEFAULT = Policy()
SLACK = timedelta(hours=1)
"""Clocks differ; what is dated later than this is "from the future" and no newest backup."""

ages = st.one_of(
    st.integers(-3 * 24 * 60, 30 * 24 * 60),  # minutes; a few from the future
    st.integers(0, 500 * 24 * 60),
    st.integers(0, 500).map(lambda days: days * 24 * 60),
)
policies = st.builds(
    Policy,
    daily=st.integers(1, 10),
    weekly=st.integers(0, 6),
    monthly=st.integers(0, 6),
    keeps_named=st.booleans(),
)


def _backup(number: int, minutes: int, digits: int) -> Kept:
    """Each digit that is a nine gives a backup one trait."""
    bad, named, held, foreign, needed, proven = (c == "9" for c in f"{digits:06}")
    return Kept(
        f"shop-{number}.zip",
        NOW - timedelta(minutes=minutes),
        is_good=not bad,
        label="before the update" if named else "",
        is_held=held,
        is_ours=not foreign,
        is_needed=needed,
        proven_at=NOW if proven else None,
    )


calendars = st.lists(st.tuples(ages, st.integers(0, 999_999)), max_size=60).map(
    lambda made: [_backup(number, *facts) for number, facts in enumerate(made)]
)


def _stay(decisions: Iterable[Decision]) -> set[str]:
    return {decision.backup.name for decision in decisions if decision.keeps}


@lru_cache(maxsize=1000)
def _day(backup: Kept) -> date:
    return backup.created_at.astimezone(ZoneInfo(ZONE)).date()


def _week(backup: Kept) -> tuple[int, int]:
    return _day(backup).isocalendar()[:2]


def _month(backup: Kept) -> tuple[int, int]:
    return _day(backup).year, _day(backup).month


@settings(max_examples=2000, deadline=None)
@given(calendars, policies)
def test_no_promise_is_ever_broken(backups: list[Kept], policy: Policy) -> None:
    decisions = decide(backups, policy, ZONE, NOW)
    assert sorted(d.backup.name for d in decisions) == sorted(b.name for b in backups)
    assert all(decision.reason for decision in decisions)
    stay = _stay(decisions)

    past = [b for b in backups if b.is_good and b.is_ours and b.created_at <= NOW + SLACK]
    newest = max(past, key=lambda backup: backup.created_at, default=None)
    proven = [backup for backup in past if backup.proven_at]
    last_proven = max(proven, key=lambda backup: backup.created_at, default=None)
    for last in (newest, last_proven):
        assert last is None or any(b.name in stay for b in past if b.created_at == last.created_at)

    for backup in backups:
        kept_by_rule = (
            backup.is_held
            or backup.is_needed
            or not backup.is_ours
            or not backup.is_good
            or (backup.label and policy.keeps_named)
            or NOW - backup.created_at < YOUNG
        )
        assert not kept_by_rule or backup.name in stay

    for count, period in ((policy.daily, _day), (policy.weekly, _week), (policy.monthly, _month)):
        assert _newest_periods(past, count, period) <= {period(b) for b in past if b.name in stay}


def _newest_periods(
    backups: list[Kept], count: int, period: Callable[[Kept], tuple[int, int] | date]
) -> set[tuple[int, int] | date]:
    """The last periods that have a backup: each must still have one afterwards."""
    ordered = sorted(backups, key=lambda backup: backup.created_at, reverse=True)
    return set(list(dict.fromkeys(period(backup) for backup in ordered))[:count])


@settings(max_examples=500, deadline=None)
@given(calendars, policies)
def test_what_stayed_stays_the_next_time(backups: list[Kept], policy: Policy) -> None:
    stay = _stay(decide(backups, policy, ZONE, NOW))
    left = [backup for backup in backups if backup.name in stay]
    assert _stay(decide(left, policy, ZONE, NOW)) == stay


@settings(max_examples=300, deadline=None)
@given(calendars, policies)
def test_nothing_is_deleted_until_you_say_so(backups: list[Kept], policy: Policy) -> None:
    held = policy.model_copy(update={"holds_all": True})
    assert all(decision.keeps for decision in decide(backups, held, ZONE, NOW))


@settings(max_examples=300, deadline=None)
@given(calendars, policies, st.integers(0, 59))
def test_holding_one_more_deletes_no_other(backups: list[Kept], policy: Policy, which: int) -> None:
    """A hold takes no place: whoever would have stayed without it stays with it."""
    if not backups:
        return
    one = backups[which % len(backups)]
    held = [replace(b, is_held=True) if b is one else b for b in backups]
    stay = _stay(decide(backups, policy, ZONE, NOW))
    assert stay <= _stay(decide(held, policy, ZONE, NOW)) | {one.name}


def _through_the_days(days: int, step: timedelta = timedelta(days=1)) -> list[Kept]:
    """What is left after so many days of backups at 03:00, each followed by retention."""
    left: list[Kept] = []
    now = NOW - timedelta(days=days)
    while now <= NOW:
        left.append(Kept(f"{now.isoformat()}.zip", now))
        stay = _stay(decide(left, DEFAULT, ZONE, now + timedelta(minutes=1)))
        left = [backup for backup in left if backup.name in stay]
        now += step
    return left


def test_a_year_of_daily_backups_leaves_seven_days_four_weeks_and_three_months() -> None:
    left = _through_the_days(400)
    assert len({_day(backup) for backup in left[-7:]}) == 7
    assert len({_week(backup) for backup in left}) >= 4
    assert {_month(backup) for backup in left} == {(2027, 6), (2027, 5), (2027, 4)}
    assert len(left) <= 7 + 4 + 3


def test_hourly_backups_of_the_last_day_stay_all() -> None:
    left = _through_the_days(40, timedelta(hours=1))
    assert sum(NOW - backup.created_at < YOUNG for backup in left) == 24
    assert len(left) <= 24 + 7 + 4 + 3


def test_when_backups_stop_the_last_ones_stay() -> None:
    left = _through_the_days(60)
    years_later = decide(left, DEFAULT, ZONE, NOW + timedelta(days=1000))
    assert len(_stay(years_later)) >= 7 + 2


def test_every_decision_is_told_in_words() -> None:
    backups = [
        Kept("new.zip", NOW - timedelta(hours=30)),
        Kept("named.zip", NOW - timedelta(days=300), label="before the update"),
        Kept("held.zip", NOW - timedelta(days=301), is_held=True),
        Kept("broken.zip", NOW - timedelta(days=302), is_good=False),
        *(Kept(f"old-{n}.zip", NOW - timedelta(days=n)) for n in range(2, 12)),
        Kept("proven.zip", NOW - timedelta(days=200), proven_at=NOW - timedelta(days=199)),
    ]
    policy = Policy(daily=2, weekly=1, monthly=1)
    told = {d.backup.name: (d.keeps, d.reason) for d in decide(backups, policy, ZONE, NOW)}
    assert told["new.zip"] == (True, "The newest good backup")
    assert told["named.zip"] == (True, "It was given a name")
    assert told["held.zip"] == (True, "You asked to keep it until you let it go")
    assert told["broken.zip"][0]
    assert told["proven.zip"] == (True, "The last one that passed a test restore")
    assert told["old-2.zip"] == (True, "Daily: the last of Monday 28 Jun 2027")
    assert told["old-11.zip"] == (
        False,
        "Newer ones are kept: 2 daily, 1 weekly and 1 monthly ones",
    )
    assert summary(decide(backups, policy, ZONE, NOW)) == "9 backups would be deleted, 6 kept."
    loose = policy.model_copy(update={"keeps_named": False})
    assert "named.zip" not in _stay(decide(backups, loose, ZONE, NOW))

"""What figures over time say about what is to come.

The slope is that of Theil and Sen over the medians of days: one odd day does not bend it.
Its range holds the true slope in 90 of 100 cases (Sen, "Estimates of the Regression
Coefficient Based on Kendall's Tau", 1968).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median
from typing import Final

from ops.checks.words import many

DAY: Final = 86_400
WINDOW_DAYS: Final = 14
"""Two whole weeks: a working week and its end count alike."""

_SHORTEST_DAYS: Final = 3
_FEWEST_DAYS: Final = 4
"""With fewer daily values, the range of the slope is endless."""
_Z_90: Final = 1.645
_FAR_DAYS: Final = 730

Points = Sequence[tuple[float, float]]
"""(seconds since the epoch, figure), oldest first."""


@dataclass(frozen=True)
class Slope:
    """Change a day, with the range in which it lies in 90 of 100 cases."""

    per_day: float
    low: float
    high: float


class Course(StrEnum):
    """Where the free disk is heading."""

    TOO_EARLY = "too early"
    NOT_FILLING = "not filling"
    FILLING = "filling"


@dataclass(frozen=True)
class Outlook:
    """In how many days the disk is full, from `soonest` to `latest`; all None unless it is
    filling. `eaten_per_day` in bytes."""

    course: Course
    days: float | None = None
    soonest: float | None = None
    latest: float | None = None
    eaten_per_day: float | None = None


def disk_outlook(free: Points, now: float) -> Outlook:
    """When the disk will be full, from samples of its free bytes."""
    recent = [point for point in free if point[0] >= now - WINDOW_DAYS * DAY]
    found = slope(by_day(recent))
    if found is None or recent[-1][0] - recent[0][0] < _SHORTEST_DAYS * DAY:
        return Outlook(Course.TOO_EARLY)
    if found.high >= 0:
        return Outlook(Course.NOT_FILLING)
    left = recent[-1][1]
    days, soonest, latest = (left / -rate for rate in (found.per_day, found.low, found.high))
    return Outlook(Course.FILLING, days, soonest, latest, -found.per_day)


def outlook_in_words(outlook: Outlook) -> str:
    """The outlook as one sentence, with its range."""
    if outlook.course is Course.TOO_EARLY:
        return "It is too early to tell when the disk will be full."
    if outlook.days is None or outlook.soonest is None or outlook.latest is None:
        return "The disk is not clearly filling up."
    if outlook.soonest > _FAR_DAYS:
        return "At this rate the disk has room for more than two years."
    days = f"At this rate the disk is full in about {_days(outlook.days)}"
    if outlook.latest > _FAR_DAYS:
        return f"{days} (between {_days(outlook.soonest)} and more than two years)."
    soonest, latest = math.floor(outlook.soonest), math.ceil(outlook.latest)
    return f"{days} (between {soonest:,} and {many(latest, 'day')})."


def by_day(points: Points) -> list[tuple[float, float]]:
    """The median of every day (UTC) as (days since the epoch, figure), oldest first."""
    days: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for taken, value in points:
        days[int(taken // DAY)].append((taken / DAY, value))
    return [
        (fmean(taken for taken, _ in found), median(value for _, value in found))
        for _, found in sorted(days.items())
    ]


def slope(points: Points) -> Slope | None:
    """The median of the slopes between all pairs, and its range; None with too few points."""
    number = len(points)
    if number < _FEWEST_DAYS:
        return None
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for place, earlier in enumerate(points)
        for later in points[place + 1 :]
        if later[0] > earlier[0]
    )
    spread = _Z_90 * math.sqrt(number * (number - 1) * (2 * number + 5) / 18)
    first = max(0, math.floor((len(slopes) - spread) / 2) - 1)
    last = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return Slope(median(slopes), slopes[first], slopes[last])


def change(points: Points, since: float) -> float | None:
    """By how much the figure is more than at `since`, or at the first sample after it; None
    where there are not two samples."""
    recent = [value for taken, value in points if taken >= since]
    return recent[-1] - recent[0] if len(recent) > 1 else None


def _days(days: float) -> str:
    return many(max(0, round(days)), "day")

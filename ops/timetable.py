"""When something is due again and again: a cron line in a named time zone.

Wall-clock times are kept across both daylight-saving changes: a time that the clock skips is
due as soon as it has skipped it, a time that the clock shows twice is due the first time.
The arithmetic is cronsim's, which follows Debian's cron. All moments are UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from itertools import islice, pairwise
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from ops.errors import Refused

WEEKDAYS: Final = (
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
)
"""By their numbers in a cron line."""

_LOOK_BACK: Final = [timedelta(hours=2), *(timedelta(days=n) for n in (2, 35, 370, 3000))]
"""How far back the last run is looked for, so that a busy line is not gone through for years."""

_GAPS_LOOKED_AT: Final = 12


@dataclass(frozen=True)
class Timetable:
    """A cron line of five fields, and the name of the time zone in which it is meant.

    Raises:
        Refused: the line or the zone cannot be understood, or the line is never due.
    """

    line: str
    zone: str

    def __post_init__(self) -> None:
        if self.zone not in zone_names():
            raise Refused(
                f"There is no time zone named {self.zone!r}.",
                "Name it like Europe/Berlin or America/New_York.",
            )
        if len(self.line.split()) != 5:
            raise _not_understood(self.line, "it does not have five fields")
        try:
            next(self.after(datetime.now(UTC)))
        except CronSimError as cause:
            field = str(cause).removeprefix("Bad ")
            raise _not_understood(self.line, f"its {field} is not possible") from cause
        except StopIteration:
            raise _not_understood(self.line, "there is no such day") from None

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Every due moment later than `moment`, in order."""
        start = moment.astimezone(ZoneInfo(self.zone))
        for due in CronSim(_at_fixed_times(self.line), start):
            # Within the hour that comes twice cronsim answers by its first showing.
            if due.astimezone(UTC) > moment:
                yield due.astimezone(UTC)

    def next_runs(self, moment: datetime, count: int = 3) -> list[datetime]:
        """The next due moments after `moment`."""
        return list(islice(self.after(moment), count))

    def last_run(self, moment: datetime) -> datetime | None:
        """The last due moment that is not later than `moment`; None if it was years ago."""
        for back in _LOOK_BACK:
            last = None
            for due in self.after(moment - back):
                if due > moment:
                    break
                last = due
            if last is not None:
                return last
        return None

    def longest_gap(self, moment: datetime) -> timedelta:
        """The longest time between two of the next runs, by which an age is judged."""
        runs = self.next_runs(moment, _GAPS_LOOKED_AT)
        gaps = [later - earlier for earlier, later in pairwise(runs)]
        return max(gaps, default=timedelta(days=366))

    def in_words(self) -> str:
        """Like "every day at 03:00"; a line beyond the plain rhythms as cronsim explains it."""
        rhythm = Rhythm.of(self.line)
        if rhythm is not None:
            return rhythm.in_words()
        told = CronSim(self.line, datetime.now(UTC)).explain()
        return told[:1].lower() + told[1:]


class Every(StrEnum):
    """How often, as a person chooses it."""

    HOURS = "hours"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True)
class Rhythm:
    """What plain controls can say. `at` tells hours and minutes, and of HOURS the minute only;
    `hours` divides 24; `weekday` counts from Sunday = 0; `day` is a day that every month has.

    >>> Rhythm(Every.DAY, time(3)).line, Rhythm.of("30 4 * * 1").in_words()
    ('0 3 * * *', 'every Monday at 04:30')
    """

    every: Every
    at: time = time(3)
    hours: int = 6
    weekday: int = 0
    day: int = 1

    @property
    def line(self) -> str:
        """The same as a cron line."""
        minute, hour = self.at.minute, self.at.hour
        match self.every:
            case Every.HOURS:
                step = "*" if self.hours == 1 else f"*/{self.hours}"
                return f"{minute} {step} * * *"
            case Every.DAY:
                return f"{minute} {hour} * * *"
            case Every.WEEK:
                return f"{minute} {hour} * * {self.weekday}"
            case Every.MONTH:
                return f"{minute} {hour} {self.day} * *"

    @classmethod
    def of(cls, line: str) -> Rhythm | None:
        """The rhythm that has this cron line; None where plain controls cannot say it."""
        found = _PLAIN.fullmatch(" ".join(line.split()))
        if found is None:
            return None
        minute, step, hour, day, weekday = found.group("minute", "step", "hour", "day", "weekday")
        at = time(int(hour or 0), int(minute))
        if hour is None:
            return cls(Every.HOURS, at, hours=int(step or 1))
        if weekday is not None:
            return cls(Every.WEEK, at, weekday=int(weekday)) if day is None else None
        return cls(Every.DAY, at) if day is None else cls(Every.MONTH, at, day=int(day))

    def in_words(self) -> str:
        """Like "every Sunday at 05:00"."""
        match self.every:
            case Every.HOURS if self.hours == 1:
                return f"every hour at minute {self.at.minute}"
            case Every.HOURS:
                return f"every {self.hours} hours, at minute {self.at.minute}"
            case Every.DAY:
                return f"every day at {self.at:%H:%M}"
            case Every.WEEK:
                return f"every {WEEKDAYS[self.weekday]} at {self.at:%H:%M}"
            case Every.MONTH:
                return f"on day {self.day} of every month at {self.at:%H:%M}"


_PLAIN: Final = re.compile(
    r"(?P<minute>[0-5]?\d) "
    r"(?:(?P<hour>1?\d|2[0-3])|\*(?:/(?P<step>[23468]|12))?) "
    r"(?:\*|(?P<day>[1-9]|1\d|2[0-8])) \* (?:\*|(?P<weekday>[0-6]))"
)


@cache
def zone_names() -> frozenset[str]:
    """Every time zone that has a name."""
    return frozenset(available_timezones())


def _at_fixed_times(line: str) -> str:
    """The line with its starred steps written out, unless it is due in every hour.

    Debian's cron takes a star for "this often" and lets such a line skip, or repeat, what the
    clock does: a backup every two hours would have one too few or too many twice a year.
    """
    _, hour, *days = line.upper().split()
    if hour in ("*", "*/1"):
        return line
    parsed = CronSim(line, datetime.now(UTC))
    minutes, hours = (",".join(map(str, sorted(field))) for field in (parsed.minutes, parsed.hours))
    return " ".join([minutes, hours, *days])


def _not_understood(line: str, why: str) -> Refused:
    return Refused(
        f"The cron line {line[:80]!r} cannot be used: {why}.",
        "It has five fields: minute, hour, day of the month, month, day of the week; "
        "for example “0 3 * * *” for every day at 03:00.",
    )

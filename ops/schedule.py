"""What the console does to a database by itself, and when: a plan for each target.

There is none until a person makes one; the pages offer it with one click.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from sqlalchemy import select

from ops.errors import OpsError, Refused
from ops.installation import Installation
from ops.retention import Policy
from ops.store import put
from ops.store import schedules as table
from ops.timetable import Timetable

DAILY: Final = "0 3 * * *"
SUNDAYS: Final = "0 5 * * 0"
SATURDAYS: Final = "0 5 * * 6"


class Routine(StrEnum):
    """The kinds of jobs that a plan can hold, in the order in which they are begun."""

    BACKUP = "backup"
    TEST = "test"
    RECHECK = "recheck"


NAMES: Final = {
    Routine.BACKUP: "backup",
    Routine.TEST: "test restore of the newest backup",
    Routine.RECHECK: "reading all kept backups again",
}


class Plan(BaseModel):
    """What a person has chosen for one target. `backup`, `test` (a test restore of the newest
    backup) and `recheck` (reading all kept ones again) are cron lines in the time zone `zone`;
    None leaves it out. `makes_up`: a run that was due while the console was off is made up
    once at its next start.

    Raises:
        Refused: a line or the zone cannot be understood.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_on: bool = True
    zone: str = "UTC"
    backup: str = DAILY
    test: str | None = SUNDAYS
    recheck: str | None = SATURDAYS
    makes_up: bool = True
    keep: Policy = Policy()

    @model_validator(mode="after")
    def _can_be_understood(self) -> Self:
        self.timetables()
        return self

    def timetables(self) -> dict[Routine, Timetable]:
        """When each kind of work is due, whether the plan is on or off."""
        lines = {
            Routine.BACKUP: self.backup,
            Routine.TEST: self.test,
            Routine.RECHECK: self.recheck,
        }
        return {kind: Timetable(line, self.zone) for kind, line in lines.items() if line}

    def in_words(self) -> str:
        """Like "backup every day at 03:00 (UTC); 7 daily, 4 weekly and 3 monthly ones kept"."""
        state = "" if self.is_on else "switched off; "
        told = [f"{kind.value} {times.in_words()}" for kind, times in self.timetables().items()]
        kept = "nothing deleted" if self.keep.holds_all else f"{self.keep.in_words()} kept"
        return f"{state}{', '.join(told)} ({self.zone}); {kept}"

    def has_times_of(self, other: Plan) -> bool:
        """Whether both are due at the same moments."""
        return self.is_on == other.is_on and self.timetables() == other.timetables()


@dataclass(frozen=True)
class Schedule:
    """A plan in force. No moment before `since` (UTC), when its times were chosen, is due."""

    plan: Plan
    since: datetime

    def next_backups(self, now: datetime, count: int = 3) -> list[datetime]:
        """When the next backups will begin; none while the plan is off."""
        if not self.plan.is_on:
            return []
        return self.plan.timetables()[Routine.BACKUP].next_runs(now, count)


def schedule_of(home: Installation, target: str) -> Schedule | None:
    """The schedule of a target; None where nobody has made one.

    Raises:
        OpsError: what is stored cannot be understood.
    """
    with home.store.connect() as store:
        row = store.execute(select(table).where(table.c.target == target)).mappings().one_or_none()
    if row is None:
        return None
    try:
        plan = Plan.model_validate(row["plan"])
    except (ValidationError, Refused) as cause:
        raise OpsError(
            f"The schedule of {target!r} cannot be read, so no backup is made by itself.",
            "Set it again on the Schedule page.",
            str(cause),
        ) from cause
    return Schedule(plan, datetime.fromtimestamp(row["since"], UTC))


def save_plan(home: Installation, target: str, plan: Plan, who: str) -> None:
    """Put a plan in force, at once. Raises Refused where there is no such target."""
    home.target(target)
    since = time.time()
    try:
        former = schedule_of(home, target)
    except OpsError:
        former = None  # the new one takes the place of one that cannot be read
    if former is not None and former.plan.has_times_of(plan):
        since = former.since.timestamp()
    row = {"target": target, "plan": plan.model_dump(mode="json"), "since": since, "who": who}
    with home.store.begin() as store:
        put(store, table, row)


def plan_from(values: Mapping[str, object], base: Plan) -> Plan:
    """`base` with some values replaced.

    Raises:
        Refused: a value is impossible.
    """
    try:
        return Plan.model_validate({**base.model_dump(), **values})
    except ValidationError as cause:
        problem = cause.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise Refused(f"The schedule cannot be set: {where}: {problem['msg']}.") from None

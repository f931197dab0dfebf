"""Will the disk be full soon?"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ops.checks.base import Check, Context, Finding, Level, Reading, no_questions
from ops.checks.words import size
from ops.trends import Course, Points, disk_outlook, outlook_in_words

_SOON_DAYS: Final = 30
_NOW_DAYS: Final = 7


def outlook_findings(database: Points, backups: Points, now: float) -> list[Finding]:
    """Judge two disks by samples of their free bytes: the database's and that of the backups,
    as of `now` (seconds since the epoch). A disk that was never measured is left out, and so is
    the second where both are one."""
    is_one = bool(database and backups) and _is_one_disk(database[-1][1], backups[-1][1])
    asked = ((DATABASE_DISK, database), (BACKUPS_DISK, [] if is_one else backups))
    return [
        check.answer(Context(no_questions, {"free": free, "now": now}))
        for check, free in asked
        if free
    ]


def _is_one_disk(free: float, other: float) -> bool:
    """Both were measured at nearly the same moment: one disk has the same room both times."""
    return abs(free - other) <= 0.01 * max(free, other)


def _outlook(context: Context, check: Check) -> Reading:
    free: Points = context.facts["free"]
    outlook = disk_outlook(free, context.facts["now"])
    detail = f"free {free[-1][1]:,.0f} bytes"
    if outlook.eaten_per_day is not None:
        detail += f", {size(outlook.eaten_per_day)} less a day"
    words = {"outlook": outlook_in_words(outlook)}
    if outlook.course is Course.TOO_EARLY:
        return Reading(Level.INFO, words, detail=detail, sentence="{outlook}", fix=_WAIT)
    days = outlook.days
    if days is None or days > _SOON_DAYS:
        return Reading(Level.GOOD, words, days, detail)
    return Reading(Level.NOW if days <= _NOW_DAYS else Level.SOON, words, days, detail)


_WAIT: Final = "Nothing: after four days the console can tell."

DATABASE_DISK: Final = Check(
    id="outlook.disk",
    title="When the database's disk will be full",
    measure=_outlook,
    finding="{outlook}",
    why="On a full disk the app stops saving, and a restore has no room.",
    fix="Delete what is no longer needed on that disk, or have it made larger, before that day.",
    good="{outlook}",
    unit="days left",
    source=f"look soon below {_SOON_DAYS} days, act now below {_NOW_DAYS} (own); Theil–Sen slope "
    "of the last 14 days with its 90 % range (own)",
)
BACKUPS_DISK: Final = replace(
    DATABASE_DISK,
    id="outlook.backups-disk",
    title="When the disk of the backups will be full",
    why="On a full disk no backup can be made.",
    fix="Delete old backups that you no longer need, or have the disk made larger.",
)

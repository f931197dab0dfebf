"""Are backups made by themselves, do they succeed, and are they like the ones before?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from statistics import median
from typing import Final

from ops.checks.base import URGENCY, CannotCheck, Check, Context, Level, Reading
from ops.checks.words import MB, duration, listed, many, size

_COMPARED_WITH: Final = 7
_FEWEST: Final = 3
"""Earlier backups without which nothing is "usual"."""

_CLOCK_SLACK: Final = timedelta(hours=1)

_BACKUP: Final = "backup"
_LONG_WAIT_SECONDS: Final = 3600


def is_ahead(moment: datetime, now: datetime) -> bool:
    """Whether something is dated in the future: made while a clock was wrong."""
    return moment > now + _CLOCK_SLACK


@dataclass(frozen=True)
class ScheduleFact:
    """A plan: `words` tell when backups are due, `longest_gap_seconds` lies between two."""

    is_on: bool
    words: str
    longest_gap_seconds: float


@dataclass(frozen=True)
class RunFact:
    """A scheduled run. `kind` is "backup" or another; `state` one of "waiting", "running",
    "done", "failed", "cancelled", "overtaken", "missed"; `tries` have failed so far, the last
    one for `reason`; `next_try` is since when it waits, or until when. Times carry their time
    zone."""

    kind: str
    due_at: datetime
    state: str
    tries: int = 0
    reason: str = ""
    next_try: datetime | None = None


@dataclass(frozen=True)
class SizeFact:
    """The size in bytes and the creation of a good backup of our own."""

    created_at: datetime
    size_bytes: int


@dataclass(frozen=True)
class Upkeep:
    """What is known of the work that keeps backups coming. `runs` and `seconds` (how long
    backups took) are newest first; `missing` names archives that have gone; `free_bytes` of
    the data folder's disk; `unreadable` tells why the schedule cannot be read."""

    schedule: ScheduleFact | None
    runs: Sequence[RunFact] = ()
    seconds: Sequence[float] = ()
    missing: Sequence[str] = ()
    free_bytes: int = 0
    unreadable: str = ""


def _upkeep(context: Context) -> Upkeep:
    found: Upkeep = context.facts["upkeep"]
    return found


def _schedule(context: Context, check: Check) -> Reading:
    upkeep = _upkeep(context)
    if upkeep.unreadable:
        raise CannotCheck(
            "the schedule cannot be read, so no backup is made by itself",
            "Set it again on the Schedule page.",
            upkeep.unreadable,
        )
    if upkeep.schedule is None:
        return Reading(Level.SOON)
    if not upkeep.schedule.is_on:
        return Reading(
            Level.SOON,
            sentence="The schedule is switched off, so no backup is made by itself.",
            fix="Switch it on, on the Schedule page.",
        )
    return Reading(Level.GOOD, {"words": upkeep.schedule.words})


def _runs(context: Context, check: Check) -> Reading:
    """Each kind of work is judged by its newest runs; the worst is told."""
    upkeep, now = _upkeep(context), context.facts["now"]
    if upkeep.schedule is None or not upkeep.schedule.is_on:
        return Reading(Level.GOOD, sentence="Nothing is done on a schedule.")
    kinds = dict.fromkeys(run.kind for run in upkeep.runs)
    readings = [_of_kind([r for r in upkeep.runs if r.kind == kind], now, check) for kind in kinds]
    none = Reading(Level.GOOD, sentence="No scheduled run was due yet.")
    return min(readings, key=lambda reading: URGENCY[reading.level], default=none)


def _of_kind(runs: Sequence[RunFact], now: datetime, check: Check) -> Reading:
    today = [run for run in runs if not is_ahead(run.due_at, now)]
    judged = [run for run in today if run.state not in ("running", "overtaken")]
    if not judged:
        return Reading(Level.GOOD)
    newest = judged[0]
    since = duration(max(0.0, (now - newest.due_at).total_seconds()))
    words: dict[str, object] = {"what": _NAMES.get(newest.kind, newest.kind), "since": since}
    failed = list(takewhile(_has_failed, judged))
    if failed:
        return _failed(failed, words, check)
    if newest.state == "missed":
        return Reading(Level.SOON, words, sentence=_MISSED, fix=_MISSED_FIX)
    waits = now - (newest.next_try or newest.due_at)  # one that is made up was due long before
    if newest.state == "waiting" and waits.total_seconds() > _LONG_WAIT_SECONDS:
        return Reading(Level.SOON, words, sentence=_WAITING, fix=_WAITING_FIX)
    if newest.state == "cancelled":
        return Reading(Level.GOOD, words, sentence="Somebody stopped the last scheduled {what}.")
    return Reading(Level.GOOD)


def _has_failed(run: RunFact) -> bool:
    """Whether it was given up, or is to be tried again after a failure."""
    return run.state == "failed" or (run.state == "waiting" and run.tries > 0)


def _failed(failed: Sequence[RunFact], words: Mapping[str, object], check: Check) -> Reading:
    newest = failed[0]
    level = check.judge(len(failed)) if newest.kind == _BACKUP else Level.SOON
    reason = newest.reason.rstrip(".") or "the reason is not known"
    again = "It is tried again by itself." if newest.state == "waiting" else ""
    told = {**words, "reason": reason, "runs": many(len(failed), "scheduled run"), "again": again}
    lines = [f"due {run.due_at.isoformat()}, failed {run.tries}×: {run.reason}" for run in failed]
    return Reading(level, told, len(failed), "\n".join(lines))


_NAMES: Final = {
    "backup": "backup",
    "test": "test restore",
    "recheck": "reading again of the kept backups",
}
_MISSED: Final = "The {what} that was due {since} ago was missed, because the console was off."
_MISSED_FIX: Final = (
    "Keep the console running at that time, or choose on the Schedule page that missed runs are "
    "made up."
)
_WAITING: Final = "The {what} that was due {since} ago still waits for other work to end."
_WAITING_FIX: Final = (
    "Look on the Overview page at what is running on this database, and stop it if it hangs."
)


def _size(context: Context, check: Check) -> Reading:
    sizes: Sequence[SizeFact] = context.facts["sizes"]
    newest_first = sorted(sizes, key=lambda fact: fact.created_at, reverse=True)
    earlier = [fact.size_bytes for fact in newest_first[1 : 1 + _COMPARED_WITH]]
    if len(earlier) < _FEWEST:
        return Reading(Level.GOOD, sentence="There are too few backups to say what size is usual.")
    usual, newest = median(earlier), newest_first[0].size_bytes
    words = {"size": size(newest), "usual": size(usual)}
    if usual < check.quiet_below:
        return Reading(Level.GOOD, words)
    change = newest / usual - 1
    shrunk = check.judge(-change)
    level = Level.SOON if change >= 1 and shrunk is Level.GOOD else shrunk
    words["than"] = "larger" if change > 0 else "smaller"
    return Reading(
        level, words, change, f"{newest:,} bytes; median of {len(earlier)}: {usual:,.0f}"
    )


def _duration(context: Context, check: Check) -> Reading:
    seconds = _upkeep(context).seconds
    earlier = seconds[1 : 1 + _COMPARED_WITH]
    if len(earlier) < _FEWEST:
        return Reading(Level.GOOD, sentence="There are too few backups to say how long is usual.")
    usual, newest = median(earlier), seconds[0]
    words = {"took": duration(newest), "usual": duration(usual)}
    detail = f"{newest:.1f} s; median of {len(earlier)}: {usual:.1f} s"
    level = Level.GOOD if newest < check.quiet_below else check.judge(newest / max(usual, 0.001))
    return Reading(level, words, newest / max(usual, 0.001), detail)


def _missing(context: Context, check: Check) -> Reading:
    names = _upkeep(context).missing
    words = {
        "backups": many(len(names), "kept backup"),
        "have": "has" if len(names) == 1 else "have",
        "names": listed(names) if names else "",
    }
    return Reading(check.judge(len(names)), words, len(names), "\n".join(names))


def _next_room(context: Context, check: Check) -> Reading:
    sizes: Sequence[SizeFact] = context.facts["sizes"]
    free = _upkeep(context).free_bytes
    if not sizes:
        return Reading(Level.GOOD, sentence="There is no backup yet by whose size to judge.")
    newest = max(sizes, key=lambda fact: fact.created_at).size_bytes
    level = Level.GOOD if free >= 3 * newest else Level.SOON
    if free < 1.2 * newest:
        level = Level.NOW
    words = {"free": size(free), "needed": size(3 * newest)}
    return Reading(level, words, free, f"free {free:,} bytes, newest backup {newest:,} bytes")


CHECKS: Final = (
    Check(
        id="backups.schedule",
        title="Backups by themselves",
        measure=_schedule,
        finding="No backup is made by itself: nobody has set a schedule yet.",
        why="Backups that somebody has to think of are forgotten, and nobody notices.",
        fix="Press “Back up every day at 03:00” on the Overview or the Schedule page.",
        good="Backups are made by themselves, {words}.",
        source="a schedule that is off (own)",
    ),
    Check(
        id="backups.runs",
        title="Scheduled runs",
        measure=_runs,
        finding="The last scheduled {what} failed ({runs} in a row): {reason}. {again}",
        why="What fails at night is noticed by nobody, until the backup is needed.",
        fix="Put right what the reason says, then press “Back up now” to see whether it works.",
        good="The last scheduled runs went well.",
        unit="failed runs in a row",
        warning=1,
        critical=2,
        source="every failed run counts (own)",
    ),
    Check(
        id="backups.size",
        title="Size of the newest backup",
        measure=_size,
        finding="The newest backup is much {than} than usual: {size}, usually {usual}.",
        why="A backup that shrinks may be one of a database that has lost data; one that grows "
        "suddenly may fill the disk.",
        fix="Look whether the database holds what it should. Hold an older backup until you know "
        "(“Hold” on the Backups page).",
        good="The newest backup is of the usual size ({size}).",
        unit="share by which it is smaller",
        warning=0.2,
        critical=0.5,
        floor="1 MB",
        quiet_below=MB,
        source="-20 % or +100 % soon, -50 % now, of the last 7 (own)",
    ),
    Check(
        id="backups.duration",
        title="How long a backup takes",
        measure=_duration,
        finding="The newest backup took much longer than usual: {took}, usually {usual}.",
        why="Backups that get slow run into working hours; the disk or the server may be ailing.",
        fix="Look at the Health page for what else is slow; choose a quieter time for backups on "
        "the Schedule page.",
        good="The newest backup took about as long as usual ({took}).",
        unit="times the usual",
        warning=2,
        floor="one minute",
        quiet_below=60,
        source="twice the median of the last 7 (own)",
    ),
    Check(
        id="backups.missing",
        title="Backups that have gone",
        measure=_missing,
        finding="{backups} {have} disappeared from the data folder: {names}.",
        why="Something other than this console deletes or moves your backups.",
        fix="Look who has deleted or moved them, and put them back if you can. If it was meant, "
        "press “They are gone on purpose” on the Backups page.",
        good="Every backup that was kept is still there.",
        unit="backups",
        warning=1,
        source="every one counts (own)",
    ),
    Check(
        id="backups.next_room",
        title="Room for the next backups",
        measure=_next_room,
        finding="There may not be enough room for the next three backups: {free} free, "
        "{needed} wanted.",
        why="A backup that finds no room is not made.",
        fix="Make room on the disk, or keep fewer backups (on the Schedule page).",
        good="There is room for the next three backups ({free} free).",
        source="three times the newest one (own)",
    ),
)

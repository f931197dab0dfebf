"""Which kept backups may go: grandfather, father, son, and what is never deleted.

Pure: facts in, a decision with its reason for every backup out. Days, weeks and months count
only where they have a backup, so that nothing goes because of its age alone: when backups
stop, the last ones stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from ops.checks.backups_schedule import is_ahead
from ops.checks.words import listed, many

YOUNG: Final = timedelta(days=1)
"""Nothing younger goes: several backups of one day may each be the one that somebody needs."""


class Policy(BaseModel):
    """How many days, weeks and months keep a backup each. With `keeps_named` (the default) a
    backup that was given a label stays until a person deletes it; with `holds_all` nothing is
    deleted at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    daily: int = Field(default=7, ge=1, le=1000)
    weekly: int = Field(default=4, ge=0, le=1000)
    monthly: int = Field(default=3, ge=0, le=1000)
    keeps_named: bool = True
    holds_all: bool = False

    def in_words(self) -> str:
        """Like "7 daily, 4 weekly and 3 monthly ones"."""
        counts = {"daily": self.daily, "weekly": self.weekly, "monthly": self.monthly}
        told = [f"{count} {name}" for name, count in counts.items() if count]
        return f"{listed(told)} ones" if len(told) < 3 else f"{told[0]}, {listed(told[1:])} ones"


@dataclass(frozen=True)
class Kept:
    """What retention must know of a kept backup. `is_good`: readable, and it failed no trial;
    `proven_at`: when its last test restore passed; `is_needed`: an undo or an interrupted
    restore goes by it; `is_known` is False where its name and its trials could not be read. Times
    carry their time zone."""

    name: str
    created_at: datetime
    is_good: bool = True
    label: str = ""
    is_held: bool = False
    is_ours: bool = True
    is_needed: bool = False
    proven_at: datetime | None = None
    is_known: bool = True


@dataclass(frozen=True)
class Decision:
    """What becomes of one backup, and why; `reason` is a sentence without a full stop."""

    backup: Kept
    keeps: bool
    reason: str

    def as_dict(self) -> dict[str, object]:
        """One row of `ops-console prune --json`."""
        return {
            "name": self.backup.name,
            "created_at": self.backup.created_at.isoformat(),
            "label": self.backup.label,
            "keep": self.keeps,
            "reason": self.reason,
        }


def decide(backups: Iterable[Kept], policy: Policy, zone: str, now: datetime) -> list[Decision]:
    """A decision for every backup, newest first. Days are those of the time zone `zone`."""
    ordered = sorted(backups, key=lambda backup: (backup.created_at, backup.name), reverse=True)
    kept = {backup: why for backup in ordered if (why := _by_itself(backup, policy, now))}
    places = _places([backup for backup in ordered if backup not in kept], policy, zone)
    last = _last_ones(ordered, now)
    decisions = []
    for backup in ordered:
        reasons = [kept.get(backup), last.get(backup), places.get(backup), _youth(backup, now)]
        reason = next((told for told in reasons if told), None)
        decisions.append(Decision(backup, reason is not None, reason or _why_not(policy)))
    return decisions


def _by_itself(backup: Kept, policy: Policy, now: datetime) -> str | None:
    """Why this backup stays, whatever others there are."""
    if policy.holds_all:
        return "Nothing is deleted until you say so"
    if backup.is_held:
        return "You asked to keep it until you let it go"
    if backup.is_needed:
        return "Going back from a restore may need it"
    if not backup.is_known:
        return "Whether it was given a name cannot be read any more; name it anew, or delete it"
    if not backup.is_good:
        return "It cannot be trusted; look at it, then delete it by hand"
    if not backup.is_ours:
        return "This console did not make it; delete it by hand"
    if is_ahead(backup.created_at, now):
        return "It is dated in the future, so its age is not known"
    if backup.label and policy.keeps_named:
        return "It was given a name"
    return None


def _last_ones(ordered: Sequence[Kept], now: datetime) -> dict[Kept, str]:
    """The backups without which nothing good, or nothing proven, would be left."""
    good = [b for b in ordered if b.is_good and b.is_ours and not is_ahead(b.created_at, now)]
    proven = [backup for backup in good if backup.proven_at]
    return {
        **dict.fromkeys(proven[:1], "The last one that passed a test restore"),
        **dict.fromkeys(good[:1], "The newest good backup"),
    }


def _places(ordinary: Sequence[Kept], policy: Policy, zone: str) -> dict[Kept, str]:
    """The newest backup of each day, week and month that keeps one.

    What stays for a reason of its own takes nobody's place.
    """
    days = [(backup, backup.created_at.astimezone(ZoneInfo(zone)).date()) for backup in ordinary]
    monthly = _newest_of(days, policy.monthly, lambda day: day.replace(day=1))
    weekly = _newest_of(days, policy.weekly, lambda day: day - timedelta(days=day.weekday()))
    daily = _newest_of(days, policy.daily, lambda day: day)
    return {
        **{backup: f"Monthly: the last of {month:%B %Y}" for backup, month in monthly},
        **{
            backup: f"Weekly: the last of the week from {_day(monday)}" for backup, monday in weekly
        },
        **{backup: f"Daily: the last of {day:%A} {_day(day)}" for backup, day in daily},
    }


def _newest_of(
    days: Sequence[tuple[Kept, date]], count: int, period_of: Callable[[date], date]
) -> Iterator[tuple[Kept, date]]:
    """The newest backup of each of the last `count` periods, and when the period begins."""
    seen: set[date] = set()
    for backup, day in days:
        period = period_of(day)
        if period not in seen and len(seen) < count:
            seen.add(period)
            yield backup, period


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def _youth(backup: Kept, now: datetime) -> str | None:
    return "It is less than a day old" if now - backup.created_at < YOUNG else None


def _why_not(policy: Policy) -> str:
    return f"Newer ones are kept: {policy.in_words()}"


def summary(decisions: Sequence[Decision]) -> str:
    """How many go and stay, as one sentence."""
    go = sum(not decision.keeps for decision in decisions)
    if not go:
        return f"Nothing would be deleted; {many(len(decisions), 'backup')} kept."
    stay = len(decisions) - go
    return f"{many(go, 'backup')} would be deleted, {stay:,} kept."

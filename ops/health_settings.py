"""What people decide about health: thresholds of their own, findings put aside, what Redis is for.

All of it is kept in the store, by the name of the target; that of the Redis is `REDIS`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Engine, delete, select

from ops.checks.base import URGENCY, Aside, Check, Finding, Level, Thresholds
from ops.checks.purpose import Purpose
from ops.errors import Refused
from ops.store import health_asides, health_purposes, health_thresholds, put

REDIS: Final = ":redis"
"""Under this name, which no target can have, stands what is decided about the Redis."""

_LONGEST_REASON: Final = 500


@dataclass(frozen=True)
class Threshold:
    """The thresholds of one check as they are in force, with its own beside. A level that a
    check does not know, such as "act now" for advice, is None in both."""

    id: str
    title: str
    unit: str
    warning: float | None
    critical: float | None
    default_warning: float | None
    default_critical: float | None
    source: str

    @property
    def is_changed(self) -> bool:
        """Whether somebody has set another threshold than the check's own."""
        own = (self.default_warning, self.default_critical)
        return (self.warning, self.critical) != own


@dataclass(frozen=True)
class PutAside:
    """A finding that was put aside: its check, how urgent it was then, and the note."""

    id: str
    level: Level
    note: Aside


def thresholds_of(store: Engine, target: str, checks: tuple[Check, ...]) -> tuple[Threshold, ...]:
    """The thresholds of every check of `checks` that has any, in their order."""
    chosen = chosen_thresholds(store, target)
    return tuple(
        _threshold(check, chosen)
        for check in checks
        if check.warning is not None or check.critical is not None
    )


def _threshold(check: Check, chosen: Mapping[str, Thresholds]) -> Threshold:
    used = check.with_thresholds(chosen.get(check.id))
    return Threshold(
        id=check.id,
        title=check.title,
        unit=check.unit,
        warning=used.warning,
        critical=used.critical,
        default_warning=check.warning,
        default_critical=check.critical,
        source=check.source,
    )


def chosen_thresholds(store: Engine, target: str) -> dict[str, Thresholds]:
    """What people have set, by the check's id, as `get_health_report` takes it."""
    query = select(health_thresholds).where(health_thresholds.c.target == target)
    with store.connect() as connection:
        rows = connection.execute(query).all()
    return {row.check: Thresholds(row.warning, row.critical) for row in rows}


def set_threshold(
    store: Engine,
    target: str,
    check: Check,
    *,
    warning: float | None = None,
    critical: float | None = None,
    who: str,
) -> None:
    """Judge `check` by other thresholds, in its unit; None goes back to the check's own.

    Raises:
        Refused: the check has no such threshold, it is not a number, or "act now" would come
            before "look soon".
    """
    if not all(math.isfinite(wanted) for wanted in (warning, critical) if wanted is not None):
        raise Refused("A threshold has to be a number.", "Nothing was changed.")
    for own, wanted in ((check.warning, warning), (check.critical, critical)):
        if own is None and wanted is not None:
            raise Refused(
                f"“{check.title}” has no such threshold.", "Nothing was changed; set the other one."
            )
    used = check.with_thresholds(Thresholds(warning, critical))
    if None not in (used.warning, used.critical) and used.critical < used.warning:  # type: ignore[operator]
        raise Refused(
            f"“{check.title}” would be urgent before it is worth a look.",
            f"Nothing was changed. “Act now” must not be below “look soon” "
            f"({used.warning:g} {check.unit}).",
        )
    row = {"warning": warning, "critical": critical, "who": who, "changed": time.time()}
    key = {"target": target, "check": check.id}
    with store.begin() as connection:
        if warning is None and critical is None:
            connection.execute(delete(health_thresholds).filter_by(**key))
        else:
            put(connection, health_thresholds, {**key, **row})


def put_aside(
    store: Engine, target: str, finding: Finding, *, until: float, reason: str, who: str
) -> None:
    """Let `finding` rest until that time (seconds since the epoch): it counts neither for the
    headline nor for the status, unless it becomes more urgent than it is.

    Raises:
        Refused: without a reason, with a time that has passed, or a finding that asks nothing.
    """
    if finding.level in (Level.GOOD, Level.INFO):
        raise Refused("There is nothing to put aside: this asks for nothing.")
    if not reason.strip():
        raise Refused("Say why this can wait.", "Whoever looks next will want to know.")
    if until <= time.time():
        raise Refused("That date has passed.", "Choose a day in the future.")
    row = {
        "level": finding.level.value,
        "until": until,
        "reason": reason.strip()[:_LONGEST_REASON],
        "who": who,
        "made": time.time(),
    }
    with store.begin() as connection:
        put(connection, health_asides, {"target": target, "check": finding.id, **row})


def take_back(store: Engine, target: str, check_id: str) -> None:
    """Let a finding count again that was put aside; nothing happens where none was."""
    with store.begin() as connection:
        connection.execute(delete(health_asides).filter_by(target=target, check=check_id))


def put_asides(store: Engine, target: str) -> tuple[PutAside, ...]:
    """What rests, by the check's id; what has run out is left out."""
    query = (
        select(health_asides)
        .where(health_asides.c.target == target, health_asides.c.until > time.time())
        .order_by(health_asides.c.check)
    )
    with store.connect() as connection:
        rows = connection.execute(query).all()
    return tuple(
        PutAside(row.check, Level(row.level), Aside(row.until, row.reason, row.who)) for row in rows
    )


def with_asides(findings: tuple[Finding, ...], asides: tuple[PutAside, ...]) -> tuple[Finding, ...]:
    """The findings with the notes of those that were put aside, and are no worse since."""
    by_id = {aside.id: aside for aside in asides}
    return tuple(_noted(finding, by_id.get(finding.id)) for finding in findings)


def _noted(finding: Finding, aside: PutAside | None) -> Finding:
    asks = finding.level not in (Level.GOOD, Level.INFO)
    if aside is None or not asks or URGENCY[finding.level] < URGENCY[aside.level]:
        return finding
    return replace(finding, aside=aside.note)


def purpose_of(store: Engine) -> Purpose | None:
    """What the Redis is for; None until somebody has said it."""
    query = select(health_purposes.c.purpose).where(health_purposes.c.target == REDIS)
    with store.connect() as connection:
        found = connection.execute(query).scalar_one_or_none()
    return None if found is None else Purpose(found)


def set_purpose(store: Engine, purpose: Purpose, *, who: str) -> None:
    """Note what the Redis is for; its checks judge accordingly from then on."""
    row = {"purpose": purpose.value, "who": who, "changed": time.time()}
    with store.begin() as connection:
        put(connection, health_purposes, {"target": REDIS, **row})

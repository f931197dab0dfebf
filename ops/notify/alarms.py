"""What is worth a message: work that fails and works again, findings that turn urgent and pass.

An alarm is a row as long as the trouble lasts. It is told when it begins and when it is over;
what goes on failing is told again after most of a day.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ops.activity.words import title_of
from ops.checks.base import Finding, Level
from ops.installation import Installation
from ops.notify import tell
from ops.store import alarms as table

REMIND_SECONDS: Final = 20 * 3600
"""Less than a day, so that a daily backup that fails is told of daily."""

LOOKS: Final = 2
"""So many looks in a row must agree before a finding is told, or told to be over."""

_EARLY: Final = frozenset(("backups.age",))
"""Told from "look soon" on: no backup for too long."""


def work_failed(home: Installation, target: str, kind: str, problem: str, hint: str = "") -> None:
    """Tell that a kind of work failed, unless that was told in the last hours."""
    title = f"Ops Console: {title_of(kind).lower()} of {target} failed"
    if _open(home, f"job:{target}:{kind}", title):
        tell(home, title, f"{problem}\n{hint}".strip(), target)


def work_done(home: Installation, target: str, kind: str) -> None:
    """Tell that a kind of work which failed before has worked."""
    if _close(home, f"job:{target}:{kind}"):
        name = title_of(kind).lower()
        title = f"Ops Console: {name} of {target} works again"
        tell(home, title, f"The {name} that failed before has now worked.", target)


def judge(home: Installation, about: str, found: Iterable[Finding]) -> None:
    """Tell which findings turned urgent, and which are over. Nothing where nobody is told."""
    if home.settings.notify is None:
        return
    for finding in found:
        if finding.level is Level.UNKNOWN or not finding.looked_at or finding.aside is not None:
            continue
        urgent = Level.SOON if finding.id in _EARLY else Level.NOW
        is_bad = finding.level in (Level.NOW, urgent)
        key = f"finding:{about}:{finding.id}"
        if is_bad and _open(home, key, finding.title, looks=LOOKS):
            fix = f"\nWhat to do: {finding.fix}" if finding.fix else ""
            title = f"Ops Console: {about}: {finding.title}"
            tell(home, title, f"{finding.sentence}{fix}", about)
        if not is_bad and _close(home, key, looks=LOOKS):
            title = f"Ops Console: {about}: over: {finding.title}"
            tell(home, title, finding.sentence, about)


def _open(home: Installation, key: str, title: str, looks: int = 1) -> bool:
    """Note that something is wrong; whether it is time to tell so. What one look is enough for
    happens again and again, and is told again."""
    now, mine = time.time(), table.c.key == key
    try:
        with home.store.begin() as store:
            fresh = {"key": key, "title": title, "since": now, "bad": 0, "good": 0}
            store.execute(insert(table).values(**fresh, told=None))
    except IntegrityError:
        pass  # it is known
    again = now - REMIND_SECONDS if looks == 1 else 0.0
    is_due = or_(table.c.told.is_(None), table.c.told < again)
    with home.store.begin() as store:
        store.execute(update(table).where(mine).values(bad=table.c.bad + 1, good=0))
        due = update(table).where(mine, table.c.bad >= looks, is_due).values(told=now)
        return store.execute(due).rowcount == 1


def _close(home: Installation, key: str, looks: int = 1) -> bool:
    """Note that all is well; whether it is time to tell so, because the trouble was told."""
    mine = table.c.key == key
    with home.store.begin() as store:
        store.execute(update(table).where(mine).values(good=table.c.good + 1, bad=0))
        over = store.execute(select(table.c.told).where(mine, table.c.good >= looks)).first()
        if over is None:
            return False
        store.execute(delete(table).where(mine))
        return over.told is not None

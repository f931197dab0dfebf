"""What is worth a message: work that fails and works again, findings that turn urgent and pass.

An alarm is a row as long as the trouble lasts. It is told when it begins and when it is over;
what goes on failing is told again after most of a day.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ops.checks.base import Finding, Level
from ops.installation import Installation
from ops.notify import tell
from ops.standing import findings_of, redis_findings
from ops.store import alarms as table

if TYPE_CHECKING:
    from ops.jobs import Job

REMIND_SECONDS: Final = 20 * 3600
"""Less than a day, so that a daily backup that fails is told of daily."""

LOOKS: Final = 2
"""So many looks in a row must agree before a finding is told, or told to be over."""

_REDIS: Final = "redis"
_EARLY: Final = frozenset(("backups.age",))
"""Told from "look soon" on: no backup for too long."""


def job_alarm(home: Installation, job: Job, name: str, problem: str) -> None:
    """Tell that a job failed, or that this kind of work is well again. `name` is what people
    call the work, `problem` is empty where it went well."""
    key = f"job:{job.target}:{job.kind}"
    if problem:
        hint = (job.error or {}).get("hint", "")
        title = f"Ops Console: {name} of {job.target} failed"
        if _open(home, key, title):
            tell(home, title, f"{problem}\n{hint}".strip(), job.target)
    elif _close(home, key):
        body = f"The {name} that failed before has now worked."
        tell(home, f"Ops Console: {name} of {job.target} works again", body, job.target)


def look(home: Installation) -> None:
    """Look at every target and Redis; tell what turned urgent, and what is over."""
    if home.settings.notify is None:
        return
    for target in home.targets:
        _judge(home, target.name, findings_of(home, target))
    _judge(home, _REDIS, redis_findings(home))


def _judge(home: Installation, about: str, found: list[Finding]) -> None:
    for finding in found:
        if finding.level is Level.UNKNOWN or not finding.looked_at:
            continue
        urgent = Level.SOON if finding.id in _EARLY else Level.NOW
        is_bad = finding.level in (Level.NOW, urgent)
        key = f"finding:{about}:{finding.id}"
        if is_bad and _open(home, key, finding.title, looks=LOOKS):
            body = f"{finding.sentence}\nWhat to do: {finding.fix}" if finding.fix else ""
            tell(home, f"Ops Console: {about}: {finding.title}", body or finding.sentence, about)
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

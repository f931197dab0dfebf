"""What the console does by itself, again and again, while it is served.

A duty is short: work that takes longer than a few seconds is started as a job. Of several
consoles that share a data folder one does the duties; another takes over when it dies. Each duty
that asks databases has a thread of its own: a server that hangs must not keep the schedule of
others from beginning.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from ops import activity, jobs
from ops.errors import OpsError
from ops.installation import Installation
from ops.jobs import rows
from ops.jobs.oversight import look_after, thin
from ops.journal import forget_old_journals
from ops.locks import locks_of
from ops.notify import deliver_soon, forget_old
from ops.recovery import has_leftovers, settle_one
from ops.runs import begin_due
from ops.samples import take_samples
from ops.samples import thin as thin_samples
from ops.undo import expire_undo_points
from ops.watch import look

log = logging.getLogger(__name__)

_TICK_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 2.0
_TO_END_SECONDS: Final = 5.0
_NIGHT: Final = (1, 5)
"""Hours of the local clock between which whole databases are read."""
_DEEP_EVERY_SECONDS: Final = 20 * 3600


@dataclass(frozen=True)
class Duty:
    """`do` is called every `every_seconds`, the first time right after the start. `asks_databases`:
    it may wait for a server without end."""

    name: str
    every_seconds: float
    do: Callable[[Installation], None]
    asks_databases: bool = False


def _expire(home: Installation) -> None:
    """Databases that are kept for going back, or to be looked at, go when their time is up."""
    for target in home.targets:
        for point in expire_undo_points(target, home.folder):
            activity.record(
                home,
                who=activity.CONSOLE,
                where=activity.CONSOLE,
                what="delete-kept",
                target=target.name,
                archive=point.source,
                detail=f"its time was up; {point.location}",
            )


def _clear_away(home: Installation) -> None:
    """What a broken-off restore has left beside the database because the server was down."""
    at_work = {claim.target for claim in rows.all_claims(home)}
    for target in home.targets:
        if target.name not in at_work and has_leftovers(target, home.folder):
            settle_one(home, target)


def _look_deep(home: Installation) -> None:
    """At night the deep checks of each target, one target after the other."""
    if not _NIGHT[0] <= time.localtime().tm_hour < _NIGHT[1]:
        return
    if any(job.is_active for job in jobs.recent(home)):
        return
    for target in home.targets:
        looks = [job for job in jobs.recent(home, target.name, limit=50) if job.kind == "check"]
        if not looks or time.time() - looks[0].created > _DEEP_EVERY_SECONDS:
            jobs.start(home, "check", target.name, activity.CONSOLE, {})
            return


DUTIES: Final[tuple[Duty, ...]] = (
    Duty("look after jobs", 5, look_after),
    Duty("clear away what was left", 120, _clear_away, asks_databases=True),
    Duty("forget old jobs", 3600, thin),
    Duty("give up what was kept long enough", 3600, _expire, asks_databases=True),
    Duty("forget old restores", 24 * 3600, lambda home: forget_old_journals(home.folder)),
    Duty("deliver messages", 10, deliver_soon),
    Duty("forget old messages", 24 * 3600, forget_old),
    Duty("measure", 60, take_samples, asks_databases=True),
    Duty("keep fewer of the old figures", 6 * 3600, lambda home: thin_samples(home.store)),
    Duty("begin what the schedules have due", 30, begin_due),
    Duty("forget what was done long ago", 6 * 3600, activity.expire),
    Duty("look at health", 300, look, asks_databases=True),
    Duty("look deep into health", 600, _look_deep),
)


def keep_doing(
    home: Installation, stop: threading.Event, duties: tuple[Duty, ...] = DUTIES
) -> None:
    """Do the duties until `stop` is set; wait while another console does them."""
    while not stop.is_set():
        try:
            with locks_of(home.folder).held("duties"):
                _do_until(home, stop, duties)
        except BlockingIOError:
            stop.wait(_TICK_SECONDS)
        except (SQLAlchemyError, OSError) as cause:
            # A store that restarts must not leave this console without duties for good.
            log.warning("the duties wait for the store: %s", type(cause).__name__)
            stop.wait(_AGAIN_SECONDS)


def _do_until(home: Installation, stop: threading.Event, duties: tuple[Duty, ...]) -> None:
    beside = [
        threading.Thread(target=_in_turn, args=(home, stop, (duty,)), daemon=True)
        for duty in duties
        if duty.asks_databases
    ]
    for thread in beside:
        thread.start()
    _in_turn(home, stop, tuple(duty for duty in duties if not duty.asks_databases))
    ends = time.monotonic() + _TO_END_SECONDS
    for thread in beside:
        thread.join(max(0.0, ends - time.monotonic()))


def _in_turn(home: Installation, stop: threading.Event, duties: tuple[Duty, ...]) -> None:
    due = dict.fromkeys(duties, 0.0)
    while not stop.is_set():
        for duty in duties:
            if time.monotonic() >= due[duty]:
                _do(home, duty)
                due[duty] = time.monotonic() + duty.every_seconds
        stop.wait(_TICK_SECONDS)


def _do(home: Installation, duty: Duty) -> None:
    """One duty that fails keeps neither the others from their turn nor itself from its next."""
    try:
        duty.do(home)
    except OpsError as error:
        log.warning("%s: %s %s", duty.name, error, error.detail)
    except Exception:
        log.exception("%s failed", duty.name)

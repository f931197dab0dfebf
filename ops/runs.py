"""Scheduled runs: each due moment of each kind of work is one row of the store.

The row's key is the moment, so that two consoles which share the store begin no run twice.

    waiting → running → done | failed | cancelled by a person
       ↑_________| tried again, with growing pauses
    waiting → overtaken by the next run; missed where the console was off
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from ops import jobs
from ops.activity import SCHEDULE
from ops.catalog import Catalog, EntryState
from ops.checks.backups_schedule import is_ahead
from ops.errors import OpsError, Refused
from ops.installation import Installation
from ops.jobs import Job, State
from ops.notify.alarms import work_failed
from ops.schedule import Routine, schedule_of
from ops.store import scheduled_runs as table

log = logging.getLogger(__name__)

PAUSES: Final = (5 * 60.0, 15 * 60.0, 45 * 60.0)
"""Seconds between the tries of a run that fails; after the last one it is given up."""

LATE: Final = timedelta(minutes=10)
"""A run that is begun later than this was missed: the console was off."""

_CLAIM_SECONDS: Final = 60.0
_WENT_DOWN: Final = {
    "error": "The console or its machine was stopped in the middle of it.",
    "hint": "It is tried again by itself.",
}
_JOBS_LOOKED_AT: Final = 50
_KEEP_SECONDS: Final = 400 * 24 * 3600.0


class RunState(StrEnum):
    """Where a run has got to."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    OVERTAKEN = "overtaken"
    MISSED = "missed"


OPEN: Final = (RunState.WAITING, RunState.RUNNING)


@dataclass(frozen=True)
class Run:
    """A row. `moment` is when it was due, `next_try` when it is begun at the earliest,
    `changed` its last change (seconds since the epoch); `tries` counts those that failed,
    `error` tells of the last of them."""

    target: str
    kind: Routine
    moment: float
    state: RunState
    tries: int
    next_try: float
    job: str | None
    error: Mapping[str, str] | None
    changed: float

    @property
    def due_at(self) -> datetime:
        """When it was due (UTC)."""
        return datetime.fromtimestamp(self.moment, UTC)


def recent_runs(home: Installation, target: str, *, limit: int = 20) -> list[Run]:
    """The newest runs of a target, newest first."""
    query = select(table).where(table.c.target == target)
    newest = query.order_by(table.c.moment.desc(), table.c.kind).limit(limit)
    return _runs(home, newest)


def begin_due(home: Installation, now: datetime | None = None) -> None:
    """Settle what has ended, note what is due at `now`, and begin what can be begun.

    One target that cannot be looked at keeps no other from its turn.
    """
    for target in home.targets:
        try:
            _look(home, target.name, now or datetime.now(UTC))
        except OpsError as error:
            log.warning("%s: %s %s", target.name, error, error.detail)
        except Exception:
            log.exception("The schedule of %s could not be looked at", target.name)


def _look(home: Installation, target: str, now: datetime) -> None:
    schedule = schedule_of(home, target)
    is_on = schedule is not None and schedule.plan.is_on
    timetables = schedule.plan.timetables() if schedule is not None and is_on else {}
    for run in _open_runs(home, target):
        if run.state is RunState.RUNNING:
            _settle(home, run)
        elif run.kind not in timetables:
            _overtake(home, run, now)
    for kind, timetable in timetables.items():
        due = timetable.last_run(now)
        if schedule is not None and due is not None and _is_after(schedule.since, due, now):
            _note(home, target, kind, due, now, makes_up=schedule.plan.makes_up)
    for run in _open_runs(home, target):
        if run.state is RunState.WAITING:
            _begin(home, run, now)


def _is_after(since: datetime, due: datetime, now: datetime) -> bool:
    """Whether the times were chosen before `due`. Those of the future were chosen while the clock
    was wrong; nothing would be due until that day."""
    return due > since or is_ahead(since, now)


def _open_runs(home: Installation, target: str) -> list[Run]:
    """Those that wait or run, in the order in which they are begun."""
    query = select(table).where(table.c.target == target, table.c.state.in_(OPEN))
    return sorted(_runs(home, query), key=lambda run: list(Routine).index(run.kind))


def _runs(home: Installation, query: Select[Any]) -> list[Run]:
    with home.store.connect() as store:
        rows = store.execute(query).mappings().all()
    return [
        Run(**{**row, "kind": Routine(row["kind"]), "state": RunState(row["state"])})
        for row in rows
    ]


def _note(
    home: Installation, target: str, kind: Routine, due: datetime, now: datetime, *, makes_up: bool
) -> None:
    """Write the row of the newest due moment, once. Moments before it that nobody noted,
    because the console was off, are made up by that one run."""
    is_missed = now - due > LATE and not makes_up
    row = {
        "target": target,
        "kind": kind.value,
        "moment": due.timestamp(),
        "state": RunState.MISSED if is_missed else RunState.WAITING,
        "tries": 0,
        "next_try": now.timestamp(),
        "changed": now.timestamp(),
    }
    if _runs(home, select(table).where(_key(target, kind, due.timestamp()))):
        return
    try:
        with home.store.begin() as store:
            store.execute(insert(table).values(row))
            store.execute(delete(table).where(table.c.moment < now.timestamp() - _KEEP_SECONDS))
    except IntegrityError:
        return  # another console was faster
    for older in _open_runs(home, target):
        if older.kind is kind and older.moment < due.timestamp():
            _overtake(home, older, now)


def _overtake(home: Installation, run: Run, now: datetime) -> None:
    """A newer run does what this one was to do; one that had failed has failed for good."""
    state = RunState.FAILED if run.tries else RunState.OVERTAKEN
    is_ours = _change(home, run, RunState.WAITING, state=state, changed=now.timestamp())
    if is_ours and run.tries:
        _report(home, run, run.error or {})


def _report(home: Installation, run: Run, error: Mapping[str, str]) -> None:
    """Tell people that a run is given up."""
    work_failed(home, run.target, run.kind, error.get("error", ""), error.get("hint", ""))


def _begin(home: Installation, run: Run, now: datetime) -> None:
    """Start the run's job, unless the target is busy: then it waits for the next look."""
    if run.next_try > now.timestamp() or _is_busy(home, run.target):
        return
    params = _params(home, run)
    if params is None:
        _change(home, run, RunState.WAITING, state=RunState.DONE, changed=time.time())
        return
    claimed = {"state": RunState.RUNNING, "job": None, "changed": time.time()}
    if not _change(home, run, RunState.WAITING, **claimed):
        return  # another console was faster
    try:
        job = jobs.start(home, run.kind.value, run.target, SCHEDULE, params)
    except Refused:
        _change(home, run, RunState.RUNNING, state=RunState.WAITING)
        return
    except OpsError as error:
        _try_again(home, run, time.time(), error.as_dict())
        return
    _change(home, run, RunState.RUNNING, job=job, changed=time.time())


def _is_busy(home: Installation, target: str) -> bool:
    return any(job.is_active for job in jobs.recent(home, target, limit=_JOBS_LOOKED_AT))


def _params(home: Installation, run: Run) -> dict[str, Any] | None:
    """What the job is to do; None where there is nothing to do it with."""
    scheduled = {"scheduled": run.moment}
    if run.kind is Routine.BACKUP:
        return scheduled
    entries = Catalog(home.folder, run.target).entries()
    ours = [e for e in entries if e.state is EntryState.GOOD and e.made_here]
    if not ours:
        return None
    now = datetime.now(UTC)
    newest = next((entry for entry in ours if not is_ahead(entry.created_at, now)), ours[0])
    return {**scheduled, "archive": str(newest.path)} if run.kind is Routine.TEST else scheduled


def _settle(home: Installation, run: Run) -> None:
    """Write into a running run how its job has ended, if it has."""
    job = _job_of(home, run)
    if job is None:
        # Its console died between taking the run and starting the job.
        if time.time() - run.changed > _CLAIM_SECONDS:
            _change(home, run, RunState.RUNNING, state=RunState.WAITING)
        return
    if job.is_active:
        return
    ended = job.ended or time.time()
    if job.state is State.DONE or (job.state is State.CANCELLED and job.cancel_asked):
        state = RunState(job.state.value)
        _change(home, run, RunState.RUNNING, state=state, job=job.id, changed=ended)
    elif job.state is State.CANCELLED:  # by the machine that went down, and by no person
        _try_again(home, run, ended, _WENT_DOWN, job=job.id)
    else:
        _try_again(home, run, ended, dict(job.error or {}), job=job.id)


def _job_of(home: Installation, run: Run) -> Job | None:
    """The job of the run's last try, by its id, or by its moment where the id was not written."""
    if run.job is not None:
        try:
            return jobs.look(home, run.job)
        except Refused:
            return None
    for job in jobs.recent(home, run.target, limit=_JOBS_LOOKED_AT):
        is_ours = job.who == SCHEDULE and job.kind == run.kind and job.created >= run.changed
        if is_ours and job.params.get("scheduled") == run.moment:
            return job
    return None


def _try_again(
    home: Installation, run: Run, ended: float, error: dict[str, str], **more: Any
) -> None:
    """Note that a try has failed, and when the next one is; after the last the run has."""
    tries = run.tries + 1
    failed = {"tries": tries, "error": error, "changed": ended, **more}
    if tries > len(PAUSES):
        log.error("%s of %s, due %s: given up", run.kind, run.target, run.due_at.isoformat())
        if _change(home, run, RunState.RUNNING, state=RunState.FAILED, **failed):
            _report(home, run, error)
        return
    next_try = ended + PAUSES[tries - 1]
    _change(home, run, RunState.RUNNING, state=RunState.WAITING, next_try=next_try, **failed)


def _change(home: Installation, run: Run, former: RunState, **values: Any) -> bool:
    """Change a row that is still in the state `former`; False where it is not."""
    with home.store.begin() as store:
        mine = _key(run.target, run.kind, run.moment)
        done = store.execute(update(table).where(mine, table.c.state == former).values(values))
    return done.rowcount == 1


def _key(target: str, kind: Routine, moment: float) -> ColumnElement[bool]:
    return and_(table.c.target == target, table.c.kind == kind.value, table.c.moment == moment)

"""The rows of jobs in the store, and what may become of them.

A job and its claim on the target are written in one transaction: the claim's primary key, not a
look beforehand, keeps a second job away, whichever process or machine it comes from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from secrets import token_hex
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from ops.aftermath import follow_up
from ops.errors import OpsError, Refused
from ops.installation import Installation
from ops.store import claims
from ops.store import jobs as table

_ESTIMATE_AFTER_SECONDS: Final = 5
_ESTIMATE_FROM_SHARE: Final = 0.03
_STORE_PATIENCE_SECONDS: Final = 60


class State(StrEnum):
    """Where a job has got to."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


ACTIVE: Final = (State.WAITING, State.RUNNING)


@dataclass(frozen=True)
class Job:
    """A row of the store. Times are seconds since the epoch; `done` of `total` is a share."""

    id: str
    kind: str
    target: str
    who: str
    state: State
    done: float
    total: float
    note: str
    created: float
    started: float | None
    heartbeat: float | None
    ended: float | None
    cancel_asked: bool
    params: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error: Mapping[str, str] | None

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE

    @property
    def share(self) -> float:
        """How much is finished, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0

    def seconds_left(self, now: float | None = None) -> float | None:
        """About how long it still takes, by its speed until `now`; None while it is too early
        to tell."""
        if self.state is not State.RUNNING or self.started is None:
            return None
        passed = (time.time() if now is None else now) - self.started
        if passed < _ESTIMATE_AFTER_SECONDS or self.share < _ESTIMATE_FROM_SHARE:
            return None
        return passed * (1 - self.share) / self.share

    def as_dict(self) -> dict[str, Any]:
        """One row of `ops-console jobs --json`."""
        left = self.seconds_left()
        return {
            "id": self.id,
            "kind": self.kind,
            "target": self.target,
            "who": self.who,
            "state": self.state.value,
            "share": round(self.share, 4),
            "seconds_left": None if left is None else round(left),
            "note": self.note,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
            "result": self.result,
            "error": self.error,
        }


@dataclass(frozen=True)
class Claim:
    """Which job has a target for itself (or, going beside others, only itself), and which
    process does it; `born` is when that process
    began, by which it is told from a later one of the same number."""

    target: str
    job: str
    queued: bool
    host: str | None
    pid: int | None
    born: float | None


def add(
    home: Installation,
    kind: str,
    target: str,
    who: str,
    params: Mapping[str, Any],
    queued: bool = False,
    beside: bool = False,
) -> str | None:
    """Write a new job with its claim on the target and return its id; None where another job
    has the target. One that goes `beside` others claims nothing but itself."""
    job_id = f"{int(time.time() * 1000):013d}{token_hex(4)}"
    row = {
        "id": job_id,
        "kind": kind,
        "target": target,
        "who": who,
        "params": dict(params),
        "state": State.WAITING,
        "done": 0.0,
        "total": 0.0,
        "note": "",
        "cancel_asked": 0,
        "created": time.time(),
    }
    claim = {"target": job_id if beside else target, "job": job_id, "queued": int(queued)}
    try:
        with home.store.begin() as store:
            store.execute(insert(claims).values(claim))
            store.execute(insert(table).values(row))
    except IntegrityError:
        return None
    return job_id


def get(home: Installation, job_id: str) -> Job:
    """The job of that id, as its row says. Raises Refused when there is none."""
    with home.store.connect() as store:
        row = store.execute(select(table).where(table.c.id == job_id)).mappings().one_or_none()
    if row is None:
        raise Refused("There is no such job.", "`ops-console jobs` lists them.")
    return _job(row)


def newest(home: Installation, target: str | None, limit: int) -> list[Job]:
    """The newest jobs as their rows say."""
    query = select(table).order_by(table.c.id.desc()).limit(limit)
    if target is not None:
        query = query.where(table.c.target == target)
    with home.store.connect() as store:
        return [_job(row) for row in store.execute(query).mappings()]


def begin(home: Installation, job_id: str, host: str, pid: int, born: float) -> bool:
    """Turn a waiting job into a running one; whether it was still waiting."""
    now = time.time()
    values = {"state": State.RUNNING, "started": now, "heartbeat": now}
    with home.store.begin() as store:
        changed = store.execute(_if(job_id, State.WAITING).values(values)).rowcount == 1
        if changed:
            owner = {"host": host, "pid": pid, "born": born}
            store.execute(update(claims).where(claims.c.job == job_id).values(owner))
    return changed


def beat(home: Installation, job_id: str, **values: Any) -> bool:
    """Say that the job lives, with what else has changed; whether a stop was asked for.

    A row that others took for dead comes back to life: its owner knows better. What only the
    owner says, that the work is done or has failed, a beat that comes late does not undo.
    """
    mine = (table.c.id == job_id) & table.c.state.not_in((State.DONE, State.FAILED))
    alive = {"state": State.RUNNING, "heartbeat": time.time(), "ended": None, "error": None}
    with home.store.begin() as store:
        store.execute(update(table).where(mine).values({**alive, **values}))
    return is_cancel_asked(home, job_id)


def is_cancel_asked(home: Installation, job_id: str) -> bool:
    """Whether somebody has asked the job to stop."""
    with home.store.connect() as store:
        return bool(store.scalar(select(table.c.cancel_asked).where(table.c.id == job_id)))


def note(home: Installation, job_id: str, text: str) -> None:
    """Say what a waiting job waits for."""
    with home.store.begin() as store:
        store.execute(_if(job_id, State.WAITING).values(note=text))


def ask_to_stop(home: Installation, job_id: str) -> None:
    """Leave the mark that the job heeds."""
    with home.store.begin() as store:
        store.execute(update(table).where(table.c.id == job_id).values(cancel_asked=1))


def end(home: Installation, job_id: str, state: State, *, tidy: bool = True, **values: Any) -> None:
    """Write how a job ended, by who did it, and do what follows; `tidy` tells that nothing
    half-made is left, so that the target is free. A store that does not answer is waited for."""
    ends = time.monotonic() + _STORE_PATIENCE_SECONDS
    while True:
        try:
            with home.store.begin() as store:
                told = {"state": state, "ended": time.time(), **values}
                store.execute(update(table).where(table.c.id == job_id).values(told))
                if tidy:
                    store.execute(delete(claims).where(claims.c.job == job_id))
            break
        except OperationalError:
            if time.monotonic() > ends:
                raise
            time.sleep(1)
    follow_up(home, get(home, job_id))


def end_for_another(
    home: Installation, job_id: str, was: State, state: State, error: OpsError
) -> bool:
    """Write how a job ended whose process cannot, and do what follows, if it still was as
    thought; whether it was."""
    values = {"state": state, "ended": time.time(), "error": error.as_dict()}
    with home.store.begin() as store:
        was_so = store.execute(_if(job_id, was).values(values)).rowcount == 1
    if was_so:
        follow_up(home, get(home, job_id))
    return was_so


def all_claims(home: Installation) -> list[Claim]:
    """Every target that a job has for itself."""
    with home.store.connect() as store:
        return [_claim(row) for row in store.execute(select(claims)).mappings()]


def claim_on(home: Installation, target: str) -> Claim | None:
    """The claim on a target, if there is one."""
    return _one_claim(home, claims.c.target == target)


def claim_of(home: Installation, job_id: str) -> Claim | None:
    """The claim of a job, if it has one."""
    return _one_claim(home, claims.c.job == job_id)


def _one_claim(home: Installation, which: ColumnElement[bool]) -> Claim | None:
    query = select(claims).where(which)
    with home.store.connect() as store:
        row = store.execute(query).mappings().one_or_none()
    return None if row is None else _claim(row)


def free(home: Installation, job_id: str) -> None:
    """Give a job's target free."""
    with home.store.begin() as store:
        store.execute(delete(claims).where(claims.c.job == job_id))


def thin(home: Installation, keep: int, older_than: float) -> list[str]:
    """Delete the rows of ended jobs beyond the newest `keep` of each target, and those that
    ended before `older_than`. Returns their ids."""
    ended = table.c.state.not_in(ACTIVE)
    gone: list[str] = []
    with home.store.begin() as store:
        for (target,) in store.execute(select(table.c.target).distinct()).all():
            mine = (table.c.target == target) & ended
            newest_first = select(table.c.id).where(mine).order_by(table.c.id.desc())
            beyond = list(store.scalars(newest_first.offset(keep)))
            old = list(store.scalars(select(table.c.id).where(mine, table.c.ended < older_than)))
            gone += {*beyond, *old}
        for job_id in gone:
            store.execute(delete(table).where(table.c.id == job_id))
    return gone


def _if(job_id: str, state: State) -> Any:
    is_so: ColumnElement[bool] = (table.c.id == job_id) & (table.c.state == state)
    return update(table).where(is_so)


def _job(row: RowMapping) -> Job:
    values = {name: row[name] for name in Job.__dataclass_fields__}
    values["state"] = State(row["state"])
    values["cancel_asked"] = bool(row["cancel_asked"])
    return Job(**values)


def _claim(row: RowMapping) -> Claim:
    values = {name: row[name] for name in Claim.__dataclass_fields__}
    return Claim(**{**values, "queued": bool(row["queued"])})

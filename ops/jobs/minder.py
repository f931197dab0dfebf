"""The thread beside a job's work: it writes the row, hears of a stop, and ends what hangs.

The work itself never waits for the store. A stop comes by the row's mark (from any machine) or by
a signal, and is heeded at the work's next report. Work that does not report loses its programs
after 3 seconds, and its process after 20 more, unless a restore is at its swap: that comes to
its end by itself, or stalls. Work that has not moved for 5 minutes is ended whatever it is at;
what it leaves is settled by looking at the database, as after a power cut.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

import psutil
from sqlalchemy.exc import SQLAlchemyError

from ops.errors import Cancelled, OpsError, Stalled
from ops.installation import Installation
from ops.jobs import rows
from ops.jobs.evidence import Evidence, end_children, end_process
from ops.jobs.rows import Job, State
from ops.journal import Step, journals_of
from ops.locks import locks_of
from ops.progress import Progress

log = logging.getLogger(__name__)

STALLED_SECONDS: Final = 300
_TURN_SECONDS: Final = 0.4
_BEAT_SECONDS: Final = 5
_LISTEN_SECONDS: Final = 1
_LOOK_SECONDS: Final = 10
_CHILDREN_SECONDS: Final = 3
_LAST_RESORT_SECONDS: Final = 20
_STORE_SECONDS: Final = 60

stop_asked: Final = threading.Event()
"""Set by a signal that asks this process to stop; a handler must not touch the store, which
the work may just be writing."""


class JobProgress(Progress):
    """Takes reports for the minder, and raises what it has to say to the work."""

    def __init__(self, minder: Minder, shown: Progress) -> None:
        self._minder = minder
        self._shown = shown

    def report(self, done: float, total: float, note: str = "") -> None:
        self._shown.report(done, total, note)
        self._minder.hear(min(1.0, done / total) if total > 0 else 0.0, note)


class Minder:
    """A context around a job's work."""

    def __init__(self, home: Installation, job: Job) -> None:
        self.reason: Cancelled | None = None
        """Why the work was told to stop; what it fails with afterwards comes of that."""
        self._home = home
        self._job = job
        self._is_heeded = False
        self._heard: tuple[float, str] = (0.0, "")
        self._written: tuple[float, str] = (0.0, "")
        now = time.monotonic()
        self._moved = self._beaten = self._listened = self._looked = now
        self._told_at = self._ended_children_at = 0.0
        self._evidence = Evidence(home.target(job.target))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._mind, daemon=True)

    def __enter__(self) -> Minder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_STORE_SECONDS)

    def hear(self, share: float, note: str) -> None:
        """Take a report. Raises Cancelled when the work is to stop.

        A share never goes back: parts of the work that begin anew would make the bar jump.
        """
        share = max(share, self._heard[0])
        if (share, note) != self._heard:
            self._heard, self._moved = (share, note), time.monotonic()
        if self.reason is None and stop_asked.is_set():
            self._stop(Cancelled())
        if self.reason is not None and not self._is_heeded:
            self._is_heeded = True
            raise self.reason

    def _stop(self, reason: Cancelled) -> None:
        self.reason = reason
        self._told_at = self._moved = time.monotonic()

    def _mind(self) -> None:
        while not self._over.wait(_TURN_SECONDS):
            try:
                self._write()
            except SQLAlchemyError as error:
                # The work does not depend on being seen.
                log.warning("the job's progress could not be written: %s", type(error).__name__)
            try:
                self._listen_to_signals()
                self._look_whether_it_moves()
                self._see_that_it_stops()
            except Exception:
                log.exception("the job could not be looked after")

    def _write(self) -> None:
        now = time.monotonic()
        heard = self._heard
        if heard != self._written or now - self._beaten > _BEAT_SECONDS:
            values: dict[str, Any] = {"done": heard[0], "total": 1.0, "note": heard[1]}
            is_asked = rows.beat(self._home, self._job.id, **values)
            self._written, self._beaten = heard, now
        elif now - self._listened > _LISTEN_SECONDS:
            is_asked = rows.is_cancel_asked(self._home, self._job.id)
        else:
            return
        self._listened = now
        if is_asked and self.reason is None:
            self._stop(Cancelled())

    def _listen_to_signals(self) -> None:
        if self.reason is not None:
            return
        if stop_asked.is_set():
            self._stop(Cancelled())
        elif locks_of(self._home.folder).lost.is_set():
            self._stop(Cancelled("The work lost its hold of the database to another console."))

    def _look_whether_it_moves(self) -> None:
        now = time.monotonic()
        pause = min(_LOOK_SECONDS, STALLED_SECONDS / 3)
        if now - self._moved >= pause and now - self._looked >= pause:
            self._looked = now
            if self._evidence.is_moving():
                self._moved = now
        if now - self._moved <= STALLED_SECONDS:
            return
        minutes = max(1, round(STALLED_SECONDS / 60))
        stalled = Stalled(
            f"The {self._job.kind} had not moved for {minutes} minutes and was ended."
        )
        if isinstance(self.reason, Stalled) or self._is_heeded:
            self._break_off(State.INTERRUPTED, self.reason or stalled)
        else:
            self._stop(stalled)

    def _see_that_it_stops(self) -> None:
        if self.reason is None or self._is_heeded:
            return
        now = time.monotonic()
        if not self._ended_children_at and now - self._told_at > _CHILDREN_SECONDS:
            self._ended_children_at = now
            end_children()
        elif self._ended_children_at and now - self._ended_children_at > _LAST_RESORT_SECONDS:
            is_stalled = isinstance(self.reason, Stalled)
            if is_stalled or not is_at_swap(self._home, self._job.target):
                self._break_off(State.INTERRUPTED if is_stalled else State.CANCELLED, self.reason)

    def _break_off(self, state: State, reason: OpsError) -> None:
        """End this very process. The target stays claimed until what is left is settled."""
        log.error("%s of %s is broken off: %s", self._job.kind, self._job.target, reason)
        try:
            rows.end(self._home, self._job.id, state, tidy=False, error=reason.as_dict())
        finally:
            end_process(psutil.Process())


def is_at_swap(home: Installation, target: str) -> bool:
    """Whether a restore or undo of this target is at the step that makes it live."""
    return any(
        journal.step is Step.SWAPPING and not journal.is_settled
        for journal in journals_of(home.folder, target)
    )

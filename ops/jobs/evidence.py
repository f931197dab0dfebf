"""Whether work that reports nothing new is at work nevertheless.

An ANALYZE, the index of a large table or the check of a large file reports nothing for many
minutes and must not be taken for hung. What counts as movement:

- a program that the job has started uses the processor, or reads or writes;
- the job's own process does so, by more than its heartbeat costs;
- one of them waits for the disk, as in a long flush: that cannot be broken off anyway;
- the database server says that a statement of ours has been at work for a second or more, and
  waits neither for a lock nor for us.

So only what waits for something that does not come stands still: a lock, or a connection to
somebody who is gone. None of it is asked for while the work reports how far it is.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import psutil

from ops.dialects import dialect_of
from ops.errors import OpsError
from ops.target import Target

log = logging.getLogger(__name__)

_BUSY_SHARE: Final = 0.1
"""Of one processor; a heartbeat and a look at the server's progress take less than 0.02."""
_BUSY_BYTES: Final = 100_000
"""A second; a heartbeat writes less than 20,000."""


class Evidence:
    """Looks from one thread, the one that calls `is_moving`."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._own = psutil.Process()
        self._children: dict[int, tuple[float, int]] = {}
        self._server = _Server(target)
        self._have_children_moved()
        self._last = self._used()

    def is_moving(self) -> bool:
        """Whether anything has moved since the last look."""
        here = [self._have_we_moved(), self._have_children_moved()]
        self._last = self._used()  # once more: what looking costs is no movement
        return any(here) or self._server.is_at_work()

    def _have_children_moved(self) -> bool:
        before, self._children, is_at_the_disk = self._children, {}, False
        for child in self._own.children(recursive=True):
            try:
                used = child.cpu_times()
                self._children[child.pid] = (used.user + used.system, _bytes_moved(child))
                is_at_the_disk = is_at_the_disk or _is_at_the_disk(child)
            except psutil.Error:
                continue  # it has ended meanwhile, which is a movement: see below
        return is_at_the_disk or self._children != before

    def _have_we_moved(self) -> bool:
        if _is_at_the_disk(self._own):
            return True
        (then, processor, moved), now = self._last, self._used()
        seconds = max(now[0] - then, 0.001)
        is_busy = (now[1] - processor) / seconds > _BUSY_SHARE
        return is_busy or (now[2] - moved) / seconds > _BUSY_BYTES

    def _used(self) -> tuple[float, float, int]:
        """The time; the processor time of all threads but the one that looks; bytes."""
        own = time.process_time() - time.thread_time()
        return time.monotonic(), own, _bytes_moved(self._own)


def _is_at_the_disk(process: psutil.Process) -> bool:
    """Whether it waits for the disk in such a way that nothing could end it anyway."""
    return process.status() == psutil.STATUS_DISK_SLEEP


def _bytes_moved(process: psutil.Process) -> int:
    """Bytes read and written by a process, to the disk or not; 0 where that cannot be told."""
    try:
        told = process.io_counters()
    except (psutil.Error, AttributeError):
        return 0
    names = ("read_chars", "write_chars", "read_bytes", "write_bytes")
    return int(sum(getattr(told, name, 0) for name in names))


class _Server:
    """Asks the database server in a thread: one that does not answer must not hold us up."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._asking: threading.Thread | None = None
        self._answer = False

    def is_at_work(self) -> bool:
        """What the server has answered since the last call; asks anew."""
        if self._asking is not None and self._asking.is_alive():
            return False
        answer, self._answer = self._answer, False
        self._asking = threading.Thread(target=self._ask, daemon=True)
        self._asking.start()
        return answer

    def _ask(self) -> None:
        try:
            engine = self._target.engine
            self._answer = dialect_of(engine).is_at_work(engine)
        except OpsError as error:
            log.info("the server does not say whether it works: %s", error)


def end_children() -> None:
    """Ask every program that this process has started to end."""
    for child in _children(psutil.Process()):
        _signal(child, kill=False)


def end_process(process: psutil.Process) -> None:
    """SIGKILL to a process and all that it has started. It comes last: it may be ours."""
    for child in _children(process):
        _signal(child, kill=True)
    _signal(process, kill=True)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.Error:
        log.debug("process %s has ended already", process.pid)

"""Work in a thread beside the one that is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from ops.errors import Cancelled
from ops.progress import Progress

T = TypeVar("T")

_BETWEEN_LOOKS_SECONDS: Final = 0.5


class HelperThread:
    """Does one thing after the other. What is not done when the `with` block ends is given up at
    its next report."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._given_up = _GivenUp()

    def __enter__(self) -> HelperThread:
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up.event.set()
        self._pool.shutdown(cancel_futures=True)

    def begin(self, work: Callable[[Progress], T]) -> Future[T]:
        """Do `work` when all before it is done; it shows nobody what it reports."""
        return self._pool.submit(work, self._given_up)


class _GivenUp(Progress):
    def __init__(self) -> None:
        self.event = threading.Event()

    def report(self, done: float, total: float, note: str = "") -> None:
        if self.event.is_set():
            raise Cancelled


def awaited(work: Future[T], watch: Callable[[], object]) -> T:
    """What came of `work` in another thread; `watch` is called twice a second until then, and what
    it raises ends the waiting."""
    while not wait((work,), _BETWEEN_LOOKS_SECONDS).done:
        watch()
    return work.result()

"""What a piece of work reports to, and asks whether to stop."""

from __future__ import annotations

from typing import Final


class Progress:
    """Takes reports and throws them away; subclasses show or store them.

    `report` is the single point of cancellation: an implementation raises
    `ops.errors.Cancelled` from it when a stop was asked for.
    """

    def report(self, done: float, total: float, note: str = "") -> None:
        """Take that `done` of `total` (any unit, the same for both) is finished.

        Raises:
            Cancelled: when a stop was asked for.
        """

    def within(self, start: float, stop: float) -> Progress:
        """A progress whose 0..100 % is `start`..`stop` (fractions) of this one."""
        return _Part(self, start, stop)


class _Part(Progress):
    def __init__(self, whole: Progress, start: float, stop: float) -> None:
        self._whole = whole
        self._start = start
        self._width = stop - start

    def report(self, done: float, total: float, note: str = "") -> None:
        share = min(1.0, done / total) if total > 0 else 0.0
        self._whole.report(self._start + self._width * share, 1.0, note)


SILENT: Final = Progress()

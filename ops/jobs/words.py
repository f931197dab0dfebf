"""How far a job is, in words; the same on pages and on the command line."""

from __future__ import annotations

from typing import Final

from ops.checks.words import many
from ops.jobs.rows import Job, State

_MINUTE: Final = 60
_HOUR: Final = 3600


def time_left(job: Job, now: float | None = None) -> str:
    """Like "about 3 minutes left"; empty while it is too early to tell."""
    seconds = job.seconds_left(now)
    return "" if seconds is None else f"{about(seconds)} left"


def about(seconds: float) -> str:
    """A rough span of time, rounded up as one rounds when waiting.

    >>> about(3), about(38), about(100), about(3700), about(9000)
    ('a few seconds', 'about 40 seconds', 'about 2 minutes', 'about 1 hour', 'about 3 hours')
    """
    if seconds < 10:
        return "a few seconds"
    if seconds < 55:
        return f"about {-(-int(seconds) // 10) * 10} seconds"
    if seconds < 55 * _MINUTE:
        return f"about {many(-(-int(seconds) // _MINUTE), 'minute')}"
    return f"about {many(max(1, round(seconds / _HOUR + 0.2)), 'hour')}"


def doing(job: Job) -> str:
    """What an active job is at."""
    if job.cancel_asked:
        return "Stopping"
    return job.note or ("Waiting to begin" if job.state is State.WAITING else "Working")


def progress_line(job: Job) -> str:
    """All of it in one line."""
    parts = [doing(job), f"{job.share:.0%}", time_left(job)]
    return " · ".join(part for part in parts if part)

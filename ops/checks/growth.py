"""How fast a database grows, whatever its kind."""

from __future__ import annotations

from ops.checks.base import Check, Context, Level, Reading
from ops.checks.history import weekly_growth
from ops.checks.words import MB, many, size


def growth_check(backend: str) -> Check:
    """The check for one kind of database."""
    return Check(
        id=f"{backend}.growth",
        title="Growth",
        measure=_growth,
        finding="The database grew by {gained} ({percent} %) within a week.",
        why="If nobody expects that, something may be filling it by mistake.",
        fix="Look at the Size page which table it is, and ask whoever makes the app.",
        good="The database does not grow unusually fast.",
        unit="% a week",
        warning=20,
        floor="50 MB a week",
        quiet_below=50 * MB,
        source="own; information, because growing is what databases do",
    )


def _growth(context: Context, check: Check) -> Reading:
    grown = weekly_growth(context)
    if grown is None:
        young = "How fast it grows shows once its size has been watched for a week."
        return Reading(Level.GOOD, sentence=young)
    gained, percent = grown
    fast = gained >= check.quiet_below and check.judge(percent) is not Level.GOOD
    words = {"gained": size(max(0.0, gained)), "percent": f"{percent:.0f}"}
    detail = f"{gained:,.0f} bytes a week"
    return Reading(Level.INFO if fast else Level.GOOD, words, percent, detail)


def full_in(context: Context, free_bytes: int) -> str:
    """A sentence on when `free_bytes` will be used up, if it goes on like this; empty where
    that is not known or not within a year."""
    grown = weekly_growth(context)
    if grown is None or grown[0] <= 0:
        return ""
    days = 7 * free_bytes / grown[0]
    return f" At this pace it is full in about {many(round(days), 'day')}." if days < 365 else ""

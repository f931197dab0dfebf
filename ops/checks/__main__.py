"""`python -m ops.checks` prints docs/health-checks.md, made from the records themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from ops.checks import alerts, backups, outlook, postgresql, redis, sqlite
from ops.checks.base import Check

_HEAD: Final = """\
# What the console asks about health

Made from the records in `ops/checks/` by `python -m ops.checks > docs/health-checks.md`.

Each question has one of five answers: act now, look soon, good to know, fine, or could not
check. What could not be looked at is never called fine. Thresholds can be changed for each
database; the ones below are where they begin. Counters are judged by what came between two
looks, and where there is only one look, a step more mildly. A **deep** question may take long:
a job asks it, and a page shows what it last found.
"""

_GROUPS: Final[tuple[tuple[str, tuple[Check, ...]], ...]] = (
    ("SQLite", sqlite.CHECKS),
    ("PostgreSQL", postgresql.CHECKS),
    ("Redis", redis.CHECKS),
    ("Backups", (*backups.CHECKS, *backups.UPKEEP_CHECKS)),
    ("Outlook", (outlook.DATABASE_DISK, outlook.BACKUPS_DISK)),
    ("Messages", (alerts.MESSAGES, alerts.WATCHDOG)),
)


def documented() -> tuple[Check, ...]:
    """Every record on the page."""
    return tuple(check for _, checks in _GROUPS for check in checks)


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([_HEAD, *(line for group in _GROUPS for line in _group(*group))])


def _group(title: str, checks: tuple[Check, ...]) -> Iterator[str]:
    yield f"## {title}\n"
    for check in checks:
        yield from _entry(check)


def _entry(check: Check) -> Iterator[str]:
    yield f"### {check.title} (`{check.id}`)\n"
    yield f"{check.finding}\n"
    yield f"- Why it matters: {check.why}"
    yield f"- What to do: {check.fix}"
    if check.warning is not None or check.critical is not None:
        yield f"- Threshold: {_threshold(check)}"
    for name, text in (
        ("Quiet below", check.floor),
        ("Source", check.source),
        ("Needs", check.needs),
        ("Versions", _versions(check)),
        ("Fixes offered", ", ".join(f"`{id}`" for id in check.remedy)),
        ("Opens after", f"{check.opens_after} looks in a row" if check.opens_after > 1 else ""),
    ):
        if text:
            yield f"- {name}: {text}"
    if check.deep:
        yield "- Deep: asked by a job where it would take long"
    yield ""


def _threshold(check: Check) -> str:
    levels = (("look soon", check.warning), ("act now", check.critical))
    told = (f"{name} from {value:g}" for name, value in levels if value is not None)
    closes = f"; closes below {check.closes_at:g} of it" if check.closes_at < 1 else ""
    return f"{', '.join(told)} ({check.unit}){closes}"


def _versions(check: Check) -> str:
    since, until = check.versions.since, check.versions.until
    return " ".join(
        part for part in (since and f"since {since}", until and f"until {until}") if part
    )


if __name__ == "__main__":
    sys.stdout.write(page())

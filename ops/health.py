"""The health of a database or a Redis, as one report in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy import Engine

from ops.checks.base import (
    URGENCY,
    Check,
    Context,
    Finding,
    HealthReport,
    Level,
    Status,
)
from ops.checks.words import many
from ops.dialects import dialect_of
from ops.errors import OpsError, Refused
from ops.target import redact

_FINE: Final = "Everything we looked at is fine."

_STATUS: Final = {
    Level.NOW: Status.UNHEALTHY,
    Level.SOON: Status.DEGRADED,
    Level.UNKNOWN: Status.UNKNOWN,
    Level.INFO: Status.HEALTHY,
    Level.GOOD: Status.HEALTHY,
}


def get_health_report(engine: Engine) -> HealthReport:
    """Ask a database all its checks. A database that does not answer is a report too.

    Raises:
        ValueError: the console does not know this kind of database.
    """
    dialect = dialect_of(engine)
    return _report(
        dialect.backend,
        dialect.checks(),
        dialect.health_context(engine),
        lambda _: dialect.health_details(engine),
    )


def get_redis_report(url: str) -> HealthReport:
    """Ask the Redis at `url` all its checks. One that does not answer is a report too."""
    from ops.checks import redis as redis_checks  # a quarter of all that `ops` loads

    return _report(
        "redis", redis_checks.CHECKS, redis_checks.open_context(url), redis_checks.details
    )


def report_of(
    backend: str, findings: Iterable[Finding], details: Mapping[str, Any]
) -> HealthReport:
    """Put findings together: the worst first, and the worst as the headline."""
    ordered = tuple(sorted(findings, key=lambda finding: URGENCY[finding.level]))
    worst = ordered[0].level if ordered else Level.UNKNOWN
    return HealthReport(_STATUS[worst], backend, headline(ordered), ordered, details)


def _report(
    backend: str,
    checks: tuple[Check, ...],
    opening: AbstractContextManager[Context],
    figures: Callable[[Context], Mapping[str, Any]],
) -> HealthReport:
    """Ask all checks, or answer the first one where the door is shut.

    The first check of each kind asks whether there is an answer at all.
    """
    try:
        with opening as context:
            findings = [check.answer(context) for check in checks]
            try:
                details = figures(context)
            except OpsError as error:
                details = {}
                findings.append(_no_details(error))
    except OpsError as error:
        return report_of(backend, [_shut_door(checks[0], error)], {})
    return report_of(backend, findings, details)


def _shut_door(check: Check, error: OpsError) -> Finding:
    """What kept us out. Being refused by a lock says nothing about health."""
    return Finding(
        id=check.id,
        title=check.title,
        level=Level.UNKNOWN if isinstance(error, Refused) else Level.NOW,
        sentence=redact(error.message),
        why=check.why,
        fix=redact(error.hint or check.fix),
        technical=redact(error.detail),
    )


def _no_details(error: OpsError) -> Finding:
    return Finding(
        id="details",
        title="Figures",
        level=Level.UNKNOWN,
        sentence="Could not check: the figures of this database could not be read.",
        fix=redact(error.hint),
        technical=redact(f"{error.message} {error.detail}".strip()),
    )


def headline(ordered: Sequence[Finding]) -> str:
    """One sentence about findings that are in the order of urgency; what was not looked at, or
    could not be, is not called fine."""
    if not ordered:
        return "Nothing was looked at."
    if ordered[0].level in (Level.NOW, Level.SOON):
        return ordered[0].sentence
    unknown = sum(finding.level is Level.UNKNOWN for finding in ordered)
    left_out = sum(not finding.looked_at for finding in ordered)
    if unknown + left_out == len(ordered):
        return ordered[0].sentence
    told = []
    if unknown:
        told.append(f"{many(unknown, 'thing')} could not be checked")
    if left_out:
        were = "was" if left_out == 1 else "were"
        told.append(f"{many(left_out, 'thing')} {were} not looked at while you wait")
    if not told:
        return _FINE
    return f"{_FINE[:-1]}, but {' and '.join(told)}."

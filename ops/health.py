"""The health of a database or a Redis, as one report in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Engine

from ops.checks import redis as redis_checks
from ops.checks.base import (
    URGENCY,
    CannotCheck,
    Check,
    Context,
    DoorShut,
    Finding,
    HealthReport,
    Level,
    Status,
    Thresholds,
)
from ops.checks.history import History
from ops.checks.purpose import Purpose
from ops.checks.words import many
from ops.dialects import dialect_of
from ops.errors import OpsError, Refused
from ops.health_memory import load_history, save_history
from ops.health_settings import REDIS, chosen_thresholds, purpose_of, put_asides, with_asides
from ops.installation import Installation
from ops.target import redact

_NONE: Final[Mapping[str, Thresholds]] = MappingProxyType({})
_FINE: Final = "Everything we looked at is fine."

_STATUS: Final = {
    Level.NOW: Status.UNHEALTHY,
    Level.SOON: Status.DEGRADED,
    Level.UNKNOWN: Status.UNKNOWN,
    Level.INFO: Status.HEALTHY,
    Level.GOOD: Status.HEALTHY,
}


def get_health_report(
    engine: Engine,
    *,
    history: History | None = None,
    thresholds: Mapping[str, Thresholds] = _NONE,
) -> HealthReport:
    """Ask a database all its checks. A database that does not answer is a report too.

    Without a `history` each look stands for itself; with the same one at every look, counters
    are judged by what came since, and findings open and close late. `thresholds` are by the
    check's id.

    Raises:
        ValueError: the console does not know this kind of database.
    """
    dialect = dialect_of(engine)
    return _report(
        dialect.backend,
        chosen(dialect.checks(), thresholds),
        dialect.health_context(engine),
        dialect.health_details,
        history,
    )


def get_redis_report(
    url: str,
    *,
    purpose: Purpose | None = None,
    history: History | None = None,
    thresholds: Mapping[str, Thresholds] = _NONE,
) -> HealthReport:
    """Ask the Redis at `url` all its checks. One that does not answer is a report too.

    `purpose` is what the app uses it for; None where nobody has said so.
    """
    return _report(
        "redis",
        chosen(redis_checks.CHECKS, thresholds),
        redis_checks.open_context(url, purpose),
        redis_checks.details,
        history,
    )


def chosen(checks: tuple[Check, ...], thresholds: Mapping[str, Thresholds]) -> tuple[Check, ...]:
    """The checks, judged by the thresholds that somebody has set for them."""
    return tuple(check.with_thresholds(thresholds.get(check.id)) for check in checks)


def health_of(home: Installation, name: str | None = None) -> HealthReport:
    """The report of a target of the installation, by all that is remembered and decided
    about it; remembers this look as well.

    Raises:
        Refused: there is no target of that name.
    """
    target = home.target(name)
    history = load_history(home.store, target.name)
    report = get_health_report(
        target.engine,
        history=history,
        thresholds=chosen_thresholds(home.store, target.name),
    )
    return _remembered(home, target.name, history, report)


def redis_health_of(home: Installation) -> HealthReport | None:
    """The same for the installation's Redis; None where it has none."""
    if home.settings.redis_url is None:
        return None
    history = load_history(home.store, REDIS)
    report = get_redis_report(
        home.settings.redis_url.get_secret_value(),
        purpose=purpose_of(home.store),
        history=history,
        thresholds=chosen_thresholds(home.store, REDIS),
    )
    return _remembered(home, REDIS, history, report)


def _remembered(
    home: Installation, name: str, history: History, report: HealthReport
) -> HealthReport:
    save_history(home.store, name, history)
    return report_about(home, name, report.backend, report.findings, report.details)


def report_about(
    home: Installation,
    name: str,
    backend: str,
    findings: Iterable[Finding],
    details: Mapping[str, Any],
) -> HealthReport:
    """Put findings about a target together, with the notes on those that were put aside."""
    noted = with_asides(tuple(findings), put_asides(home.store, name))
    return report_of(backend, noted, details)


def report_of(
    backend: str, findings: Iterable[Finding], details: Mapping[str, Any]
) -> HealthReport:
    """Put findings together: the worst first, and the worst as the headline. What was put
    aside comes last and counts for neither."""
    ordered = tuple(sorted(findings, key=_order))
    counting = [finding for finding in ordered if finding.aside is None]
    worst = counting[0].level if counting else Level.UNKNOWN
    return HealthReport(_STATUS[worst], backend, headline(ordered), ordered, details)


def _order(finding: Finding) -> tuple[bool, int]:
    return finding.aside is not None, URGENCY[finding.level]


def _report(
    backend: str,
    checks: tuple[Check, ...],
    opening: AbstractContextManager[Context],
    figures: Callable[[Context], Mapping[str, Any]],
    history: History | None,
) -> HealthReport:
    """Ask all checks, or answer the first one where the door is shut.

    The first check of each kind asks whether there is an answer at all.
    """
    try:
        with opening as context:
            findings = list(_asked(checks, replace(context, history=history)))
            try:
                details = figures(context)
            except CannotCheck as cannot:
                details = {}
                findings.append(_no_details(cannot))
    except DoorShut as shut:
        return report_of(backend, [shut.finding], {})
    except OpsError as error:
        return report_of(backend, [_shut_door(checks[0], error)], {})
    return report_of(backend, findings, details)


def _asked(checks: tuple[Check, ...], context: Context) -> Iterator[Finding]:
    """Every check that holds for this version; for a deep one that would take too long, what
    it last found."""
    history = context.history
    for check in checks:
        if not check.versions.hold_for(context.version):
            continue
        if history is None:
            yield check.answer(context)
        elif check.deep:
            found = check.answer(context)
            yield found if found.looked_at else history.results.get(check.id, found)
        else:
            yield history.settle(check, context)


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


def _no_details(cannot: CannotCheck) -> Finding:
    return Finding(
        id="details",
        title="Figures",
        level=Level.UNKNOWN,
        sentence="Could not check: the figures of this database could not be read.",
        fix=cannot.hint,
        technical=redact(f"{cannot.reason}. {cannot.detail}".strip()),
    )


def headline(ordered: Sequence[Finding]) -> str:
    """One sentence about findings that are in the order of urgency; what was not looked at, or
    could not be, is not called fine."""
    aside = sum(finding.aside is not None for finding in ordered)
    ordered = [finding for finding in ordered if finding.aside is None]
    if not ordered:
        return "Nothing was looked at." if not aside else "Everything found was put aside."
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
        told.append(f"{many(left_out, 'thing')} {were} not looked at")
    if aside:
        told.append(f"{many(aside, 'thing')} {'was' if aside == 1 else 'were'} put aside")
    if not told:
        return _FINE
    return f"{_FINE[:-1]}, but {' and '.join(told)}."

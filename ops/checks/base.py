"""What a check, a finding and a report are.

Five rules hold for every check: unknown is not fine; counters are judged between two
samples; every ratio has a floor; a finding says what, why, how urgent and what to do;
small databases stay quiet.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ops.checks.history import History


class Level(StrEnum):
    """How urgent a finding is, worst first when sorted by `URGENCY`."""

    GOOD = "good"
    INFO = "info"
    SOON = "soon"
    NOW = "now"
    UNKNOWN = "unknown"


URGENCY: Final = {Level.NOW: 0, Level.SOON: 1, Level.UNKNOWN: 2, Level.INFO: 3, Level.GOOD: 4}


class Status(StrEnum):
    """The state of a whole report."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


Ask = Callable[[str], list[Mapping[str, Any]]]
"""Runs one SQL query of a check and returns its rows by column name."""


def no_questions(query: str) -> list[Mapping[str, Any]]:
    """The `Ask` of checks that judge by facts alone."""
    raise CannotCheck("there is no database to ask", detail=query)


@dataclass(frozen=True)
class Context:
    """What a check may look at. `ask` runs a query within the check's time limit;
    `facts` are figures gathered once for all checks (paths, INFO of Redis, settings).

    `is_deep` allows a deep check to take its time. `history` is what is remembered of earlier
    looks; `now` is in seconds since the epoch.
    """

    ask: Ask
    facts: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    is_deep: bool = False
    history: History | None = None
    now: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Versions:
    """The versions of the server or library that a check holds for, both ends included; an
    empty end is open. `until="16"` holds for every 16.x."""

    since: str = ""
    until: str = ""

    def hold_for(self, version: str) -> bool:
        """Whether `version`, as the server tells it, lies between; an unknown one does.

        >>> Versions("14", "16").hold_for("16.4 (Debian)"), Versions("6.2").hold_for("6.0.16")
        (True, False)
        """
        found = _numbers(version)
        since, until = _numbers(self.since), _numbers(self.until)
        if not found:
            return True
        return found >= since and (not until or found[: len(until)] <= until)


def _numbers(version: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


@dataclass(frozen=True)
class Thresholds:
    """Thresholds that somebody has set for a check; None leaves the check's own."""

    warning: float | None = None
    critical: float | None = None


@dataclass(frozen=True)
class Reading:
    """What a check measured. `words` fill the placeholders of the check's sentences.

    `subjects` are the names of what a remedy would act on: tables and indexes as SQL writes
    them (quoted where needed), process numbers. `remedy` replaces the check's own.

    `sentence` and `fix` replace the check's own where a reading is of another sort than
    the one that the check was written for. `looked_at` is False where looking was left out,
    because it would take too long for a page or cannot be done on this system.
    """

    level: Level
    words: Mapping[str, Any] = field(default_factory=dict)
    value: float | None = None
    detail: str = ""
    sentence: str = ""
    fix: str = ""
    looked_at: bool = True
    subjects: tuple[str, ...] = ()
    remedy: tuple[str, ...] | None = None


class CannotCheck(Exception):
    """Raised by a check that was not allowed, or not able, to look.

    `reason` completes "Could not check: …" and ends without a full stop; `hint` is the
    grant or the step that would let it look; `detail` is the technical cause.
    """

    def __init__(self, reason: str, hint: str = "", detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.detail = detail


@dataclass(frozen=True)
class Check:
    """One question about health.

    `measure` answers it; the sentences are shown as they stand, with the reading's words
    put into their {placeholders}. `warning` and `critical` are in `unit`. `floor` says in
    words below which size the check stays quiet, `quiet_below` as a number. `source` tells
    where the threshold is from. Another threshold is `dataclasses.replace` of the record.

    `remedy` names the fixes that help, the mildest first. `needs` is the right without which
    the check cannot look. A `deep` check may be expensive: it runs as a job, and a page shows
    what it last found. A finding opens after `opens_after` looks in a row, and once open it is
    judged against `closes_at` times the thresholds.
    """

    id: str
    title: str
    measure: Callable[[Context, Check], Reading]
    finding: str
    why: str
    fix: str
    good: str = ""
    unit: str = ""
    warning: float | None = None
    critical: float | None = None
    floor: str = ""
    quiet_below: float = 0
    source: str = ""
    versions: Versions = Versions()
    remedy: tuple[str, ...] = ()
    needs: str = ""
    deep: bool = False
    opens_after: int = 1
    closes_at: float = 1.0

    def answer(self, context: Context, *, eased: bool = False) -> Finding:
        """Ask the question. What could not be looked at is unknown, never good. `eased` judges
        as for a finding that is open already."""
        try:
            reading = self.measure(context, self._eased() if eased else self)
        except CannotCheck as cause:
            return self._unknown(cause)
        is_good = reading.level is Level.GOOD
        sentence = reading.sentence or (self.good if is_good else self.finding)
        fix = reading.fix or ("" if is_good else self.fix)
        remedy = self.remedy if reading.remedy is None else reading.remedy
        return Finding(
            id=self.id,
            title=self.title,
            level=reading.level,
            sentence=sentence.format_map(reading.words),
            why=self.why,
            fix=fix.format_map(reading.words),
            technical=self._technical(reading.detail),
            value=reading.value,
            looked_at=reading.looked_at,
            remedy=() if is_good or not reading.looked_at else remedy,
            subjects=reading.subjects,
        )

    def with_thresholds(self, chosen: Thresholds | None) -> Check:
        """This check, judged by what somebody has set."""
        if chosen is None:
            return self
        return replace(
            self,
            warning=self.warning if chosen.warning is None else chosen.warning,
            critical=self.critical if chosen.critical is None else chosen.critical,
        )

    def _eased(self) -> Check:
        def ease(threshold: float | None) -> float | None:
            return None if threshold is None else threshold * self.closes_at

        return replace(self, warning=ease(self.warning), critical=ease(self.critical))

    def _unknown(self, cause: CannotCheck) -> Finding:
        return Finding(
            id=self.id,
            title=self.title,
            level=Level.UNKNOWN,
            sentence=f"Could not check: {cause.reason}.",
            why=self.why,
            fix=cause.hint,
            technical=self._technical(cause.detail),
        )

    def _technical(self, detail: str) -> str:
        """What goes into the fold: the measured, then how it is judged."""
        rule = []
        if self.warning is not None:
            rule.append(f"look soon from {self.warning:g} {self.unit}".strip())
        if self.critical is not None:
            rule.append(f"act now from {self.critical:g} {self.unit}".strip())
        if self.floor:
            rule.append(f"quiet below {self.floor}")
        if self.source:
            rule.append(f"source: {self.source}")
        return "\n".join(part for part in (detail, "; ".join(rule)) if part)

    def judge(self, value: float) -> Level:
        """The level of `value` against the thresholds (higher is worse)."""
        if self.critical is not None and value >= self.critical:
            return Level.NOW
        if self.warning is not None and value >= self.warning:
            return Level.SOON
        return Level.GOOD


@dataclass(frozen=True)
class Aside:
    """A finding that somebody knows about. `until` is in seconds since the epoch."""

    until: float
    reason: str
    who: str

    def as_dict(self) -> dict[str, Any]:
        """The note as plain JSON types."""
        return {"until": self.until, "reason": self.reason, "who": self.who}


@dataclass(frozen=True)
class Finding:
    """The answer of one check, in words. `technical` goes into the fold; `looked_at` is
    False where the check was left out, so that it says nothing about health.

    `remedy` names the fixes that help and `subjects` what they would act on (tables, indexes,
    process numbers). `checked_at` is when a deep check looked and `since` when the finding was
    first seen, in seconds since the epoch; None: just then. `aside` tells until when and why
    the finding was put aside; it then counts neither for the status nor for the headline.
    """

    id: str
    title: str
    level: Level
    sentence: str
    why: str = ""
    fix: str = ""
    technical: str = ""
    value: float | None = None
    looked_at: bool = True
    remedy: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    checked_at: float | None = None
    since: float | None = None
    aside: Aside | None = None

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain JSON types."""
        return {
            "id": self.id,
            "title": self.title,
            "level": self.level.value,
            "sentence": self.sentence,
            "why": self.why,
            "fix": self.fix,
            "technical": self.technical,
            "value": self.value,
            "looked_at": self.looked_at,
            "remedy": list(self.remedy),
            "subjects": list(self.subjects),
            "checked_at": self.checked_at,
            "since": self.since,
            "aside": None if self.aside is None else self.aside.as_dict(),
        }


class DoorShut(Exception):
    """Raised where nothing can be looked at for a reason that is a finding itself."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.sentence)
        self.finding = finding


@dataclass(frozen=True)
class HealthReport:
    """All answers about one database or server, worst first.

    `status` is unhealthy with one finding that needs action now, degraded with one to look
    at soon, unknown when nothing is wrong but something could not be checked.
    """

    status: Status
    backend: str
    headline: str
    findings: tuple[Finding, ...]
    details: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        return {
            "status": self.status.value,
            "backend": self.backend,
            "headline": self.headline,
            "details": dict(self.details),
            "findings": [finding.as_dict() for finding in self.findings],
        }

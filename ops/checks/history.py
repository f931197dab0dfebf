"""What is remembered between two looks at the same database.

Counters are judged by what came between two looks; a finding that comes and goes opens only
after some looks, and closes only when the figure is well on the good side again. Without a
history each look stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from ops.checks.base import Check, Context, Finding, Level
from ops.checks.words import duration

WINDOW_SECONDS: Final = 3600
"""Counters are compared with what they were about an hour ago."""

_KEEP_EVERY_SECONDS: Final = 600
_SHORTEST_WINDOW_SECONDS: Final = 60
_LOOKS_APART_SECONDS: Final = 30
_WEEK: Final = 7 * 86_400
_SAME_START_SECONDS: Final = 5

_MILDER: Final = {Level.NOW: Level.SOON, Level.SOON: Level.INFO}
_AGAIN: Final = " It is looked at again before it counts as a problem."


WHOSE: Final = "of"
"""The name of a figure that is no counter, but tells whose counters these are."""


@dataclass(frozen=True)
class Sample:
    """Counters as they stood at `taken`; they count since `began`, where that is known. Both in
    seconds since the epoch."""

    taken: float
    figures: Mapping[str, float]
    began: float | None = None

    def counts_on(self, later: Sample) -> bool:
        """Whether nothing was set back between this sample and a later one, and both are of the
        same: a restored database begins to count anew."""
        if self.figures.get(WHOSE) != later.figures.get(WHOSE):
            return False
        known = self.began is not None and later.began is not None
        if known and abs(self.began - later.began) > _SAME_START_SECONDS:  # type: ignore[operator]
            return False
        return all(later.figures.get(name, 0) >= value for name, value in self.figures.items())


@dataclass(frozen=True)
class Standing:
    """How often in a row a check found something (`looks`), since when, and when that was last
    counted. Times in seconds since the epoch."""

    looks: int
    since: float
    counted: float


@dataclass
class History:
    """Everything that is remembered about one database. `sizes` are (seconds since the epoch,
    bytes), oldest first; `results` are what deep checks last found."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    results: dict[str, Finding] = field(default_factory=dict)
    sizes: list[tuple[float, int]] = field(default_factory=list)

    def baseline(self, name: str, latest: Sample) -> Sample | None:
        """The sample to compare `latest` with, about an hour older; then keep `latest`."""
        kept = [sample for sample in self.samples.get(name, []) if sample.counts_on(latest)]
        old = [one for one in kept if latest.taken - one.taken >= WINDOW_SECONDS]
        kept = old[-1:] + kept[len(old) :]
        found = kept[0] if kept else None
        if not kept or latest.taken - kept[-1].taken >= _KEEP_EVERY_SECONDS:
            kept.append(latest)
        self.samples[name] = kept
        if found and latest.taken - found.taken >= _SHORTEST_WINDOW_SECONDS:
            return found
        return None

    def last(self, name: str) -> Sample | None:
        """The newest kept sample of that name."""
        return self.samples[name][-1] if self.samples.get(name) else None

    def changed(
        self, name: str, hint: float, state: Callable[[], float], now: float
    ) -> float | None:
        """When `state` was last seen to change (seconds since the epoch); None where it never
        was. It is asked only where `hint` has changed, which may change without it."""
        last = self.last(name)
        if last is not None and last.figures["hint"] == hint:
            return last.began
        figures = {"hint": hint, "state": state()}
        is_same = last is None or last.figures["state"] == figures["state"]
        began = now if not is_same else last.began if last else None
        self.samples[name] = [Sample(now, figures, began)]
        return began

    def settle(self, check: Check, context: Context) -> Finding:
        """Ask `check`, and let what it found open late and close late, as the check wants."""
        standing = self.standings.get(check.id)
        is_open = standing is not None and standing.looks >= check.opens_after
        finding = check.answer(context, eased=is_open)
        if finding.level not in (Level.SOON, Level.NOW):
            if finding.level is not Level.UNKNOWN:  # not having looked closes nothing
                self.standings.pop(check.id, None)
            return finding
        standing = _one_more(standing, context.now)
        self.standings[check.id] = standing
        finding = replace(finding, since=standing.since)
        if standing.looks >= check.opens_after:
            return finding
        return replace(finding, level=Level.INFO, sentence=finding.sentence + _AGAIN)

    def as_dict(self) -> dict[str, Any]:
        """Samples and standings as plain JSON types."""
        return {
            "samples": {
                name: [[one.taken, one.began, dict(one.figures)] for one in kept]
                for name, kept in self.samples.items()
            },
            "standings": {
                id: [one.looks, one.since, one.counted] for id, one in self.standings.items()
            },
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> History:
        """What `as_dict` told."""
        return cls(
            samples={
                name: [Sample(taken, figures, began) for taken, began, figures in kept]
                for name, kept in document["samples"].items()
            },
            standings={id: Standing(*one) for id, one in document["standings"].items()},
        )


def _one_more(standing: Standing | None, now: float) -> Standing:
    """Looks in quick succession, such as a page drawn twice, count as one."""
    if standing is None:
        return Standing(1, now, now)
    if now - standing.counted < _LOOKS_APART_SECONDS:
        return standing
    return Standing(standing.looks + 1, standing.since, now)


@dataclass(frozen=True)
class Counted:
    """What counters gained (`by`) in `seconds`; `since` says that window in words. `is_total`
    where there was nothing to compare with, so that it is all since counting began."""

    by: Mapping[str, float]
    seconds: float | None
    since: str
    is_total: bool

    def per_hour(self, name: str) -> float:
        """A window shorter than an hour counts as one, so that little is not blown up."""
        return self.by[name] * 3600 / max(3600.0, self.seconds or 0.0)

    def level(self, level: Level) -> Level:
        """Totals are one sample and no trend: one level milder."""
        return _MILDER.get(level, level) if self.is_total else level


def counted(
    context: Context, name: str, figures: Mapping[str, float], began: float | None
) -> Counted:
    """How much the counters `figures` gained since an earlier look that `context` remembers
    under `name`, else since they `began` (seconds since the epoch)."""
    latest = Sample(context.now, figures, began)
    before = context.history.baseline(name, latest) if context.history else None
    if before is None:
        seconds = None if began is None else max(0.0, context.now - began)
        start = f"{datetime.fromtimestamp(began or 0, UTC):%d %B %Y, %H:%M}"
        since = "since counting began" if began is None else f"since {start} UTC"
        return Counted(figures, seconds, since, is_total=True)
    seconds = latest.taken - before.taken
    by = {name: value - before.figures.get(name, 0) for name, value in figures.items()}
    return Counted(by, seconds, f"in the last {duration(seconds)}", is_total=False)


def weekly_growth(context: Context) -> tuple[float, float] | None:
    """By how many bytes a week, and how many percent, a database grows, from samples of its
    size over one to two weeks; None where there are not enough."""
    if context.history is None:
        return None
    recent = [(at, was) for at, was in context.history.sizes if context.now - at <= 2 * _WEEK]
    if not recent or recent[-1][0] - recent[0][0] < _WEEK:
        return None
    (first_at, first), (last_at, last) = recent[0], recent[-1]
    gained = (last - first) * _WEEK / (last_at - first_at)
    return gained, 100 * gained / max(1, first)

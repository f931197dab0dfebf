"""How often a thing is tried, and the table of what came of it.

A soak prints one line a row at its end; SOAK_JSON names a file that gets them too.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

_SCALE: Final = float(os.environ.get("SOAK_SCALE", "1"))
"""The part of the soak's rounds that is run, for trying it out."""

SEED: Final = int(os.environ.get("SOAK_SEED", "1"))
"""Every moment and place that a test picks by chance follows from it."""

ROWS: Final[list[dict[str, Any]]] = []


def in_soak(rounds: float) -> int:
    """How many rounds a soak makes where `rounds` are wanted."""
    return max(1, round(rounds * _SCALE))


def few_or_many(few: int, many: int) -> list[Any]:
    """Values of a parameter: rounds in every run of the tests, and rounds in a soak."""
    return [
        pytest.param(few, id="few"),
        pytest.param(in_soak(many), id="many", marks=pytest.mark.soak),
    ]


@contextmanager
def recorded(what: str, rounds: int) -> Iterator[Counter[str]]:
    """A row of the table; it is filled inside, and kept even if something fails there."""
    if not rounds:
        yield Counter()
        return
    outcomes: Counter[str] = Counter()
    verdict, began = "failed", time.monotonic()
    try:
        yield outcomes
        verdict = "good"
    finally:
        _keep(what, rounds, outcomes, verdict, time.monotonic() - began)


def _keep(
    what: str, rounds: int, outcomes: Mapping[str, float], verdict: str, seconds: float
) -> None:
    """On disk as well, so that the row outlives a run that is broken off."""
    row = {"what": what, "rounds": rounds, "verdict": verdict, "outcomes": dict(outcomes)}
    ROWS.append({**row, "seconds": round(seconds, 1), "seed": SEED})
    if path := os.environ.get("SOAK_JSON"):
        Path(path).write_text(json.dumps(ROWS, indent=1) + "\n", encoding="utf-8")


def lines() -> list[str]:
    """The table as text."""
    return [
        f"{row['what']}: {row['verdict']}, {row['rounds']} rounds, {row['seconds']} s; "
        + ", ".join(f"{name} {count:g}" for name, count in row["outcomes"].items())
        for row in ROWS
    ]

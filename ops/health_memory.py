"""What the store remembers of earlier looks at the health of a target."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import Engine, select

from ops.checks.base import Finding, Level
from ops.checks.history import History
from ops.samples import size_samples
from ops.store import health_history, health_results, put


def load_history(store: Engine, target: str) -> History:
    """What is remembered of `target`; empty at first."""
    looks = select(health_history.c.history).where(health_history.c.target == target)
    results = select(health_results).where(health_results.c.target == target)
    with store.connect() as connection:
        document = connection.execute(looks).scalar_one_or_none()
        rows = connection.execute(results).all()
    history = History() if document is None else History.from_dict(document)
    history.sizes = size_samples(store, target)
    history.results = {row.check: _finding(row.finding, row.taken) for row in rows}
    return history


def save_history(store: Engine, target: str, history: History) -> None:
    """Remember the looks. Of two that save at once the later one wins: a look is lost, which
    does no harm."""
    row = {"target": target, "history": history.as_dict(), "changed": time.time()}
    with store.begin() as connection:
        put(connection, health_history, row)


def keep_results(
    store: Engine, target: str, findings: Iterable[Finding], *, taken: float | None = None
) -> None:
    """Remember what deep checks have found in the database as it was at `taken` (seconds since
    the epoch; None: just then), unless a later look is remembered."""
    with store.begin() as connection:
        for finding in findings:
            at, key = taken or time.time(), {"target": target, "check": finding.id}
            row = {**key, "finding": finding.as_dict(), "taken": at}
            put(connection, health_results, row, only_if=health_results.c.taken <= at)


def _finding(document: dict[str, object], taken: float) -> Finding:
    known = {name: document[name] for name in Finding.__dataclass_fields__ if name in document}
    known |= {
        "level": Level(str(document["level"])),
        "remedy": tuple(document["remedy"]),  # type: ignore[arg-type]
        "subjects": tuple(document["subjects"]),  # type: ignore[arg-type]
        "checked_at": taken,
        "aside": None,
    }
    return Finding(**known)  # type: ignore[arg-type]

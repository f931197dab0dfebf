"""Samples of a database's size over time, for trends."""

from __future__ import annotations

import time
from typing import Final

from sqlalchemy import Engine, delete, insert, select

from ops.dialects import dialect_of
from ops.store import samples
from ops.target import Target

SAMPLE_EVERY_SECONDS: Final = 15 * 60
KEEP_SECONDS: Final = 400 * 24 * 3600


def take_sample(store: Engine, target: Target) -> None:
    """Note the target's size now, at most once every 15 minutes.

    Raises:
        Unavailable: the database does not answer.
    """
    now = time.time()
    known = size_samples(store, target.name, limit=1)
    if known and now - known[-1][0] < SAMPLE_EVERY_SECONDS:
        return
    size = dialect_of(target.engine).facts(target.engine).size_bytes
    with store.begin() as connection:
        connection.execute(insert(samples).values(target=target.name, taken=now, size_bytes=size))
        connection.execute(delete(samples).where(samples.c.taken < now - KEEP_SECONDS))


def size_samples(store: Engine, target: str, *, limit: int = 500) -> list[tuple[float, int]]:
    """(seconds since the epoch, bytes), oldest first: the newest `limit` of them."""
    query = (
        select(samples.c.taken, samples.c.size_bytes)
        .where(samples.c.target == target)
        .order_by(samples.c.taken.desc())
        .limit(limit)
    )
    with store.connect() as connection:
        found = connection.execute(query).all()
    return [(taken, int(size)) for taken, size in reversed(found)]

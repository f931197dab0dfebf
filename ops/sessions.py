"""Who waits for whom at a server, and which statements take its time."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from ops.dialects import dialect_of
from ops.dialects.base import SlowStatements, StatementOrder, WaitingSession


@dataclass(frozen=True)
class Queue:
    """A session, and behind it those that wait for it."""

    session: WaitingSession
    behind: tuple[Queue, ...]

    @property
    def length(self) -> int:
        """How many sessions wait, directly or behind others."""
        return sum(1 + queue.length for queue in self.behind)


def get_queues(engine: Engine) -> tuple[Queue, ...] | None:
    """Who waits for whom, each queue by who is in front, the longest first. None where there is
    no server; empty where nobody waits, or where the role may not see others.

    Raises:
        Unavailable: the server does not answer.
    """
    found = dialect_of(engine).waits(engine)
    return None if found is None else queues_of(found)


def queues_of(sessions: tuple[WaitingSession, ...]) -> tuple[Queue, ...]:
    """Arrange sessions behind those they wait for. One that waits for several stands behind
    each; a ring, which the server itself breaks within a second, is cut open."""
    known = {one.pid for one in sessions}
    fronts = [one for one in sessions if known.isdisjoint(one.waits_for)] or list(sessions[:1])
    queues = [_queue(front, sessions, frozenset()) for front in fronts]
    return tuple(sorted(queues, key=lambda queue: queue.length, reverse=True))


def _queue(
    front: WaitingSession, sessions: tuple[WaitingSession, ...], before: frozenset[int]
) -> Queue:
    before = before | {front.pid}
    behind = (one for one in sessions if front.pid in one.waits_for and one.pid not in before)
    return Queue(front, tuple(_queue(one, sessions, before) for one in behind))


def get_slow_statements(
    engine: Engine, order: StatementOrder = StatementOrder.TOTAL, *, most: int = 10
) -> SlowStatements | None:
    """The statements that take the time, or how to have them collected; None where the kind of
    database keeps no such figures.

    Raises:
        Unavailable: the server does not answer.
    """
    return dialect_of(engine).slow_statements(engine, order, most)

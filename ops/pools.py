"""The pool of an application, and the server's view of who is connected."""

from __future__ import annotations

from sqlalchemy import Engine

from ops.dialects import dialect_of
from ops.dialects.base import PoolStats, ServerSessions


def get_pool_stats(engine: Engine) -> PoolStats | None:
    """Size, checked in, checked out, overflow and time-outs of the engine's pool.

    None for a database without a meaningful pool (SQLite).
    """
    return dialect_of(engine).pool_stats(engine)


def get_server_sessions(engine: Engine) -> ServerSessions | None:
    """Who is connected, as the server sees it; None where there is no server.

    Raises:
        Unavailable: the server does not answer.
    """
    return dialect_of(engine).sessions(engine)

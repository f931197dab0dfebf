"""Working in a PostgreSQL database so that nobody queues behind a fix for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ops.dialects.postgresql.connect import connected
from ops.dialects.postgresql.names import run_plain
from ops.dialects.postgresql.sessions import attended
from ops.errors import Busy
from ops.progress import Progress

LOCK_SECONDS: Final = 2
_LOCKED: Final = ("55P03", "40P01")


@contextmanager
def working(engine: Engine) -> Iterator[Connection]:
    """A connection of our own on which no statement waits for a lock for long."""
    with connected(engine) as connection:
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        connection.exec_driver_sql("SET statement_timeout = 0")
        yield connection


def run_long(connection: Connection, statement: str, progress: Progress, note: str) -> None:
    """Run one statement, asking `progress` meanwhile.

    Raises:
        Busy: something else holds a lock that it needs.
        Cancelled: the statement was stopped on the server.
    """
    progress.report(0, 1, note)
    try:
        attended(
            connection,
            lambda: run_plain(connection, statement),
            lambda: progress.report(0, 1, note),
        )
    except DBAPIError as cause:
        if getattr(cause.orig, "pgcode", None) in _LOCKED:
            raise Busy(
                "Another program is at work there, and nobody should have to queue behind this.",
                "Try again in some minutes, when the database is less busy.",
                str(cause.orig).strip(),
            ) from cause
        raise

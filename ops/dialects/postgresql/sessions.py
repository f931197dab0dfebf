"""Sessions on the server: the names of ours, and ending those that are in the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import psycopg2
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from ops.dialects.postgresql.connect import APPLICATION, maintenance
from ops.journal import Journal

_BETWEEN_ENDINGS_SECONDS: Final = 0.02
_BETWEEN_LOOKS_SECONDS: Final = 0.5

_AT_WORK: Final = """
SELECT EXISTS (
    SELECT 1 FROM pg_stat_activity
    WHERE starts_with(application_name, :application) AND pid <> pg_backend_pid()
      AND (state IS NULL
           OR (state = 'active' AND query_start < clock_timestamp() - interval '1 second'
               AND coalesce(wait_event_type, '') NOT IN ('Lock', 'Client'))))
"""
"""wait_event_type Client: the server waits for what we send or take."""

Result = TypeVar("Result")


def application_of(journal: Journal) -> str:
    """The name under which this restore's sessions show on the server."""
    return f"{APPLICATION} {journal.id}"


@contextmanager
def repeated(
    connection: Connection, statement: str, values: Mapping[str, object]
) -> Iterator[None]:
    """A statement that ends sessions is repeated every 20 ms while the `with` block runs:
    programs reconnect at once."""
    stop = threading.Event()

    def again_and_again() -> None:
        while not stop.is_set():
            # A session that may not be ended makes the work wait and fail, which says so.
            with suppress(SQLAlchemyError):
                connection.execute(text(statement), values)
            stop.wait(_BETWEEN_ENDINGS_SECONDS)

    helper = threading.Thread(target=again_and_again, daemon=True)
    helper.start()
    try:
        yield
    finally:
        stop.set()
        helper.join(10)


def attended(
    connection: Connection, work: Callable[[], Result], watch: Callable[[], None]
) -> Result:
    """Do `work`, which waits for the server on `connection`; call `watch` twice a second.

    What `watch` raises (Cancelled) stops the statement on the server first.
    """
    raw = driver_connection(connection)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        try:
            while not wait((running,), _BETWEEN_LOOKS_SECONDS).done:
                watch()
        except BaseException:
            while not wait((running,), _BETWEEN_ENDINGS_SECONDS).done:
                with suppress(psycopg2.Error):
                    raw.cancel()
            raise
        return running.result()


def driver_connection(connection: Connection) -> Any:
    """The driver's own connection, for what SQLAlchemy has no word for."""
    return connection.connection.driver_connection


def end_leftovers(connection: Connection, application: str) -> None:
    """Nothing of a killed restore may still be at work: the server goes on with a statement,
    be it CREATE DATABASE or the swap itself, after the program that sent it has died."""
    query = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = :application AND pid <> pg_backend_pid()"
    )
    stop = threading.Event()
    while connection.execute(query, {"application": application}).scalar():
        stop.wait(_BETWEEN_ENDINGS_SECONDS)


def are_at_work(engine: Engine) -> bool:
    """Whether the server is busy with a statement of ours that takes longer than a look.

    A session whose state we may not see counts as busy: what is unknown is not hung.
    """
    with maintenance(engine) as connection:
        return bool(connection.execute(text(_AT_WORK), {"application": APPLICATION}).scalar())

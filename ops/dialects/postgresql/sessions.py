"""Sessions on the server: the names of ours, and ending those that are in the way."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from typing import Any, Final, TypeVar

import psycopg2
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from ops.dialects.postgresql.connect import APPLICATION, maintenance
from ops.errors import Busy
from ops.helper_thread import awaited
from ops.journal import Journal

_BETWEEN_ENDINGS_SECONDS: Final = 0.02
_TO_END_SECONDS: Final = 0.005
_HURRIED: Final = 10
_HANG_UP_AFTER_SECONDS: Final = 4
_LEFTOVERS_END_WITHIN_SECONDS: Final = 60

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
    connection: Connection, statement: str, values: Mapping[str, object], *, and_then: str = ""
) -> Iterator[None]:
    """A statement that ends sessions is repeated every 20 ms while the `with` block runs:
    programs reconnect at once. `and_then` is run after each of the first ten."""
    stop = threading.Event()

    def again_and_again() -> None:
        for number in itertools.count():
            # A session that may not be ended makes the work wait and fail, which says so.
            with suppress(SQLAlchemyError):
                connection.execute(text(statement), values)
                if and_then and number < _HURRIED:
                    stop.wait(_TO_END_SECONDS)
                    connection.execute(text(and_then))
            if stop.wait(_BETWEEN_ENDINGS_SECONDS):
                return

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

    What `watch` raises (Cancelled) stops the statement on the server first; a server that does
    not heed that is hung up on.
    """
    raw = driver_connection(connection)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        try:
            return awaited(running, watch)
        except BaseException:
            _stop(raw, running)
            raise


def _stop(raw: Any, running: Future[Any]) -> None:
    """Cancel the statement of the driver's connection until the work is done."""
    ends = time.monotonic() + _HANG_UP_AFTER_SECONDS
    while not wait((running,), _BETWEEN_ENDINGS_SECONDS).done:
        if time.monotonic() > ends:
            with suppress(OSError), closing(socket.socket(fileno=os.dup(raw.fileno()))) as line:
                line.shutdown(socket.SHUT_RDWR)
            return
        # In a thread of its own: a server that has vanished does not answer this either.
        asking = threading.Thread(target=_ask_to_cancel, args=(raw,), daemon=True)
        asking.start()
        asking.join(1)


def _ask_to_cancel(raw: Any) -> None:
    with suppress(psycopg2.Error):
        raw.cancel()


def driver_connection(connection: Connection) -> Any:
    """The driver's own connection, for what SQLAlchemy has no word for."""
    return connection.connection.driver_connection


def end_leftovers(connection: Connection, application: str) -> None:
    """Nothing of a killed restore may still be at work: the server goes on with a statement,
    be it CREATE DATABASE or the swap itself, after the program that sent it has died.

    Raises Busy where they do not end.
    """
    query = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = :application AND pid <> pg_backend_pid()"
    )
    ends = time.monotonic() + _LEFTOVERS_END_WITHIN_SECONDS
    while connection.execute(query, {"application": application}).scalar():
        if time.monotonic() > ends:
            raise Busy(
                "The server is still at work on what an interrupted restore had begun.",
                "Wait until it has finished, then try again.",
                f"sessions of {application} did not end within "
                f"{_LEFTOVERS_END_WITHIN_SECONDS} seconds",
            )
        time.sleep(_BETWEEN_ENDINGS_SECONDS)


def are_at_work(engine: Engine) -> bool:
    """Whether the server is busy with a statement of ours that takes longer than a look.

    A session whose state we may not see counts as busy: what is unknown is not hung.
    """
    with maintenance(engine) as connection:
        return bool(connection.execute(text(_AT_WORK), {"application": APPLICATION}).scalar())

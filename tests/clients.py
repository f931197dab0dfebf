"""Programs that use a live database while it is backed up and restored.

Each runs in a process of its own (`tests.processes`) until it is killed, and writes a log:
what has been acknowledged to it, or what it has read.
"""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2

_PAUSE_SECONDS = 0.002
_BETWEEN_READS_SECONDS = 0.01
_BETWEEN_ATTEMPTS_SECONDS = 0.01


_MARKS = """SELECT min(mark), max(mark), count(*),
    (SELECT count(*) FROM left_hand) - (SELECT count(*) FROM right_hand) FROM marked"""
"""What one snapshot shows; see `tests.load.mark`."""


def write_sqlite(path: Path, log: Path, first: int) -> None:
    """Commit the numbers from `first` to both hands; log each that was acknowledged."""
    with log.open("w", buffering=1, encoding="utf-8") as file:
        for number in itertools.count(first):
            with _sqlite(path) as connection:
                connection.executescript(
                    f"BEGIN IMMEDIATE; INSERT INTO left_hand VALUES ({number});"
                    f"INSERT INTO right_hand VALUES ({number}); COMMIT"
                )
                print(number, file=file)
            time.sleep(_PAUSE_SECONDS)


def read_sqlite(path: Path, log: Path) -> None:
    """Read the marks again and again; log what was seen, and why nothing was."""
    with log.open("w", buffering=1, encoding="utf-8") as file:
        while True:
            try:
                with _sqlite(path) as connection:
                    print(*connection.execute(_MARKS).fetchone(), file=file)
            except sqlite3.Error as error:
                print(error, file=file)
            time.sleep(_BETWEEN_READS_SECONDS)


@contextmanager
def _sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection; that another program was at work on the file for too long is no error."""
    try:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise


def write_postgresql(
    login: Mapping[str, Any], log: Path, first: int, pause: float = _PAUSE_SECONDS
) -> None:
    """Commit the numbers from `first` to both hands, connecting again at once when cut off;
    log each that was acknowledged, the oid of the database that did, and when."""
    numbers = itertools.count(first)
    with log.open("w", buffering=1, encoding="utf-8") as file:
        while True:
            with suppress(psycopg2.Error), closing(psycopg2.connect(**login)) as connection:
                connection.autocommit = True
                _commit_numbers(connection, numbers, file, pause)
            time.sleep(_BETWEEN_ATTEMPTS_SECONDS)


def _commit_numbers(connection: Any, numbers: Any, file: Any, pause: float) -> None:
    with connection.cursor() as cursor:
        # An acknowledgement must mean that a crash of the server keeps it.
        cursor.execute("SET synchronous_commit = on")
        cursor.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
        (oid,) = cursor.fetchone()
        for number in numbers:
            cursor.execute(
                f"BEGIN; INSERT INTO left_hand VALUES ({number});"
                f"INSERT INTO right_hand VALUES ({number}); COMMIT"
            )
            print(number, oid, time.monotonic(), file=file)
            time.sleep(pause)


def read_postgresql(login: Mapping[str, Any], log: Path) -> None:
    """Read the marks again and again; log what was seen, and any error but a lost connection."""
    with log.open("w", buffering=1, encoding="utf-8") as file:
        while True:
            try:
                with (
                    suppress(psycopg2.OperationalError),
                    closing(psycopg2.connect(**login)) as connection,
                    connection.cursor() as cursor,
                ):
                    cursor.execute(_MARKS)
                    print(*cursor.fetchone(), file=file)
            except psycopg2.Error as error:
                print(error.pgcode, error, file=file)
            time.sleep(_BETWEEN_READS_SECONDS)


def bench_postgresql(command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
    """Run pgbench again and again: it gives up when its connections are cut."""
    log.write_text("at work\n", encoding="utf-8")
    while True:
        subprocess.run(
            command, env=env, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(0.05)

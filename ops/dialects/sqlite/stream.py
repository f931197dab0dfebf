"""The bytes of a SQLite database as of one moment, read from its file without a copy of it.

In WAL mode the file itself changes at checkpoints only, and a checkpoint must not go past the end
of what a reader sees (sqlite.org/wal.html, "Concurrency" and "Checkpointing"). So while a read
transaction is held whose snapshot lies in the file as a whole, nothing of it on the side, the
file stands still, whatever others write meanwhile. SQLite's own answer to wal_checkpoint tells that
all of the WAL is in the file. From then until the transaction has begun the write lock is held, for
some milliseconds: nobody commits, and nobody begins the WAL anew beside the checkpoint, which up to
SQLite 3.51.2 can lose what was committed (sqlite.org/wal.html, "The WAL-Reset Bug").

With a rollback journal the read transaction would do as well, but it keeps writers out: there a
copy, which is over sooner, is the lesser evil.
"""

from __future__ import annotations

import io
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ops.dialects.sqlite.connect import bytes_of, hold_snapshot, writing
from ops.errors import OpsError, ToolFailed
from ops.programs import output_of

_ATTEMPTS: Final = 10
_BETWEEN_SECONDS: Final = 0.02
_LOCK_SECONDS: Final = 1
_LARGEST_WAL: Final = 64 << 20
"""Bytes; a tenth of a second, for which writers wait. Programs that let it grow beyond that have
switched off SQLite's own checkpoints, at 4 MB."""

_READ: Final = """
import os, sys
left = int(sys.argv[2])

def sent(most):
    try:
        return os.sendfile(1, file.fileno(), None, most)
    except (AttributeError, TypeError, OSError):  # not from every file or on every system
        piece = file.read(most)
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return len(piece)

with open(sys.argv[1], "rb", buffering=0) as file:
    while left:
        piece = sent(min(left, 1 << 18))
        if not piece:
            sys.exit("the file ends before the database does")
        left -= piece
"""
"""A process of its own reads the file: whoever closes it drops all locks that SQLite holds on it
in the same process (sqlite.org/howtocorrupt.html, 2.2), also those of an application that uses
this library.

sendfile hands the pages on without copying them, for a fifth of the time. The buffered layer writes
on after a short write. A full pipe gives one whenever the process is held up: by a debugger, a
paused container, a machine that goes to sleep."""


@contextmanager
def held_still(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection in a read transaction that sees what the file at `path` holds, and keeps the
    file as it is; None where it is not in WAL mode, or others write without a pause.

    It is opened for writing, because only such a connection may make a checkpoint.
    """
    with writing(path, timeout=30, create=False) as connection:
        yield connection if _stands_still(connection, path) else None


def _stands_still(connection: sqlite3.Connection, path: Path) -> bool:
    """Begin the transaction. False where it was not to be had."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        return False
    if bytes_of(path.with_name(path.name + "-wal")) > _LARGEST_WAL:
        return False
    with writing(path, timeout=_LOCK_SECONDS, create=False) as other:
        for _ in range(_ATTEMPTS):
            try:
                other.execute("BEGIN IMMEDIATE")
                if _all_in_file(connection):
                    hold_snapshot(connection)
                    return True
            except sqlite3.OperationalError:  # we may not write, or somebody does for too long
                return False
            finally:
                if other.in_transaction:
                    other.execute("ROLLBACK")
            time.sleep(_BETWEEN_SECONDS)
    return False


def _all_in_file(connection: sqlite3.Connection) -> bool:
    """Move what lies in the WAL into the file; whether all of it could be moved."""
    busy, in_wal, in_file = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and in_wal == in_file


def size_of(connection: sqlite3.Connection) -> int:
    """Bytes of the database that the connection sees."""
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return int(pages) * int(connection.execute("PRAGMA page_size").fetchone()[0])


def reading_command(path: Path, size: int) -> list[str | Path]:
    """A program that prints the first `size` bytes of the file."""
    return [sys.executable, "-I", "-c", _READ, path, str(size)]


@contextmanager
def bytes_of_file(path: Path, size: int) -> Iterator[io.BufferedIOBase]:
    """The first `size` bytes of the file, to be read to their end.

    Raises OpsError where the file cannot be read.
    """
    try:
        with output_of(reading_command(path, size), env=os.environ) as stream:
            yield stream
    except ToolFailed as failed:
        raise OpsError(
            "The database file could not be read to its end, so no backup was made.",
            "Look at the disk of the database, then try again.",
            failed.detail,
        ) from failed

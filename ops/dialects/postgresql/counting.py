"""Counting the rows of every table at the moment of a snapshot, without keeping their locks."""

from __future__ import annotations

from functools import partial
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ops.archive.manifest import TableRows
from ops.dialects.postgresql.checksums import checksum_query, fix_settings
from ops.dialects.postgresql.connect import translated
from ops.dialects.postgresql.names import PLAIN, run_plain
from ops.dialects.postgresql.rows import COUNTED_TABLES
from ops.dialects.postgresql.sessions import attended
from ops.errors import Busy
from ops.progress import Progress
from ops.target import redact

LOCK_SECONDS: Final = 60
_TABLE_IN_WORK: Final = ("55P03", "40P01", "42P01")
"""SQLSTATE: a lock was not to be had in time, a deadlock, a table that is gone."""

_LOCKED_AT_ONCE: Final = 50
_TAKE: Final = "SAVEPOINT counting"
_LET_GO: Final = "ROLLBACK TO SAVEPOINT counting"
"""A transaction keeps the locks of all that it reads, indexes as well, and a server has room for
6,400 by default. What was taken since a savepoint goes with the way back to it."""


def keep_whole(connection: Connection, progress: Progress) -> None:
    """Lock every table against TRUNCATE and whatever else writes it anew, until it is counted: even
    at an older snapshot such a table is empty (manual, "Caveats" of MVCC). pg_dump's own locks of
    the same kind end with it, and a program that waits for them would be there first.

    Raises Busy where a program holds a table for too long, or has just dropped one; Cancelled.
    """
    names = ", ".join(connection.execute(text(COUNTED_TABLES)).scalars())
    if not names:
        return
    run_plain(connection, f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    lock = partial(run_plain, connection, f"LOCK TABLE ONLY {names} IN ACCESS SHARE MODE")
    try:
        attended(connection, lock, partial(progress.report, 0, 1, "Copying the database"))
    except DBAPIError as cause:
        code = getattr(cause.orig, "pgcode", "")
        if code not in _TABLE_IN_WORK:
            raise
        raise Busy(
            "Another program is just changing the layout of a table, so no backup was made.",
            "Wait until it has finished, then back up again.",
            f"{code} {redact(str(cause.orig).strip())}",
        ) from cause


def count_tables(
    connection: Connection, progress: Progress, *, checksums: bool = False
) -> tuple[TableRows, ...]:
    """The exact rows of every table, in this connection's transaction, whose settings
    `checksums` changes. Raises Cancelled, also in the middle of a table."""
    with translated():
        if checksums:
            fix_settings(connection)
        names = list(connection.execute(text(COUNTED_TABLES)).scalars())
        counted = []
        for place, name in enumerate(names):
            if place % _LOCKED_AT_ONCE == 0:
                run_plain(connection, _LET_GO if place else _TAKE)
            note = f"Counting rows: {name}"
            progress.report(place, len(names), note)
            query = f"SELECT count(*), NULL FROM ONLY {name}"  # nosec B608: quoted by the catalogue
            if checksums:
                query = checksum_query(connection, name)
            report = partial(progress.report, place, len(names), note)
            rows, checksum = attended(connection, partial(_only_row, connection, query), report)
            counted.append(TableRows(name=name, rows=rows, checksum=checksum))
        if names:
            run_plain(connection, _LET_GO)
        return tuple(counted)


def _only_row(connection: Connection, query: str) -> tuple[int, str | None]:
    # As it stands: a name may hold a %.
    rows, checksum = connection.exec_driver_sql(query, execution_options=PLAIN).one()
    return rows, checksum

"""Counting the rows of every table at the moment of a snapshot, without keeping their locks."""

from __future__ import annotations

from collections.abc import Sequence
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
_GONE: Final = ("42P01", "3F000", "40P01")
"""SQLSTATE: a table or its schema is gone since the snapshot; a deadlock."""
_LOCK_TIMEOUT: Final = "55P03"

_RENAMED: Final = f"""
SELECT 1 FROM ({COUNTED_TABLES}) AS t(name, oid)
WHERE to_regclass(t.name) IS DISTINCT FROM CAST(t.oid AS regclass) LIMIT 1
"""
"""The names are as of the snapshot, what they mean as of now: a schema is renamed without a lock on
its tables."""

COUNTED: Final = "counted"
OWN_ROWS: Final = "own rows"
"""What a manifest's details say of its row counts. Older ones say nothing: in these a table has the
rows of those that inherit from it as well."""

_LOCKED_AT_ONCE: Final = 50
_TAKE: Final = "SAVEPOINT counting"
_LET_GO: Final = "ROLLBACK TO SAVEPOINT counting"
"""A transaction keeps the locks of all that it reads, indexes as well, and a server has room for
6,400 by default. What was taken since a savepoint goes with the way back to it."""


_IN_WORK: Final = (
    "Another program is just changing the layout of a table, so the database could not be saved.",
    "Wait until it has finished, then try again.",
)


class Overtaken(Busy):
    """A program was faster with a table; with a new snapshot it may go better."""

    def __init__(self, detail: str) -> None:
        super().__init__(*_IN_WORK, detail)


Tables = Sequence[tuple[str, int]]
"""Names, quoted, and oids."""


def tables_of(connection: Connection) -> Tables:
    """Every table that is counted."""
    return [(name, oid) for name, oid in connection.execute(text(COUNTED_TABLES))]


def keep_whole(connection: Connection, tables: Tables, progress: Progress) -> None:
    """Lock the tables until the end of the transaction against TRUNCATE and whatever else writes
    them anew or puts others in their place. pg_dump's own locks of the same kind end with it, and a
    program that waits for them would be there before they are counted.

    To be called before the snapshot is taken (LOCK takes none: manual, LOCK): what was written anew
    after a snapshot is empty for it (manual, "Caveats" of MVCC), or has lost what was in a column.

    Raises Busy where a program holds a table for too long, Overtaken where one has just dropped it;
    Cancelled.
    """
    if not tables:
        return
    names = ", ONLY ".join(name for name, _ in tables)
    run_plain(connection, f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    lock = partial(run_plain, connection, f"LOCK TABLE ONLY {names} IN ACCESS SHARE MODE")
    try:
        attended(connection, lock, partial(progress.report, 0, 1, "Copying the database"))
    except DBAPIError as cause:
        code = getattr(cause.orig, "pgcode", "")
        detail = f"{code} {redact(str(cause.orig).strip())}"
        if code in _GONE:
            raise Overtaken(detail) from cause
        if code == _LOCK_TIMEOUT:
            raise Busy(*_IN_WORK, detail) from cause
        raise
    run_plain(connection, "SET LOCAL lock_timeout = 0")  # an index that is made anew is waited for


def refuse_others(connection: Connection, tables: Tables) -> None:
    """Raise Overtaken where the snapshot shows a table that was not locked before it."""
    if others := set(tables_of(connection)) - set(tables):
        raise Overtaken(f"made or replaced before its lock: {sorted(others)[0][0]}")


def refuse_renamed(connection: Connection) -> None:
    """Raise Overtaken where a name means another table by now than it does for the snapshot."""
    if connection.execute(text(_RENAMED)).first():
        raise Overtaken("a table or its schema was renamed while it was saved")


def count_tables(
    connection: Connection,
    progress: Progress,
    *,
    checksums: bool = False,
    with_heirs: bool = False,
) -> tuple[TableRows, ...]:
    """The exact rows of every table, in this connection's transaction, whose settings
    `checksums` changes; `with_heirs` as in older manifests, with those of inheriting tables.
    Raises Cancelled, also in the middle of a table."""
    only = "" if with_heirs else "ONLY "
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
            query = f"SELECT count(*), NULL FROM {only}{name}"  # nosec B608: quoted by the catalogue
            if checksums:
                query = checksum_query(connection, name, with_heirs=with_heirs)
            report = partial(progress.report, place, len(names), note)
            rows, checksum = attended(connection, partial(_only_row, connection, query), report)
            counted.append(TableRows(name=name, rows=rows, checksum=checksum))
        if names:
            run_plain(connection, f"{_LET_GO}; RELEASE SAVEPOINT counting")
        return tuple(counted)


def _only_row(connection: Connection, query: str) -> tuple[int, str | None]:
    # As it stands: a name may hold a %.
    rows, checksum = connection.exec_driver_sql(query, execution_options=PLAIN).one()
    return rows, checksum

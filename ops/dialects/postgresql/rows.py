"""The rows of a database as hashes, by which two databases are compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from ops.dialects.base import Replacement, RowSource, TableShape
from ops.dialects.postgresql.checksums import fix_settings
from ops.dialects.postgresql.connect import connected, translated
from ops.dialects.postgresql.names import quoted, run_plain
from ops.dialects.postgresql.sessions import attended
from ops.errors import PreflightRefused

COUNTED_TABLES: Final = """
SELECT format('%I.%I', n.nspname, c.relname), c.oid
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT 1 FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""
"""Names and oids of ordinary tables and partitions; what belongs to an extension is made by the
extension."""

_LET_GO: Final = "ROLLBACK TO SAVEPOINT one_table; RELEASE SAVEPOINT one_table"
_STREAMED: Final = {"no_parameters": True, "stream_results": True, "max_row_buffer": 10_000}

_SHAPES: Final = f"""
SELECT t.name, a.attname, format_type(a.atttypid, a.atttypmod) AS type,
       coalesce(a.attnum = ANY (k.conkey), false) AS in_key
FROM ({COUNTED_TABLES}) AS t(name, oid)
LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'p'
ORDER BY t.name, a.attnum
"""


class _Rows(RowSource):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tables(self) -> dict[str, TableShape]:
        return shapes(self._connection)

    def marks(
        self, table: str, key: tuple[str, ...], columns: tuple[str, ...]
    ) -> Iterator[tuple[int, int]]:
        # The table's name comes quoted from the catalogue.
        query = f"SELECT {_mark(key)}, {_mark(columns)} FROM ONLY {table} ORDER BY 1, 2"  # nosec B608

        def begin() -> tuple[Any, Any]:
            found = self._connection.exec_driver_sql(query, execution_options=_STREAMED)
            return found, found.fetchone()  # by then the server has put all in order

        with translated():
            # A server has room for 6,400 locks by default: none is kept for longer than its table.
            run_plain(self._connection, "SAVEPOINT one_table")
            found, first = attended(self._connection, begin, self.watch)
            rows = chain(() if first is None else (first,), found)
            yield from ((row_key, row) for row_key, row in rows)
            found.close()
            run_plain(self._connection, _LET_GO)


def _mark(columns: tuple[str, ...]) -> str:
    names = ", ".join(quoted(column) for column in columns)
    return f'hashtextextended(CAST(ROW({names}) AS text) COLLATE "C", 0)'


def shapes(connection: Connection) -> dict[str, TableShape]:
    """Columns and primary key of every table that manifests count."""
    with translated():
        found = connection.execute(text(_SHAPES)).all()
    columns: dict[str, dict[str, str]] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for table, column, kind, in_key in found:
        shape = columns.setdefault(table, {})
        if column is not None:  # a table may have none
            shape[column] = kind
        if in_key:
            keys[table] = (*keys.get(table, ()), column)
    return {name: TableShape(columns[name], keys.get(name, ())) for name in columns}


@contextmanager
def open_rows(engine: Engine, staged: Replacement | None) -> Iterator[RowSource]:
    """All tables as of one moment, on a connection of its own."""
    database = staged_database(staged) if staged else None
    with connected(engine, database, autocommit=False) as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        fix_settings(connection)
        yield _Rows(connection)


def staged_database(staged: Replacement) -> str:
    """The staging database's name. Raises PreflightRefused where there could be none."""
    if Path(staged.location).is_absolute():
        raise PreflightRefused(
            "The console's user may not create databases, so a backup cannot be brought to life "
            "beside the database in use.",
            "As the server's administrator, give it the right CREATEDB.",
        )
    return staged.location

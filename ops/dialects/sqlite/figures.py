"""Sizes, rows and settings of a SQLite database, without reading all of it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Final

from ops.dialects.base import LiveRows, RelationSize, SizeReport
from ops.dialects.sqlite.backup import total_bytes
from ops.dialects.sqlite.connect import reading
from ops.dialects.sqlite.wary import count_rows, quoted, shapes

READ_WHOLE_LIMIT: Final = 128 << 20
"""Bytes up to which a page may read the whole file: dbstat and count(*) then take
well under half a second."""

_SIZES: Final = """
SELECT d.name, coalesce(m.type, 'table'), coalesce(m.tbl_name, d.name), d.pgsize
FROM dbstat d LEFT JOIN sqlite_schema m ON m.name = d.name
WHERE d.aggregate = TRUE ORDER BY d.pgsize DESC
"""


def live_rows(path: Path) -> tuple[LiveRows, ...]:
    """Counted where the file is small, else the highest row number, which is no less."""
    small = total_bytes(path) <= READ_WHOLE_LIMIT
    with reading(path) as connection:
        return tuple(
            replace(_rows(connection, name, small), columns=tuple(shape["columns"]))
            for name, shape in shapes(connection, to_show=True).items()
        )


def _rows(connection: sqlite3.Connection, name: str, small: bool) -> LiveRows:
    if small:
        return LiveRows(name, count_rows(connection, name), exact=True)
    query = f"SELECT max(rowid) FROM {quoted(name)}"  # nosec B608: a name cannot be a parameter
    try:
        rows = connection.execute(query).fetchone()[0]
    except sqlite3.OperationalError as cause:
        if "rowid" not in str(cause):
            raise
        return LiveRows(name, None, exact=False)  # WITHOUT ROWID: nothing cheap to ask
    return LiveRows(name, rows or 0, exact=False)


def sizes(path: Path, *, exact: bool) -> SizeReport:
    """Bytes of every table and index by dbstat, which reads the whole file."""
    total = total_bytes(path)
    with reading(path) as connection:
        free = _value(connection, "freelist_count") * _value(connection, "page_size")
        if total > READ_WHOLE_LIMIT and not exact:
            return SizeReport(
                total, (), free, "The file is large; measuring each table reads all of it."
            )
        try:
            found = connection.execute(_SIZES).fetchall()
        except sqlite3.OperationalError as cause:
            if "dbstat" not in str(cause):
                raise
            return SizeReport(total, (), free, "This Python's SQLite cannot measure tables.")
        rows = {live.name: live for live in live_rows(path)}
    return SizeReport(total, tuple(_relation(row, rows) for row in found), free)


def _relation(row: tuple[str, str, str, int], rows: dict[str, LiveRows]) -> RelationSize:
    name, kind, table, size = row
    live = rows.get(name)
    return RelationSize(
        name, kind, table, size, live.rows if live else None, bool(live and live.exact)
    )


def open_once(path: Path) -> None:
    """Raise in words where the file does not open."""
    with reading(path) as connection:
        _value(connection, "page_count")


def _value(connection: sqlite3.Connection, pragma: str) -> int:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]  # type: ignore[no-any-return]

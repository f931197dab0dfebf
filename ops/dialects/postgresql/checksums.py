"""Checksums of tables' content, equal wherever the content is equal.

A row is written as text, with its columns by name, and hashed; the sum of the hashes does not
depend on the order of the rows. Text, because `hash_record_extended` is there only from 14 on,
does not know json and xml, and calls numbers equal that differ in their scale. Settings that
change the text are fixed. Measured equal on 16 and 18; the cost is about 37 % of the dump's time
for the hashes of `t::text`.

Left out are generated columns, which a dump does not hold, and materialised views, which are
computed anew.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from ops.dialects.postgresql.names import run_plain

_FIXED: Final = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "row_security": "off",
}
"""What the text of a value depends on, besides the search path, which every connection of
ours fixes. With row_security off, rows that a policy would hide are an error."""

_COLUMNS: Final = """
SELECT coalesce(string_agg(format('t.%I', attname), ', ' ORDER BY attname), '')
FROM pg_attribute
WHERE attrelid = CAST(CAST(:table AS text) AS regclass)
  AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
"""By name: a restore can put the columns of an inheriting table into another order."""


def fix_settings(connection: Connection) -> None:
    """For the rest of the connection's transaction."""
    for name, value in _FIXED.items():
        run_plain(connection, f"SET LOCAL {name} = '{value}'")


def checksum_query(connection: Connection, table: str, *, with_heirs: bool = False) -> str:
    """The query for the rows and the checksum of `table`, whose name is quoted already.

    `with_heirs`: of the rows of inheriting tables as well, as it was done in older backups. The
    checksum names its method and the encoding, whose bytes are what is hashed. ROW(…) and
    not the table's own row type, for which somebody could have made a cast of their own.
    """
    method, only = ("hashtext", "") if with_heirs else ("hashtext-only", "ONLY ")
    columns = connection.execute(text(_COLUMNS), {"table": table}).scalar()
    return (
        f"SELECT count(*), '{method}-' || current_setting('server_encoding') || ':' || "
        f'coalesce(sum(hashtextextended(CAST(ROW({columns}) AS text) COLLATE "C", 0)), 0) '
        f"FROM {only}{table} t"  # nosec B608: names cannot be parameters
    )

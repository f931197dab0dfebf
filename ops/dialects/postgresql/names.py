"""Names of the databases that stand beside the live one."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from secrets import token_hex
from typing import Final

from sqlalchemy import Connection, text

NAME_LIMIT: Final = 63
"""Bytes; PostgreSQL cuts longer names silently (NAMEDATALEN - 1)."""


_OURS: Final = re.compile(r"__(restore|before|undone)_\d{8}_\d{6}_[0-9a-f]{4}$")

PLAIN: Final = {"no_parameters": True}
"""For one statement: run it as it stands, without placeholders. Never set it on a connection,
where it would stay."""


def beside(live: str, role: str) -> str:
    """A name such as `shop__before_20261123_233400_9f3c`, within the limit."""
    stamp = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    suffix = f"__{role}_{stamp}_{token_hex(2)}"
    room = NAME_LIMIT - len(suffix)
    return live.encode()[:room].decode(errors="ignore") + suffix


def is_ours(name: str) -> bool:
    """Whether it is a name that `beside` gives, which nobody else's database has."""
    return bool(_OURS.search(name))


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def oid_of(connection: Connection, name: str) -> int | None:
    """The database's oid, which stays with it through every rename; None if there is none."""
    query = text("SELECT oid::bigint FROM pg_database WHERE datname = :name")
    return connection.execute(query, {"name": name}).scalar()


def run_plain(connection: Connection, statement: str) -> None:
    """Run one statement as it stands, without placeholders."""
    connection.exec_driver_sql(statement, execution_options=PLAIN)

"""The login that tries out an archive which this console did not make.

A dump is a program: it runs with the rights of whoever restores it, and RESET ROLE undoes a
mere SET ROLE. So a login is made for it that owns nothing and is a member of nothing, signs in
by itself, and may only make things in the staging database. Whatever would run code of the
archive before it is in place (pg_restore, ANALYZE, counting, of which planning alone evaluates
index expressions, and the server's own clean-up) is done by it. Its things are given to the
owner on the way to the swap alone; what is only tried out is dropped before its login is.

The right CREATEROLE is enough, on 16 and 18 as well (tried), where it reaches only the roles
that its bearer has made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from secrets import token_hex, token_urlsafe
from typing import Final

from psycopg2.extensions import encrypt_password
from sqlalchemy import Connection, Engine, create_engine, text

from ops.dialects.postgresql.backup import server_major
from ops.dialects.postgresql.connect import connected, maintenance
from ops.dialects.postgresql.names import quoted, run_plain
from ops.dialects.postgresql.sessions import driver_connection
from ops.errors import OpsError

_NAME: Final = re.compile(r"ops_restore_[0-9a-f]{16}")
_VALID: Final = timedelta(days=30)
"""Longer than any restore takes, which signs in again and again. What is left of a killed one is
dropped when that is settled, and nobody knows its password."""

_MAY_MAKE_LOGINS: Final = (
    "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
)
IS_SUPERUSER: Final = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
_IS_THERE: Final = "SELECT 1 FROM pg_roles WHERE rolname = :name"
_WHO: Final = "SELECT session_user = :name AND current_user = :name"
_END_SESSIONS: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :name"
)

_FORCED: Final = """
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relforcerowsecurity
ORDER BY c.oid
"""
_OWNER: Final = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = :name"

_MEMBERSHIPS_HAVE_OPTIONS: Final = 16
_PUBLIC_IS_THE_OWNERS: Final = 15
_SIGNING_IN: Final = ("user", "password", "passfile", "service", "sslcert", "sslkey")
"""Parts of a URL's query that would let somebody else than its user sign in."""


def may_be_made(connection: Connection) -> bool:
    """Whether the console's user may make logins."""
    return bool(connection.execute(text(_MAY_MAKE_LOGINS)).scalar())


def new_name() -> str:
    """A name that no role has."""
    return f"ops_restore_{token_hex(8)}"


def make(engine: Engine, staged: str, name: str) -> Engine:
    """Make the login and let it make things in the database `staged`; an engine that signs in
    as it, with a password that nobody else knows and that no statement shows.

    Raises OpsError where it cannot sign in.
    """
    password = token_urlsafe(24)
    with maintenance(engine) as connection:
        until = (datetime.now(UTC) + _VALID).isoformat(timespec="seconds")
        proof = encrypt_password(password, name, driver_connection(connection), "scram-sha-256")
        run_plain(
            connection,
            f"CREATE ROLE {quoted(name)} LOGIN PASSWORD '{proof}' VALID UNTIL '{until}'",
        )
        if not connection.execute(text(IS_SUPERUSER)).scalar():
            _share_its_rights(connection, name, _owner_of(connection, staged))
        rights = "CONNECT, CREATE, TEMPORARY"
        run_plain(connection, f"GRANT {rights} ON DATABASE {quoted(staged)} TO {quoted(name)}")
    with connected(engine, staged) as connection:
        if server_major(connection) >= _PUBLIC_IS_THE_OWNERS:
            run_plain(connection, f"GRANT USAGE, CREATE ON SCHEMA public TO {quoted(name)}")
    own = _engine_of(engine, staged, name, password)
    with connected(own) as connection:
        if not connection.execute(text(_WHO), {"name": name}).scalar():
            raise OpsError(
                "The server lets nobody but the console's user sign in, so this backup cannot "
                "be tried out by a login of its own.",
                "Look at pg_hba.conf and at the address of the database in the settings.",
            )
    return own


def _share_its_rights(connection: Connection, name: str, owner: str) -> None:
    """Whoever gives its things to another must have the rights of both (manual, REASSIGN OWNED),
    and who gets them must be able to make such things where they lie."""
    option = ""
    if server_major(connection) >= _MEMBERSHIPS_HAVE_OPTIONS:
        option = " WITH INHERIT TRUE, SET TRUE"
    run_plain(connection, f"GRANT {quoted(name)} TO CURRENT_USER{option}")
    me = connection.execute(text("SELECT current_user")).scalar()
    if owner != me:
        run_plain(connection, f"GRANT {quoted(name)} TO {quoted(owner)}{option}")


def _engine_of(engine: Engine, database: str, name: str, password: str) -> Engine:
    url = engine.url.set(username=name, password=password, database=database)
    return create_engine(url.difference_update_query(_SIGNING_IN))


def _owner_of(connection: Connection, database: str) -> str:
    return str(connection.execute(text(_OWNER), {"name": database}).scalar())


@contextmanager
def seeing_all(own: Engine, staged: str) -> Iterator[None]:
    """While the block runs, row security hides no row from the login, to which all tables belong.
    After an error the staging database is dropped anyway."""
    with connected(own, staged) as connection:
        forced = list(connection.execute(text(_FORCED)).scalars())
        for table in forced:
            run_plain(connection, f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    yield
    with connected(own, staged) as connection:
        for table in forced:
            run_plain(connection, f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def hand_over(engine: Engine, staged: str, name: str) -> None:
    """Give all that the login made to the owner of the database `staged`, and take all rights
    from the login. From here on the server's clean-up runs with the rights of the owner."""
    with connected(engine, staged, autocommit=False) as connection:
        connection.execute(text(_END_SESSIONS), {"name": name})
        run_plain(connection, "SET LOCAL lock_timeout = '10s'")
        owner = quoted(_owner_of(connection, staged))
        run_plain(connection, f"REASSIGN OWNED BY {quoted(name)} TO {owner}")
        run_plain(connection, f"DROP OWNED BY {quoted(name)}")
        connection.commit()


def leave(engine: Engine, name: str, database: str | None) -> None:
    """Drop the login, if it is there; what it has in `database` is given to the owner first."""
    with maintenance(engine) as connection:
        is_there = connection.execute(text(_IS_THERE), {"name": name}).first() is not None
    if is_there and database is not None:
        hand_over(engine, database, name)
    drop(engine, name)


def drop(engine: Engine, name: str) -> None:
    """Drop the login, if it is there; what it made must be gone or given away."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a login that a restore made")
    with maintenance(engine) as connection:
        run_plain(connection, f"DROP ROLE IF EXISTS {quoted(name)}")

"""Connecting to PostgreSQL, from Python and from its own programs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from psycopg2.extensions import make_dsn
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.dialects.postgresql import psycopg2 as sqlalchemy_psycopg2
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from ops.errors import Busy, OpsError, Unavailable
from ops.target import redact

APPLICATION: Final = "ops-console"
"""Our sessions show under this name; recovery knows our leftovers by it."""

CONNECT_ARGS: Final = {"application_name": APPLICATION, "connect_timeout": 10}

_MAINTENANCE: Final = ("postgres", "template1")


def connect_parameters(engine: Engine) -> dict[str, Any]:
    """The libpq keywords (host, port, user, password, sslmode, …) of an engine's URL."""
    dialect = sqlalchemy_psycopg2.dialect()  # type: ignore[no-untyped-call]
    _, keywords = dialect.create_connect_args(engine.url)  # type: ignore[no-untyped-call]
    return dict(keywords)


def own_engine(engine: Engine, database: str | None = None, *, autocommit: bool = False) -> Engine:
    """An engine of our own beside the caller's, without a pool; `database` may differ."""
    url = engine.url if database is None else engine.url.set(database=database)
    return create_engine(
        url,
        poolclass=NullPool,
        connect_args=dict(CONNECT_ARGS),
        isolation_level="AUTOCOMMIT" if autocommit else "READ COMMITTED",
    )


@contextmanager
def connected(
    engine: Engine, database: str | None = None, *, autocommit: bool = True
) -> Iterator[Connection]:
    """A connection of our own, errors translated."""
    with translated(), own_engine(engine, database, autocommit=autocommit).connect() as connection:
        yield connection


@contextmanager
def pooled(engine: Engine) -> Iterator[Connection]:
    """A connection of the caller's own pool, for short looks; errors translated."""
    with translated(), engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def maintenance(engine: Engine, *, autocommit: bool = True) -> Iterator[Connection]:
    """A connection to a database that is not the live one: none may be connected to that
    while it is renamed."""
    database = _maintenance_database(engine)
    with connected(engine, database, autocommit=autocommit) as connection:
        yield connection


def _maintenance_database(engine: Engine) -> str:
    refused: OpsError | None = None
    for name in _MAINTENANCE:
        if name == engine.url.database:
            continue
        try:
            with connected(engine, name) as connection:
                connection.execute(text("SELECT 1"))
            return name
        except OpsError as error:
            refused = error
    assert refused is not None
    raise refused


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into errors for people."""
    try:
        yield
    except DBAPIError as cause:
        raise in_words(cause) from cause


def in_words(cause: DBAPIError) -> OpsError:
    """One driver error as an error for people; its detail carries no password."""
    code = getattr(cause.orig, "pgcode", None) or ""
    detail = redact(str(cause.orig).strip())
    if code == "42501":
        return OpsError(
            "The console's database user lacks a right that this needs.",
            "Ask whoever runs the server to grant it; the detail names what was refused.",
            detail,
        )
    if code in ("55006", "55P03"):
        return Busy(
            "Other programs are connected to the database and could not be asked to leave.",
            "Stop the programs that use the database, then try again.",
            detail,
        )
    if code in ("53100",):
        return OpsError("The database server's disk is full.", "Make room on it.", detail)
    if isinstance(cause, OperationalError) and not code:
        return Unavailable(
            "The database does not answer.",
            "Check that the server runs, and that the address and password in the settings "
            "are right.",
            detail,
        )
    return OpsError(
        "The database reported an error.", "The details say which.", f"{code} {detail}".strip()
    )


class ToolAccess:
    """How pg_dump and pg_restore reach the server: a conninfo without the password on the
    command line, the password in a file of mode 0600 that goes away with the `with` block."""

    def __init__(self, engine: Engine, database: str, server: tuple[str, int] | None = None):
        parameters = connect_parameters(engine)
        password = parameters.pop("password", None)
        if server is not None:
            # The snapshot lives on one server; with several hosts the tools must meet that one.
            parameters.update(host=server[0], port=server[1])
            parameters.pop("target_session_attrs", None)
        if parameters.pop("sslpassword", None):
            raise OpsError(
                "The database URL has a passphrase for its TLS key, which pg_dump cannot be "
                "given safely.",
                "Use a key file without a passphrase, readable only by the console's user.",
            )
        parameters["dbname"] = database
        self.conninfo = make_dsn(**parameters)
        self._password = password
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.env: dict[str, str] = {}

    def __enter__(self) -> ToolAccess:
        self.env = {
            **os.environ,
            "LC_ALL": "C",
            "PGAPPNAME": APPLICATION,
            "PGCONNECT_TIMEOUT": "10",
        }
        if self._password is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="ops-")
            file = Path(self._folder.name) / "pgpass"
            escaped = str(self._password).replace("\\", "\\\\").replace(":", "\\:")
            file.touch(mode=0o600)
            file.write_text(f"*:*:*:*:{escaped}\n", encoding="utf-8")
            self.env["PGPASSFILE"] = str(file)
            self.env.pop("PGPASSWORD", None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

"""Connecting to PostgreSQL, from Python and from its own programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from psycopg2.extensions import make_dsn
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from ops.dialects.postgresql.tools import connecting_environment
from ops.errors import Busy, OpsError, Unavailable
from ops.target import redact

APPLICATION: Final = "ops-console"
"""Our sessions show under this name, those of a restore with its journal's id behind it:
recovery knows by that what a killed restore left at work on the server."""

_SAFE_PATH: Final = "search_path = pg_catalog, pg_temp"
"""Names in our queries mean the server's own functions and nobody else's: whoever may create
in a schema of the default path could otherwise put a `format` of their own before it, which
would run with our rights."""

STEADY: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 60_000,
}
"""A server that has vanished without a word is noticed within a minute. In seconds, but for the
last one."""

CONNECT_ARGS: Final = {"application_name": APPLICATION, **STEADY}

_WITHOUT_LIMITS: Final = {
    "statement_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 14_0000,
    "transaction_timeout": 17_0000,
}
"""Setting → the first server that knows it. Limits that are meant for programs of every day would
end a backup that holds its snapshot while pg_dump works, or counts a large table. Each work of ours
has limits of its own, or a person who can stop it."""

_MAINTENANCE: Final = ("postgres", "template1")


def connect_parameters(engine: Engine) -> dict[str, Any]:
    """The libpq keywords (host, port, user, password, sslmode, …) of an engine's URL."""
    from sqlalchemy.dialects.postgresql import psycopg2 as sqlalchemy_psycopg2

    dialect = sqlalchemy_psycopg2.dialect()  # type: ignore[no-untyped-call]
    _, keywords = dialect.create_connect_args(engine.url)  # type: ignore[no-untyped-call]
    return dict(keywords)


def database_of(engine: Engine) -> str:
    """The database's name; a URL without one means that of the user's name, as in psql."""
    return str(engine.url.database or engine.url.username or "postgres")


def own_engine(
    engine: Engine,
    database: str | None = None,
    *,
    autocommit: bool = False,
    application: str = APPLICATION,
) -> Engine:
    """An engine of our own beside the caller's, without a pool; `database` may differ."""
    url = engine.url if database is None else engine.url.set(database=database)
    own = create_engine(
        url,
        poolclass=NullPool,
        connect_args={**CONNECT_ARGS, "application_name": application},
        isolation_level="AUTOCOMMIT" if autocommit else "READ COMMITTED",
    )
    event.listen(own, "connect", _settle_in)
    return own


def _settle_in(connection: Any, _record: object) -> None:
    settings = [_SAFE_PATH]
    settings += [
        f"{k} = 0" for k, since in _WITHOUT_LIMITS.items() if connection.server_version >= since
    ]
    with connection.cursor() as cursor:
        cursor.execute("".join(f"SET {setting};" for setting in settings))
    connection.commit()


@contextmanager
def connected(
    engine: Engine,
    database: str | None = None,
    *,
    autocommit: bool = True,
    application: str = APPLICATION,
) -> Iterator[Connection]:
    """A connection of our own, errors translated."""
    own = own_engine(engine, database, autocommit=autocommit, application=application)
    with translated(), own.connect() as connection:
        yield connection


@contextmanager
def pooled(engine: Engine) -> Iterator[Connection]:
    """A connection of the caller's own pool, for short looks; errors translated.

    In one transaction, which leaves nothing behind in the caller's session.
    """
    with translated(), engine.connect() as connection:
        looking = connection.execution_options(isolation_level="READ COMMITTED")
        with looking.begin():
            looking.exec_driver_sql("SET TRANSACTION READ ONLY")
            looking.exec_driver_sql(f"SET LOCAL {_SAFE_PATH}")
            yield looking


@contextmanager
def maintenance(
    engine: Engine, *, autocommit: bool = True, application: str = APPLICATION
) -> Iterator[Connection]:
    """A connection to a database that is not the live one: none may be connected to that
    while it is renamed."""
    database = _maintenance_database(engine)
    with connected(engine, database, autocommit=autocommit, application=application) as connection:
        yield connection


def _maintenance_database(engine: Engine) -> str:
    refused: OpsError | None = None
    for name in _MAINTENANCE:
        if name == database_of(engine):
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
    except UnicodeError as cause:
        raise _unreadable(str(cause)) from cause


def _unreadable(detail: str) -> OpsError:
    return OpsError(
        "A name in the database, of a table or a column for example, is not written in the "
        "encoding that the database says it has, so the console cannot read it.",
        "Ask whoever made it to rename it (ALTER TABLE … RENAME); pg_dump can save the database "
        "as it is.",
        detail,
    )


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
    if code in ("55006", "55P03", "40P01"):
        return Busy(
            "Other programs are connected to the database and could not be asked to leave.",
            "Stop the programs that use the database, then try again.",
            detail,
        )
    if code in ("22021", "22P05"):
        return _unreadable(detail)
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
    command line, the password in a file of mode 0600 in `folder`, the work's own, which goes
    away with the `with` block, or with the folder if the work is killed."""

    def __init__(
        self,
        engine: Engine,
        database: str,
        folder: Path,
        *,
        server: tuple[str, int] | None = None,
        application: str = APPLICATION,
    ) -> None:
        parameters = {**STEADY, **connect_parameters(engine)}
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
        self._file = folder / "pgpass"
        self._application = application
        self.env: dict[str, str] = {}

    def __enter__(self) -> ToolAccess:
        self.env = {
            **connecting_environment(),
            "PGAPPNAME": self._application,
            "PGCONNECT_TIMEOUT": "10",
        }
        if self._password is not None:
            escaped = str(self._password).replace("\\", "\\\\").replace(":", "\\:")
            self._file.touch(mode=0o600)
            self._file.write_text(f"*:*:*:*:{escaped}\n", encoding="utf-8")
            self.env["PGPASSFILE"] = str(self._file)
            self.env.pop("PGPASSWORD", None)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.unlink(missing_ok=True)

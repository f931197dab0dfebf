"""The console's own memory: jobs, activity, size samples, accounts.

It never lies in a database that the console looks after: a restore would take it back
in time. A SQLite file in the data folder, used by several processes at once, or a database
that several machines share.
All times are seconds since the epoch (UTC).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from ops.errors import SettingsError, Unavailable
from ops.target import redact

_DRIVERS: Final = {"postgresql": "postgresql+psycopg2", "postgres": "postgresql+psycopg2"}

metadata: Final = MetaData()

jobs: Final = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("target", String(60), nullable=False),
    Column("who", String(60), nullable=False),
    Column("params", JSON, nullable=False),
    Column("state", String(20), nullable=False),
    Column("done", Float, nullable=False, default=0.0),
    Column("total", Float, nullable=False, default=0.0),
    Column("note", Text, nullable=False, default=""),
    Column("cancel_asked", Integer, nullable=False, default=0),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("heartbeat", Float),
    Column("ended", Float),
    Column("result", JSON),
    Column("error", JSON),
    Index("jobs_by_target", "target", "created"),
)

claims: Final = Table(
    "claims",
    metadata,
    Column("target", String(60), primary_key=True),
    Column("job", String(40), nullable=False),
    Column("queued", Integer, nullable=False, default=0),
    Column("host", String(255)),
    Column("pid", Integer),
    Column("born", Float),
)
"""The one job that each target has at a time: made with the job, gone when it has ended and
nothing of it is left. `host`, `pid` and `born` tell which process does it; `queued`: handed to
the workers."""

samples: Final = Table(
    "samples",
    metadata,
    Column("target", String(60), primary_key=True),
    Column("taken", Float, primary_key=True),
    Column("size_bytes", Float, nullable=False),
)

series: Final = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("target", String(60), nullable=False),
    Column("name", String(300), nullable=False),
    UniqueConstraint("target", "name"),
)

measures: Final = Table(
    "measures",
    metadata,
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("taken", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Float, nullable=False),
    sqlite_with_rowid=False,  # the key is nearly all there is: half the size
)

accounts: Final = Table(
    "accounts",
    metadata,
    Column("name", String(60), primary_key=True),
    Column("password_hash", Text),
    Column("changed", Float, nullable=False),
)

sessions: Final = Table(
    "sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("account", String(60), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False),
)

schedules: Final = Table(
    "schedules",
    metadata,
    Column("target", String(60), primary_key=True),
    Column("plan", JSON, nullable=False),
    Column("since", Float, nullable=False),
    Column("who", String(60), nullable=False),
)

scheduled_runs: Final = Table(
    "scheduled_runs",
    metadata,
    Column("target", String(60), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("moment", Float, primary_key=True),
    Column("state", String(20), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try", Float, nullable=False),
    Column("job", String(40)),
    Column("error", JSON),
    Column("changed", Float, nullable=False),
)

activity: Final = Table(
    "activity",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("who", String(60), nullable=False),
    Column("origin", String(60), nullable=False),
    Column("what", String(40), nullable=False),
    Column("target", String(60), nullable=False),
    Column("archive", String(250), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("detail", Text, nullable=False),
    Column("job", String(40)),
    Index("activity_at", "at"),
    Index("activity_once_a_job", "job", unique=True),  # those without a job do not count
    sqlite_autoincrement=True,  # no number is given out twice, so a gap would show
)

ACTIVITY_DAYS_LEAST: Final = 30
"""Nobody can delete a line of the activity that is younger."""

_SQLITE_APPENDS_ONLY: Final = f"""
CREATE TRIGGER activity_{{}} BEFORE {{}} ON activity
WHEN old.at > strftime('%s', 'now') - {ACTIVITY_DAYS_LEAST} * 86400
BEGIN SELECT RAISE(ABORT, 'activity is only added to'); END
"""
for _name, _event in (("kept", "DELETE"), ("unchanged", "UPDATE")):
    _rule = _SQLITE_APPENDS_ONLY.format(_name, _event).replace("%", "%%")
    _made = DDL(_rule).execute_if(dialect="sqlite")  # type: ignore[no-untyped-call]
    event.listen(activity, "after_create", _made)

_POSTGRESQL_APPENDS_ONLY: Final = (
    f"""
CREATE OR REPLACE FUNCTION activity_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.at > extract(epoch FROM now()) - {ACTIVITY_DAYS_LEAST} * 86400 THEN
        RAISE EXCEPTION 'activity is only added to';
    END IF;
    IF TG_OP = 'DELETE' THEN RETURN old; END IF;
    RETURN new;
END $$
""",
    """
CREATE TRIGGER activity_kept BEFORE UPDATE OR DELETE ON activity
FOR EACH ROW EXECUTE FUNCTION activity_is_only_added_to()
""",
)
for _rule in _POSTGRESQL_APPENDS_ONLY:
    _made = DDL(_rule).execute_if(dialect="postgresql")  # type: ignore[no-untyped-call]
    event.listen(activity, "after_create", _made)

notices: Final = Table(
    "notices",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("target", String(60), nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try", Float, nullable=False),
    Column("sent", JSON, nullable=False),
    Column("delivered", Float),
    Column("given_up", Integer, nullable=False),
    Column("problem", Text, nullable=False),
)

alarms: Final = Table(
    "alarms",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("title", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("bad", Integer, nullable=False),
    Column("good", Integer, nullable=False),
    Column("told", Float),
)

sign_in_links: Final = Table(
    "sign_in_links",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("account", String(60), nullable=False),
    Column("created", Float, nullable=False),
)

health_history: Final = Table(
    "health_history",
    metadata,
    Column("target", String(60), primary_key=True),
    Column("history", JSON, nullable=False),
    Column("changed", Float, nullable=False),
)

health_results: Final = Table(
    "health_results",
    metadata,
    Column("target", String(60), primary_key=True),
    Column("check", String(60), primary_key=True),
    Column("finding", JSON, nullable=False),
    Column("taken", Float, nullable=False),
)

health_thresholds: Final = Table(
    "health_thresholds",
    metadata,
    Column("target", String(60), primary_key=True),
    Column("check", String(60), primary_key=True),
    Column("warning", Float),
    Column("critical", Float),
    Column("who", String(60), nullable=False),
    Column("changed", Float, nullable=False),
)

health_asides: Final = Table(
    "health_asides",
    metadata,
    Column("target", String(60), primary_key=True),
    Column("check", String(60), primary_key=True),
    Column("level", String(20), nullable=False),
    Column("until", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("who", String(60), nullable=False),
    Column("made", Float, nullable=False),
)

health_purposes: Final = Table(
    "health_purposes",
    metadata,
    Column("target", String(60), primary_key=True),
    Column("purpose", String(20), nullable=False),
    Column("who", String(60), nullable=False),
    Column("changed", Float, nullable=False),
)


def open_store(path: Path) -> Engine:
    """The store at `path`, its tables made where they are missing."""
    path.touch(mode=0o600)  # before SQLite does: its side files take the mode of the file
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _settings(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    _make_tables(engine)
    return engine


def open_shared_store(url: str) -> Engine:
    """The store at an address, its tables made where they are missing.

    Raises:
        SettingsError: it is not an address.
        Unavailable: it does not answer.
    """
    from ops.dialects import dialect_named

    try:
        address = make_url(url)
        address = address.set(drivername=_DRIVERS.get(address.drivername, address.drivername))
        dialect = dialect_named(address.get_backend_name())
        told = dict(dialect.connect_args) if dialect else {}
        engine = create_engine(address, pool_pre_ping=True, connect_args=told)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError):
        raise SettingsError(
            "OPS_STORE_URL is not a database address.",
            "Write it like postgresql://user:password@host:5432/database.",
        ) from None
    if "@" in (address.host or ""):  # else the server's name is told, and it with it
        raise SettingsError(
            "OPS_STORE_URL holds an @ that belongs to its password.",
            "Write %40 for each @ inside the password.",
        )
    try:
        _make_tables(engine)
    except DBAPIError as cause:
        raise Unavailable(
            "The database of the console's own memory does not answer, or may not be written.",
            "Check that it runs, and that OPS_STORE_URL is right.",
            redact(str(cause.orig).strip()),
        ) from None
    return engine


def _make_tables(engine: Engine) -> None:
    try:
        metadata.create_all(engine)
    except DBAPIError:
        # Another process made them between the look and the making; the second look finds them.
        metadata.create_all(engine)


def put(
    store: Connection,
    table: Table,
    row: Mapping[str, Any],
    only_if: ColumnElement[bool] | None = None,
) -> None:
    """Write a row over the one of the same key, `only_if` that one is such, else anew; in the
    caller's transaction, and in words that every kind of database understands."""
    same = [column == row[column.name] for column in table.primary_key]
    change = update(table).where(*same, *([] if only_if is None else [only_if])).values(row)
    if store.execute(change).rowcount:
        return
    try:
        with store.begin_nested():
            store.execute(insert(table).values(row))
    except IntegrityError:  # it is not such, or somebody was faster
        store.execute(change)

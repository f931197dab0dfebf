"""Databases to try the console on: for every kind the same questions, real files and servers.

A new dialect joins the contract (`test_contract.py`) with one subclass and one line in `KINDS`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sqlite3
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import psycopg2
import pytest

from ops import Target
from tests import clients
from tests.schemas import (
    POSTGRESQL_DRIFT,
    POSTGRESQL_FILL,
    POSTGRESQL_ROLES,
    SQLITE_DRIFT,
    SQLITE_FILL,
)
from tests.services.postgres import RealPostgres

Fingerprint = dict[str, object]
Client = tuple[Any, ...]
"""A function of `tests.clients` and its arguments."""

ROLE = "ops tester"
MANAGED_ROLE = "ops managed"
PASSWORD = "p@ss:w\\o/r%d 'ü"

WRITE_PAIR = "BEGIN; INSERT INTO left_hand VALUES (1); INSERT INTO right_hand VALUES (1); COMMIT"
"""One commit that keeps two tables equally long: a snapshot never sees them differ."""


class LiveDatabase(ABC):
    """A database in use, which a test may look at without the code under test."""

    backend: ClassVar[str]
    suffix: ClassVar[str]
    url: str
    other_url: str
    """Another address that leads to the same database."""
    name: str
    takes_foreign = True
    """Whether an archive of another console's can be tried out without touching the database."""
    kind: str = ""

    def __str__(self) -> str:
        return self.kind or self.name

    @property
    def target(self) -> Target:
        """A fresh target named `live`, with an engine of its own."""
        return Target.parse("live", self.url)

    @abstractmethod
    def run(self, script: str) -> None:
        """Run statements as the console's own user, on a connection of their own."""

    @abstractmethod
    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query returns."""

    @abstractmethod
    def start_over(self) -> None:
        """Put an empty database in its place."""

    @abstractmethod
    def fill(self, rows: int = 300) -> None:
        """Tables with keys, indexes, views, odd names, NULLs and blobs; `rows` of 1 KB."""

    @abstractmethod
    def drift(self) -> None:
        """What happens after the backup: rows change, tables come, go and grow columns."""

    @abstractmethod
    def fingerprint(self, without: Collection[str] = ()) -> Fingerprint:
        """All content and the whole schema, so that equal means the same database;
        `without` names tables whose rows do not count."""

    @abstractmethod
    def neighbours(self) -> set[str]:
        """What stands beside the live database and is named after it."""

    @abstractmethod
    def tables_in_dump(self, dump: Path) -> dict[str, int]:
        """The rows of every table in an unpacked dump, counted without the console."""

    @abstractmethod
    def close(self) -> None:
        """Remove it and its neighbours."""

    @abstractmethod
    def clients(self, logs: Path, first: int) -> list[Client]:
        """Programs that use the database, each with its own log in the folder `logs`; each
        `writer` commits numbers of its own to both hands, from `first` on."""

    def table(self, name: str) -> str:
        """The name of a table as manifests have it."""
        return name

    @abstractmethod
    def furnish(self) -> None:
        """Add what the clients need besides the tables of `fill`, and some megabytes more."""

    def imbalance(self) -> list[tuple[Any, ...]]:
        """What the clients would never leave behind: halves of their transactions."""
        hands = "SELECT (SELECT count(*) FROM left_hand), (SELECT count(*) FROM right_hand)"
        return [row for row in self.rows(hands) if row[0] != row[1]]


class SQLiteDatabase(LiveDatabase):
    """A file in one of the two journal modes."""

    backend = "sqlite"
    suffix = ".db"

    def __init__(self, folder: Path, mode: str) -> None:
        self.path = folder / "live 100% odd.db"
        self.url = f"sqlite:///{self.path}"
        self.other_url = f"sqlite:///{folder}/../{folder.name}/{self.path.name}"
        self.name = self.path.stem
        self.mode = mode

    def run(self, script: str) -> None:
        with closing(self._open()) as connection:
            connection.executescript(script)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(self._open()) as connection:
            return connection.execute(query).fetchall()

    def start_over(self) -> None:
        self.close()
        self.run(f"PRAGMA journal_mode={self.mode}")

    def fill(self, rows: int = 300) -> None:
        self.start_over()
        self.run(SQLITE_FILL.format(rows=rows))

    def drift(self) -> None:
        self.run(SQLITE_DRIFT)

    def fingerprint(self, without: Collection[str] = ()) -> Fingerprint:
        with closing(self._open()) as connection:
            found = fingerprint_of_file(connection, without)
        return {**found, "journal mode": self.rows("PRAGMA journal_mode")}

    def furnish(self) -> None:
        bulk = "bulk a CROSS JOIN bulk b WHERE b.id <= 15"
        self.run(f"INSERT INTO bulk SELECT a.id + 1000 * b.id, a.pad FROM {bulk}")

    def clients(self, logs: Path, first: int) -> list[Client]:
        return [
            (clients.write_sqlite, self.path, logs / "writer 1", first),
            (clients.write_sqlite, self.path, logs / "writer 2", first + 50_000),
            (clients.read_sqlite, self.path, logs / "reader"),
        ]

    def neighbours(self) -> set[str]:
        mine = {self.path.name + end for end in ("", "-wal", "-shm", "-journal")}
        found = self.path.parent.glob(f"{self.path.stem}*")
        return {str(path) for path in found if path.name not in mine}

    def tables_in_dump(self, dump: Path) -> dict[str, int]:
        with closing(sqlite3.connect(dump)) as connection:
            query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE ?"
            names = [row[0] for row in connection.execute(query, ("sqlite%",))]
            return {name: _one(connection, f"SELECT count(*) FROM {_q(name)}") for name in names}

    def close(self) -> None:
        for path in self.path.parent.glob(f"{self.path.stem}*"):
            path.unlink()

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30, isolation_level=None)


def fingerprint_of_file(
    connection: sqlite3.Connection, without: Collection[str] = ()
) -> Fingerprint:
    """Content and schema of an open SQLite database, apart from its journal mode."""
    schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
    found: Fingerprint = {"schema": sorted(schema, key=repr)}
    for setting in ("user_version", "application_id", "encoding", "page_size", "integrity_check"):
        found[setting] = _one(connection, f"PRAGMA {setting}")
    for kind, name, _, sql in schema:
        if kind == "table" and name not in without:
            hidden = "" if "WITHOUT ROWID" in (sql or "") else "rowid, "
            rows = connection.execute(f"SELECT {hidden}* FROM {_q(name)}").fetchall()
            found[f"table {name}"] = _digest(map(repr, rows))
    return found


class PostgreSQLDatabase(LiveDatabase):
    """A database of an ordinary role: it owns it and may make others, and is no superuser."""

    backend = "postgresql"
    suffix = ".pgdump"
    role = ROLE
    attributes = "CREATEDB IN ROLE pg_signal_backend, pg_monitor"

    def __init__(self, cluster: RealPostgres, name: str = "", options: str = "") -> None:
        self.cluster = cluster
        self.name = name or f"test_{secrets.token_hex(6)}"
        self._options = options
        role, login = _q(self.role), {"name": _text(self.role), "password": _text(PASSWORD)}
        cluster.query(POSTGRESQL_ROLES.format(role=role, attributes=self.attributes, **login))
        self.start_over()
        self.url = cluster.url(self.name, user=self.role, password=PASSWORD)
        self.other_url = self.url.replace("127.0.0.1", "localhost")

    def run(self, script: str) -> None:
        with closing(self._open()) as connection, connection.cursor() as cursor:
            cursor.execute(script)

    def as_superuser(self, statement: str) -> list[tuple[Any, ...]]:
        """What a statement returns to whoever runs the server."""
        return self.cluster.query(statement, db=self.name)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(self._open()) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def start_over(self) -> None:
        self.close()
        self.cluster.query(
            f"CREATE DATABASE {_q(self.name)} OWNER {_q(self.role)} "
            f"TEMPLATE template0 {self._options}"
        )

    def fill(self, rows: int = 300) -> None:
        self.run(POSTGRESQL_FILL.replace("{rows}", str(rows)))

    def drift(self) -> None:
        self.run(POSTGRESQL_DRIFT)

    def fingerprint(self, without: Collection[str] = ()) -> Fingerprint:
        found: Fingerprint = {"schema": self._schema()}
        relations = """SELECT format('%I.%I', nspname, relname) FROM pg_class c
            JOIN pg_namespace n ON n.oid = relnamespace
            WHERE relkind IN ('r', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema'"""
        for name in {row[0] for row in self.rows(relations)} - set(without):
            lines = [row[0] for row in self.rows(f"SELECT t::text FROM {name} t")]
            found[name] = _digest(sorted(lines))
        for (name,) in self.rows(relations.replace("'r', 'm'", "'S'")):
            found[name] = self.rows(f"SELECT last_value, is_called FROM {name}")
        found["large objects"] = self.rows(
            "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid"
        )
        return found

    def neighbours(self) -> set[str]:
        stem = self.name.encode()[:20].decode(errors="ignore")
        query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
        return {str(row[0]) for row in self.cluster.query(query, stem)} - {self.name}

    def tables_in_dump(self, dump: Path) -> dict[str, int]:
        """Every COPY block of the script that pg_restore makes of the dump."""
        command = [self.cluster.bin / "pg_restore", "--data-only", "--file=-", dump]
        script = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        block = r"^COPY (.*?) (?:\(.*?\) )?FROM stdin;\n(.*?)^\\\.$"
        found = re.findall(block, script, re.MULTILINE | re.DOTALL)
        return {name: rows.count("\n") for name, rows in found}

    def furnish(self) -> None:
        command = [self.cluster.bin / "pgbench", "--initialize", "--quiet", "--no-vacuum"]
        subprocess.run(command, env=self.environment(), capture_output=True, check=True)

    def clients(self, logs: Path, first: int) -> list[Client]:
        bench = [str(self.cluster.bin / "pgbench"), "--no-vacuum", "--client=2", "--time=3600"]
        calm = [*bench, "--rate=200"]
        return [
            (clients.write_postgresql, self.login(), logs / "writer", first),
            (clients.read_postgresql, self.login(), logs / "reader"),
            (clients.bench_postgresql, calm, self.environment(), logs / "pgbench"),
        ]

    def imbalance(self) -> list[tuple[Any, ...]]:
        sums = """SELECT (SELECT sum(abalance) FROM pgbench_accounts),
            (SELECT sum(tbalance) FROM pgbench_tellers),
            (SELECT sum(bbalance) FROM pgbench_branches),
            (SELECT coalesce(sum(delta), 0) FROM pgbench_history)"""
        return super().imbalance() + [row for row in self.rows(sums) if len(set(row)) > 1]

    def close(self) -> None:
        for name in {self.name, *self.neighbours()}:
            self.cluster.query(f"DROP DATABASE IF EXISTS {_q(name)} WITH (FORCE)")

    def table(self, name: str) -> str:
        return f"public.{name}"

    def _schema(self) -> list[str]:
        """All definitions, comments and grants, as text."""
        command = [self.cluster.bin / "pg_dump", "--schema-only", "--encoding=UTF8"]
        env = self.environment()
        told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        return [line for line in told.splitlines() if not re.match(r"\\(un)?restrict|--|$", line)]

    def _open(self) -> Any:
        connection = psycopg2.connect(**self.login())
        connection.autocommit = True
        return connection

    def environment(self) -> dict[str, str]:
        """The login as PostgreSQL's own programs take it."""
        return {f"PG{name.upper()}": str(value) for name, value in self.login().items()}

    def login(self) -> dict[str, Any]:
        """How the console's own user connects, in libpq's words."""
        login = {"host": "127.0.0.1", "port": self.cluster.port, "database": self.name}
        return {**login, "user": self.role, "password": PASSWORD}


class ManagedPostgreSQL(PostgreSQLDatabase):
    """A database as managed servers give it: its owner may make no other, nor end others'
    sessions."""

    role = MANAGED_ROLE
    attributes = ""
    takes_foreign = False


def _one(connection: sqlite3.Connection, query: str) -> Any:
    return connection.execute(query).fetchone()[0]


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _digest(rows: Any) -> tuple[int, str]:
    """How many rows, and a hash over them in their order."""
    digest, count = hashlib.sha256(), 0
    for row in rows:
        digest.update(row.encode() + b"\n")
        count += 1
    return count, digest.hexdigest()


def filled_file(folder: Path, rows: int = 300) -> SQLiteDatabase:
    """A filled SQLite database in WAL mode, in a folder of its own below `folder`."""
    database = _file(folder, "wal")
    database.fill(rows)
    return database


def _file(folder: Path, mode: str) -> SQLiteDatabase:
    own = folder / "database"
    own.mkdir()
    return SQLiteDatabase(own, mode)


def _sqlite(request: pytest.FixtureRequest, mode: str) -> LiveDatabase:
    return _file(request.getfixturevalue("tmp_path"), mode)


def _postgresql(
    request: pytest.FixtureRequest,
    fixture: str,
    kind: type[PostgreSQLDatabase] = PostgreSQLDatabase,
) -> LiveDatabase:
    return kind(request.getfixturevalue(fixture))


Maker = Callable[[pytest.FixtureRequest], LiveDatabase]

KINDS: dict[str, dict[str, Maker]] = {
    "sqlite": {
        "sqlite-wal": partial(_sqlite, mode="wal"),
        "sqlite-rollback": partial(_sqlite, mode="delete"),
    },
    "postgresql": {
        "postgresql-16": partial(_postgresql, fixture="pg16"),
        "postgresql-18": partial(_postgresql, fixture="pg18"),
        "postgresql-16-managed": partial(_postgresql, fixture="pg16", kind=ManagedPostgreSQL),
    },
}
"""For every backend of the registry, the settings in which it is tried."""

_WITHOUT_STAGING = ["postgresql-16-managed"]
_STAGING = [name for kinds in KINDS.values() for name in kinds if name not in _WITHOUT_STAGING]

with_staging = pytest.mark.parametrize("live", _STAGING, indirect=True)
"""For tests of what needs a second database beside the live one."""

without_staging = pytest.mark.parametrize("live", _WITHOUT_STAGING, indirect=True)
"""For tests of what is said where none can be made."""

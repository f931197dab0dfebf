"""The services that tests ask for. Each is started when the first test needs it."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from sqlalchemy import make_url

from ops import DataFolder
from ops.installation import Installation
from ops.settings import environment_names
from tests import figures
from tests.databases import KINDS, LiveDatabase, SQLiteDatabase
from tests.services.chromium import running_chromium
from tests.services.postgres import DEBIAN, RealPostgres
from tests.services.redis import RealRedis


def pytest_configure() -> None:
    """SIGTERM ends the tests like Ctrl-C does, so that the servers are stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where several processes share the tests, each hands its figures to the one that prints."""
    handed = getattr(session.config, "workeroutput", None)
    if handed is not None:
        handed["figures"] = figures.ROWS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the figures of a process that has finished its tests."""
    figures.ROWS.extend(getattr(node, "workeroutput", {}).get("figures", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of what was tried how often."""
    if figures.ROWS:
        terminalreporter.section(f"figures, seed {figures.SEED}")
        for line in figures.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def pg16() -> Iterator[RealPostgres]:
    """A PostgreSQL 16 for the whole session."""
    yield from _running_postgres(16)


@pytest.fixture(scope="session")
def pg18() -> Iterator[RealPostgres]:
    """A PostgreSQL 18 for the whole session."""
    yield from _running_postgres(18)


@pytest.fixture(scope="session", params=["pg16", "pg18"])
def pg(request: pytest.FixtureRequest) -> RealPostgres:
    """Each supported PostgreSQL in turn."""
    cluster: RealPostgres = request.getfixturevalue(request.param)
    return cluster


@pytest.fixture
def pg_database(pg: RealPostgres) -> Iterator[str]:
    """The URL of a new, empty database.

    It goes after the test, and so does every database whose name begins with its name.
    """
    name = f"test_{secrets.token_hex(6)}"
    pg.query(f'CREATE DATABASE "{name}"')
    yield pg.url(name)
    _drop_databases(pg, name)


@pytest.fixture
def store_url(pg16: RealPostgres) -> Iterator[str]:
    """The URL of a database for the memory of several consoles."""
    name = f"memory_{secrets.token_hex(6)}"
    pg16.query(f'CREATE DATABASE "{name}"')
    yield pg16.url(name)
    _drop_databases(pg16, name)


@pytest.fixture
def db(pg_database: str) -> str:
    """The name of a new, empty database."""
    return str(make_url(pg_database).database)


@pytest.fixture
def plain_role(pg: RealPostgres, db: str) -> Iterator[str]:
    """A role that may log in, and nothing else."""
    role = f"plain_{secrets.token_hex(4)}"
    pg.query(f"CREATE ROLE {role} LOGIN PASSWORD 'open sesame'")
    yield role
    pg.query(f"DROP OWNED BY {role}", db=db)
    pg.query(f"DROP ROLE {role}")


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """A data folder of its own."""
    return DataFolder(tmp_path / "data")


@pytest.fixture(params=[name for kinds in KINDS.values() for name in kinds])
def live(request: pytest.FixtureRequest) -> Iterator[LiveDatabase]:
    """A filled database of each kind in turn."""
    maker = next(kinds[request.param] for kinds in KINDS.values() if request.param in kinds)
    database = maker(request)
    database.kind = request.param
    database.fill()
    yield database
    database.close()


@pytest.fixture(params=["wal", "delete"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> SQLiteDatabase:
    """A filled SQLite database in each journal mode."""
    (tmp_path / "database").mkdir()
    database = SQLiteDatabase(tmp_path / "database", request.param)
    database.fill()
    return database


@pytest.fixture
def more_settings() -> dict[str, str]:
    """What the installation is set to besides its database; test modules have their own."""
    return {}


@pytest.fixture
def home(
    live: LiveDatabase,
    more_settings: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Installation]:
    """An installation that the processes of jobs find by the environment."""
    for name in environment_names():
        monkeypatch.delenv(name, raising=False)
    # Else each job compiles all that it imports anew, which takes longer than its work.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OPS_TARGETS__LIVE", live.url)
    for name, value in more_settings.items():
        monkeypatch.setenv(name, value)
    opened = Installation.open()
    yield opened
    opened.store.dispose()


@pytest.fixture(scope="module")
def contrib() -> Iterator[RealPostgres]:
    """Debian's server, which has PostgreSQL's own additions."""
    installed = [major for major in (17, 16, 15, 14) if _has_additions(major)]
    if not installed:
        pytest.skip("needs Debian's packages postgresql-N, for PostgreSQL's own additions")
    preload = {"shared_preload_libraries": "pg_stat_statements"}
    cluster = RealPostgres(installed[0], preload, languages=["en_US"])
    yield cluster
    cluster.stop()


def _has_additions(major: int) -> bool:
    programs = Path(DEBIAN.format(major=major))
    return (programs.parent / "lib" / "amcheck.so").exists()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a Redis that the tests may write to: that of REDIS_URL, or our own."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    server = RealRedis()
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for one module; take a `browser.new_context()` for each test.

    Not for the session: as long as Playwright runs, `asyncio.run` fails in this thread.
    """
    with running_chromium() as chromium:
        yield chromium


def _running_postgres(major: int) -> Iterator[RealPostgres]:
    cluster = RealPostgres(major)
    yield cluster
    cluster.stop()


def _drop_databases(cluster: RealPostgres, prefix: str) -> None:
    """Drop every database whose name begins with the prefix, whoever is still connected."""
    mine = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
    for (name,) in cluster.query(mine, prefix):
        cluster.query(f'DROP DATABASE "{name}" WITH (FORCE)')

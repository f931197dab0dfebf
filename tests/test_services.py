"""The services behind the other tests are what they say they are."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
import redis
from playwright.sync_api import Browser
from sqlalchemy import create_engine, text

from tests.services.attempts import Attempts, NotAvailable
from tests.services.postgres import RealPostgres


def _scalar(url: str, query: str) -> object:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(text(query)).scalar()
    finally:
        engine.dispose()


def test_postgres_is_of_the_version_asked_for(pg16: RealPostgres, pg18: RealPostgres) -> None:
    version = "SELECT current_setting('server_version_num')::int / 10000"
    assert _scalar(pg16.url(), version) == 16
    assert _scalar(pg18.url(), version) == 18


def test_postgres_wants_the_password(pg: RealPostgres) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(
            host="127.0.0.1", port=pg.port, user="postgres", password="wrong", dbname="postgres"
        )


def test_postgres_answers_on_its_socket(pg: RealPostgres) -> None:
    url = pg.url().replace("127.0.0.1", "") + f"?host={pg.socket_dir}"
    assert _scalar(url, "SELECT inet_server_addr() IS NULL") is True


@pytest.fixture
def names_to_vanish(pg: RealPostgres) -> Iterator[list[str]]:
    """Filled by the test, looked at when the test's own database is gone."""
    names: list[str] = []
    yield names
    assert names
    assert pg.query("SELECT 1 FROM pg_database WHERE datname = ANY(%s)", names) == []


def test_a_database_goes_with_all_that_begin_like_it(
    names_to_vanish: list[str], pg_database: str, pg: RealPostgres
) -> None:
    name = str(_scalar(pg_database, "SELECT current_database()"))
    pg.query(f'CREATE DATABASE "{name}_old"')
    names_to_vanish += [name, f"{name}_old"]


def test_postgres_survives_a_crash() -> None:
    cluster = RealPostgres(18)
    try:
        port = cluster.port
        cluster.restart(immediate=True)
        assert cluster.port == port
        assert _scalar(cluster.url(), "SELECT 1") == 1
    finally:
        cluster.stop()
    assert not cluster.folder.exists()


def test_redis_is_seven_or_newer(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert int(client.info("server")["redis_version"].split(".")[0]) >= 7


def test_chromium_draws_a_page(browser: Browser) -> None:
    page = browser.new_page()
    page.goto("data:text/html,<title>t</title><p>sum: <script>document.write(40+2)</script></p>")
    assert page.inner_text("p") == "sum: 42"
    box = page.locator("p").bounding_box()
    assert box is not None
    assert box["height"] > 10
    page.close()


def test_a_failure_lists_every_attempt() -> None:
    attempts = Attempts("Nothing", "none")
    assert not attempts.run("a program that fails", ["false"])
    assert not attempts.run("a program that is not there", ["no-such-program-here"])
    with pytest.raises(NotAvailable, match=r"(?s)that fails: exit 1.*not there: .*No such file"):
        raise attempts.error()

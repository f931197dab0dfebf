"""`/metrics`: who gets in, what stands there, and what it costs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops import Target, create_backup
from tests.services.console import PASSWORD, RunningConsole
from tests.services.ports import free_port

TOKEN = "a token of 16 or more"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A console with a token, a database with a backup, and a Redis that does not answer."""
    folder = tmp_path_factory.mktemp("metrics")
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    running = RunningConsole(
        folder,
        OPS_ADMIN_PASSWORD=PASSWORD,
        OPS_METRICS_TOKEN=TOKEN,
        REDIS_URL=f"redis://:hidden@127.0.0.1:{free_port()}/0",
    )
    create_backup(Target.parse("main", f"sqlite:///{folder / 'shop.db'}"), running.data)
    yield running
    running.stop()


def _get(console: RunningConsole, given: str | None) -> tuple[int, str]:
    return console.ask("GET", "/metrics", {"Authorization": given} if given is not None else None)


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer é"],
)
def test_strangers_are_refused(console: RunningConsole, given: str | None) -> None:
    status, text = _get(console, given and given.encode().decode("latin-1"))
    assert status == 401
    assert "ops_" not in text


def test_a_session_is_no_token(console: RunningConsole) -> None:
    with console.signed_in() as client:
        assert client.get("/metrics").status_code == 401


def test_other_addresses_stay_closed_to_the_token(console: RunningConsole) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/metrics/", "/metrics/x", "/_stcore/metrics", "/api/reports/main/json"):
        assert console.ask("GET", path, headers)[0] in (303, 401), path
    assert console.ask("POST", "/metrics", headers)[0] == 405


def test_the_figures(console: RunningConsole) -> None:
    status, text = _get(console, f"Bearer {TOKEN}")
    assert status == 200
    found = {
        (sample.name, sample.labels["target"], sample.labels.get("check")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["ops_health_level", "main", "sqlite.opens"] == 0
    assert found["ops_health_level", ":redis", "redis.answers"] == 2
    assert 0 <= found["ops_backup_age_seconds", "main", None] < 300
    assert found["ops_backups", "main", None] == 1
    assert found["ops_database_size_bytes", "main", None] > 0
    assert "hidden" not in text


def test_often_asked_is_looked_once(console: RunningConsole) -> None:
    _, first = _get(console, f"Bearer {TOKEN}")
    began = time.monotonic()
    assert all(_get(console, f"bearer {TOKEN}") == (200, first) for _ in range(50))
    assert time.monotonic() - began < 5


def test_without_a_token_there_is_nothing(tmp_path: Path) -> None:
    console = RunningConsole(tmp_path, OPS_ADMIN_PASSWORD=PASSWORD)
    try:
        assert _get(console, f"Bearer {TOKEN}")[0] == 404
        assert _get(console, "Bearer ")[0] == 404
    finally:
        console.stop()

"""The deep checks: asked by a job, or of the copy that a test restore makes, and remembered."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from ops import duties, jobs
from ops.backup import create_backup
from ops.catalog import read_archive
from ops.checks.base import Level
from ops.datafolder import DataFolder
from ops.health import health_of
from ops.installation import Installation
from ops.settings import Settings
from ops.store import open_store
from ops.target import Target
from tests.health_reports import finding


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Installation]:
    """An installation with one SQLite database, which has a full-text search."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
        connection.execute("INSERT INTO words (text) VALUES ('good morning')")
    folder = DataFolder(tmp_path / "data")
    store = open_store(folder.store_path)
    target = Target.parse("shop", f"sqlite:///{path}")
    yield Installation(Settings.model_validate({}), folder, store, (target,))
    target.engine.dispose()
    store.dispose()


def test_a_job_looks_deep_and_what_it_found_is_shown(shop: Installation) -> None:
    assert not finding(health_of(shop), "sqlite.locked").looked_at
    result = jobs.execute(shop, jobs.create(shop, "check", "shop", "ann", {}))
    assert {one["level"] for one in result["findings"]} == {"good"}
    found = finding(health_of(shop), "sqlite.locked")
    assert found.level is Level.GOOD
    assert found.checked_at is not None
    assert not finding(health_of(shop), "sqlite.search").looked_at  # for want of a copy


def test_a_test_restore_looks_deep_into_its_copy(shop: Installation) -> None:
    archive = create_backup(shop.target("shop"), shop.folder).archive
    jobs.execute(shop, jobs.create(shop, "test", "shop", "ann", {"archive": str(archive)}))
    found = finding(health_of(shop), "sqlite.search")
    assert found.level is Level.GOOD
    made: datetime = read_archive(archive).manifest.created_at
    assert found.checked_at == made.timestamp()


def test_at_night_every_target_is_looked_at_once(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    duty = next(duty for duty in duties.DUTIES if duty.name == "look deep into health")
    started: list[str] = []

    def start(home: Installation, kind: str, target: str, who: str, params: object) -> str:
        job = jobs.create(home, kind, target, who, {})
        jobs.execute(home, job)
        started.append(target)
        return job

    monkeypatch.setattr(jobs, "start", start)
    monkeypatch.setattr(duties, "_NIGHT", (0, 0))
    duty.do(shop)
    assert started == []
    monkeypatch.setattr(duties, "_NIGHT", (0, 24))
    duty.do(shop)
    duty.do(shop)
    assert started == ["shop"]

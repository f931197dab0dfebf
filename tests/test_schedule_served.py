"""The schedule of a console that is served, and killed with -9 while a backup runs."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert

from ops import Catalog
from ops.installation import Installation
from ops.jobs import State, recent
from ops.runs import RunState, begin_due, recent_runs
from ops.schedule import Plan
from ops.settings import Settings
from ops.store import schedules
from tests.services.console import RunningConsole
from tests.waiting import wait_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    database = tmp_path / "till.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE receipts (id INTEGER PRIMARY KEY, what TEXT)")
        connection.commit()
    return database


@pytest.fixture
def home(tmp_path: Path, path: Path) -> Iterator[Installation]:
    """What the console finds: a daily plan that has been in force for a week."""
    (tmp_path / "data").mkdir()
    values = {"DATABASE_URL": f"sqlite:///{path}", "OPS_DATA_DIR": tmp_path / "data"}
    opened = Installation.open(Settings.model_validate(values))
    plan = Plan(test=None, recheck=None).model_dump(mode="json")
    row = {"target": "main", "plan": plan, "since": time.time() - 7 * 86_400, "who": "test"}
    with opened.store.begin() as store:
        store.execute(insert(schedules).values(row))
    yield opened
    opened.store.dispose()


def test_a_missed_backup_is_made_up_once_and_outlives_the_killed_console(
    home: Installation, path: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{path}"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")  # the backup waits in mid-work
        console = RunningConsole(tmp_path, DATABASE_URL=url)
        wait_for(lambda: any(job.state is State.RUNNING for job in recent(home)), 60)
        assert console.stop(signal.SIGKILL) == -signal.SIGKILL
        (job,) = recent(home)
        assert (job.state, job.who) == (State.RUNNING, "schedule")
    wait_for(lambda: not recent(home)[0].is_active, 60)
    assert recent(home)[0].state is State.DONE

    again = RunningConsole(tmp_path, DATABASE_URL=url)
    try:
        wait_for(lambda: recent_runs(home, "main")[0].state is RunState.DONE, 60)
        begin_due(home)
    finally:
        again.stop()
    assert len(recent_runs(home, "main")) == 1, "made up once"
    assert [job.state for job in recent(home)] == [State.DONE]
    assert len(Catalog(home.folder, "main").entries()) == 1

"""Jobs: work in a process of its own, which a page only watches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ops import Catalog, create_backup
from ops.errors import Refused
from ops.installation import Installation
from ops.jobs import State, cancel, create, get, recent, start, time_left
from ops.jobs.work import WORK
from ops.progress import SILENT
from ops.recovery import unsettled
from tests import processes
from tests.databases import SQLiteDatabase, filled_file
from tests.test_contract import Notes
from tests.waiting import ended, held_by_another, until, waiting_restore


@pytest.fixture
def live(tmp_path: Path) -> SQLiteDatabase:
    """A filled database that the jobs work on."""
    return filled_file(tmp_path)


@pytest.fixture
def archive(home: Installation, live: SQLiteDatabase) -> Path:
    """A backup of the database, which has drifted since."""
    made = create_backup(home.target("live"), home.folder)
    live.drift()
    return made.archive


def test_a_job_runs_in_a_process_and_leaves_its_result(home: Installation) -> None:
    job_id = start(home, "backup", "live", "somebody", {"label": "by a job"})
    assert processes.of_job(job_id).pid != os.getpid()
    job = ended(home, job_id)
    assert (job.state, job.share, job.who, job.error) == (State.DONE, 1, "somebody", None)
    assert job.started is not None
    assert job.ended is not None
    assert job.created <= job.started <= job.ended
    assert job.result is not None
    (entry,) = Catalog(home.folder, "live").entries()
    assert (job.result["archive"], entry.label) == (str(entry.path), "by a job")


def test_a_backup_is_kept_whatever_comes_of_its_test(home: Installation) -> None:
    params = {"prove": "full", "checksums": True}
    tried = WORK["backup"](home, "live", params, SILENT)
    assert (tried["proof"]["ok"], tried["notes"]) == (True, [])
    stopped = WORK["backup"](home, "live", params, Notes("Comparing with what was saved"))
    assert stopped["proof"] is None
    assert stopped["notes"] == ["The backup was made and is kept; its test restore was stopped."]
    names = {entry.name: entry.tested for entry in Catalog(home.folder, "live").entries()}
    assert names.pop(Path(tried["archive"]).name) is not None
    assert names == {Path(stopped["archive"]).name: None}


def test_progress_is_seen_while_it_runs(
    home: Installation, live: SQLiteDatabase, archive: Path
) -> None:
    with held_by_another(live):
        job_id = waiting_restore(home, archive)
        running = get(home, job_id)
        assert running.state is State.RUNNING
        assert 0.5 < running.share < 1
        with pytest.raises(Refused, match="already running"):
            create(home, "backup", "live", "somebody else", {})
    job = ended(home, job_id)
    assert job.state is State.DONE
    assert job.result is not None
    assert job.result["undo"]["id"]


def test_a_restore_and_its_undo_as_jobs(
    home: Installation, live: SQLiteDatabase, archive: Path
) -> None:
    drifted = live.fingerprint()
    job_id = start(home, "restore", "live", "somebody", {"archive": str(archive)})
    assert ended(home, job_id).state is State.DONE
    assert live.fingerprint() != drifted
    assert ended(home, start(home, "undo", "live", "somebody", {})).state is State.DONE
    assert live.fingerprint() == drifted


def test_a_killed_job_is_interrupted_and_the_next_one_runs(
    home: Installation, live: SQLiteDatabase, archive: Path
) -> None:
    drifted = live.fingerprint()
    with held_by_another(live):
        job_id = waiting_restore(home, archive)
        processes.of_job(job_id).kill()
        job = ended(home, job_id)
    assert job.state is State.INTERRUPTED
    assert job.error is not None
    assert "interrupted" in job.error["error"]
    assert live.fingerprint() == drifted
    assert unsettled(home.target("live"), home.folder)
    job_id = start(home, "restore", "live", "somebody", {"archive": str(archive)})
    assert ended(home, job_id).state is State.DONE
    assert not unsettled(home.target("live"), home.folder)


@pytest.mark.parametrize("way", ["the page", "a signal"])
def test_a_cancelled_job_changes_nothing(
    home: Installation, live: SQLiteDatabase, archive: Path, way: str
) -> None:
    drifted = live.fingerprint()
    with held_by_another(live):
        job_id = waiting_restore(home, archive)
        if way == "the page":
            cancel(home, job_id)
        else:
            processes.of_job(job_id).send_signal(signal.SIGTERM)
        job = ended(home, job_id)
    assert job.state is State.CANCELLED
    assert job.error is not None
    assert "Nothing was changed." in job.error["error"]
    assert live.fingerprint() == drifted
    assert not unsettled(home.target("live"), home.folder)


def test_a_test_restore_as_a_job(home: Installation, live: SQLiteDatabase, archive: Path) -> None:
    drifted = live.fingerprint()
    job = ended(home, start(home, "test", "live", "somebody", {"archive": str(archive)}))
    assert job.state is State.DONE
    assert job.result is not None
    assert job.result["ok"]
    assert live.fingerprint() == drifted


def test_a_job_that_fails_says_why(home: Installation, tmp_path: Path) -> None:
    params = {"archive": str(tmp_path / "no such.zip")}
    job = ended(home, start(home, "restore", "live", "somebody", params))
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["error"].startswith("The backup file cannot be read")
    assert job.error["hint"]


_START_AND_DIE = """
import os, signal, sys
from ops.installation import Installation
from ops.jobs import start
print(start(Installation.open(), "restore", "live", "somebody", {"archive": sys.argv[1]}))
sys.stdout.flush()
os.killpg(0, signal.SIGKILL)
"""


def test_a_job_outlives_who_started_it(
    home: Installation, live: SQLiteDatabase, archive: Path
) -> None:
    with held_by_another(live):
        command = [sys.executable, "-c", _START_AND_DIE, str(archive)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True, check=False
        )
        assert done.returncode == -signal.SIGKILL
        job_id = done.stdout.strip()
        job = until(home, job_id, lambda job: job.note.startswith("Waiting"))
        assert job.state is State.RUNNING
    assert ended(home, job_id).state is State.DONE


_START_AT = """
import sys, time
from ops.errors import Refused
from ops.installation import Installation
from ops.jobs import start
home = Installation.open()
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    start(home, "restore", "live", "somebody", {"archive": sys.argv[1]})
except Refused:
    print("refused")
else:
    print("begun")
"""


def test_of_restores_that_begin_in_the_same_instant_one_is_done(
    home: Installation, live: SQLiteDatabase, archive: Path
) -> None:
    at = str(time.time() + 4)
    command = [sys.executable, "-c", _START_AT, str(archive), at]
    with held_by_another(live):
        racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        told = sorted(racer.communicate(timeout=60)[0].strip() for racer in racers)
        assert told == ["begun", "refused", "refused", "refused"]
        (job,) = recent(home)
        assert job.is_active
    assert ended(home, job.id).state is State.DONE


def test_the_time_that_is_left_follows_from_the_row(home: Installation) -> None:
    job = get(home, create(home, "backup", "live", "somebody", {}))
    assert job.seconds_left() is None
    running = replace(job, state=State.RUNNING, started=1000.0, done=0.25, total=1)
    assert running.seconds_left(now=1002) is None
    assert running.seconds_left(now=1060) == 180
    assert time_left(running, now=1060) == "about 3 minutes left"
    assert replace(running, done=0.01).seconds_left(now=1060) is None

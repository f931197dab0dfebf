"""Who did what: the lines that actions leave, and that nobody can change them."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.exc import DBAPIError

from ops import Catalog, create_backup, jobs
from ops.activity import (
    Entry,
    Filter,
    Outcome,
    all_entries,
    choices,
    count,
    entries,
    expire,
    record,
)
from ops.activity.export import csv_lines
from ops.activity.words import sentence
from ops.datafolder import DataFolder
from ops.errors import OpsError
from ops.installation import Installation
from ops.notify import deliver, standing_of
from ops.notify.alarms import work_failed
from ops.samples import SESSIONS, TABLE_SIZE, changes_of, note, samples_of, thin
from ops.settings import Settings
from ops.store import activity as table
from ops.store import jobs as jobs_table
from ops.store import open_shared_store
from tests.databases import SQLiteDatabase, filled_file
from tests.services.console import PASSWORD, TARGET, RunningConsole

DAY = 86_400


@pytest.fixture
def live(tmp_path: Path) -> SQLiteDatabase:
    """A filled database."""
    return filled_file(tmp_path)


def _add(home: Installation, *, age_days: float = 0, **told: str) -> None:
    line = {"who": "ann", "origin": "::1", "what": "backup", "target": "live"} | told
    rest = {"archive": "", "outcome": "done", "detail": "", "at": time.time() - age_days * DAY}
    with home.store.begin() as store:
        store.execute(insert(table).values(rest | line))


def _when(moment: datetime) -> str:
    return f"{moment:%d %b %H:%M}"


# --- The memory -----------------------------------------------------------------------------


def test_a_line_is_said_in_plain_words(home: Installation) -> None:
    archive = "shop-20260503-140500.zip"
    record(home, who="ann", where="::1", what="restore", target="shop", archive=archive)
    (line,) = entries(home)
    assert sentence(line, _when) == "restored the backup of 03 May 14:05 to shop"
    record(home, who="ann", where="::1", what="test", target="shop", outcome=Outcome.FAILED)
    assert sentence(entries(home)[0], _when) == "tried to test a backup of shop, which failed"
    record(home, who="ann", where="::1", what="something-new", target="shop")
    assert sentence(entries(home)[0], _when) == "something new of shop"
    odd = "shop-20261399-999999.zip"
    record(home, who="ann", where="::1", what="delete-backup", target="shop", archive=odd)
    assert sentence(entries(home)[0], _when) == f"deleted the file {odd} of shop"


@pytest.mark.parametrize("change", ["DELETE FROM activity", "UPDATE activity SET who = 'nobody'"])
def test_a_line_cannot_be_changed_or_taken_away(home: Installation, change: str) -> None:
    _add(home)
    with (
        closing(sqlite3.connect(home.folder.store_path)) as other,
        pytest.raises(sqlite3.IntegrityError, match="only added to"),
    ):
        other.execute(change)
    assert count(home, Filter()) == 1


def test_lines_go_when_they_are_old_enough(home: Installation) -> None:
    for age in (0, 31, 399, 401, 2000):
        _add(home, age_days=age, detail=str(age))
    expire(home)
    assert [line.detail for line in entries(home)] == ["399", "31", "0"]


def test_lines_are_filtered_searched_and_read_in_pages(home: Installation) -> None:
    _add(home, age_days=3, who="ann", what="backup", detail="before the 100% sale")
    _add(home, age_days=2, who="bob", what="restore", target="shop", outcome="failed")
    _add(home, age_days=1, who="bob", what="sign-in", target="")
    wanted = {
        Filter(who="bob"): ["sign-in", "restore"],
        Filter(target="shop", outcome="failed"): ["restore"],
        Filter(since=time.time() - 1.5 * DAY): ["sign-in"],
        Filter(until=time.time() - 2.5 * DAY): ["backup"],
        Filter(text="100% SALE"): ["backup"],
        Filter(text="100_ sale"): [],
        Filter(text="bob restored"): ["restore"],
        Filter(text="signed in"): ["sign-in"],
        Filter(text="signed in " * 2000): ["sign-in"],
    }
    for asked, kinds in wanted.items():
        assert [line.what for line in entries(home, asked)] == kinds, asked
        assert count(home, asked) == len(kinds)
    first, *_ = entries(home, limit=1)
    assert [line.what for line in entries(home, before=first.id)] == ["restore", "backup"]
    assert len(list(all_entries(home, Filter(), batch=2))) == 3
    assert choices(home) == {
        "who": ["ann", "bob"],
        "what": ["backup", "restore", "sign-in"],
        "target": ["live", "shop"],
    }


def test_no_secret_and_no_command_for_a_terminal_is_kept(home: Installation) -> None:
    told = "postgresql://shop:hunter2@db/shop \x1b[31mred"
    record(home, who="a\nb", where="x" * 100, what="setting", detail=told)
    (line,) = entries(home)
    assert line.detail == "postgresql://shop:***@db/shop  [31mred"
    assert (line.who, len(line.where)) == ("a b", 60)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", " =1+1"])
def test_a_spreadsheet_takes_no_cell_for_a_formula(cell: str) -> None:
    line = Entry(1, 0.0, cell, "::1", "backup", "shop", "", Outcome.DONE, "a,b", None)
    head, row = csv.reader(io.StringIO("".join(csv_lines([line]))))
    found = dict(zip(head, row, strict=True))
    assert (found["who"], found["detail"], found["job"]) == (f"'{cell}", "a,b", "")
    assert found["at"] == "1970-01-01T00:00:00+00:00"


# --- Jobs -----------------------------------------------------------------------------------


def test_every_job_leaves_one_line(home: Installation, tmp_path: Path) -> None:
    asked = {"asked_from": "192.0.2.7", "label": "by hand"}
    made = jobs.create(home, "backup", "live", "ann", asked)
    jobs.execute(home, made)
    failed = jobs.create(home, "restore", "live", "schedule", {"archive": str(tmp_path / "no.zip")})
    with pytest.raises(OpsError):
        jobs.execute(home, failed)
    second, first = entries(home)
    (kept,) = Catalog(home.folder, "live").entries()
    assert (first.who, first.where, first.what) == ("ann", "192.0.2.7", "backup")
    assert (first.archive, first.outcome, first.job) == (kept.name, Outcome.DONE, made)
    assert first.detail == "by hand"
    assert (second.who, second.where, second.archive) == ("schedule", "schedule", "no.zip")
    assert (second.outcome, second.job) == (Outcome.FAILED, failed)
    assert second.detail.startswith("The backup file cannot be read")


def test_an_interrupted_job_leaves_one_line_however_often_it_is_seen(home: Installation) -> None:
    job_id = jobs.create(home, "backup", "live", "ann", {})
    running = update(jobs_table).values(state="running", started=time.time())
    with home.store.begin() as store:
        store.execute(running)
    for _ in range(3):
        assert jobs.recent(home)[0].state is jobs.State.INTERRUPTED
    (line,) = entries(home)
    assert (line.outcome, line.job) == (Outcome.INTERRUPTED, job_id)


def test_a_test_that_finds_a_backup_bad_has_failed(
    home: Installation, live: SQLiteDatabase
) -> None:
    archive = create_backup(home.target("live"), home.folder).archive
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    job_id = jobs.create(home, "test", "live", "ann", {"archive": str(archive)})
    assert not jobs.execute(home, job_id)["ok"]
    (line,) = entries(home)
    assert (line.outcome, line.archive) == (Outcome.FAILED, archive.name)
    assert line.detail


# --- Web and command line -------------------------------------------------------------------


def _told(server: RunningConsole) -> list[dict[str, str]]:
    """The lines, oldest first, as the command line tells them."""
    program = Path(sys.executable).with_name("ops-console")
    where = {"OPS_DATA_DIR": str(server.data.root), "PATH": os.environ["PATH"]}
    command = [program, "activity", "--json"]
    done = subprocess.run(
        command, cwd=server.folder, env=where, capture_output=True, text=True, check=True
    )
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found[::-1]


def test_what_people_do_by_the_web_is_told(tmp_path: Path) -> None:
    server = RunningConsole(tmp_path, OPS_ADMIN_PASSWORD=PASSWORD)
    archive = server.data.backups(TARGET) / "shop-20260503-140500.zip"
    archive.write_bytes(b"x" * 100)
    with server.stranger() as client:
        address = {"X-Forwarded-For": "192.0.2.9"}  # the proxy 127.0.0.1 is trusted
        client.post("/login", data={"password": "wrong"}, headers=address)
        client.post("/login", data={"password": PASSWORD}, headers=address)
        client.get("/login?token=unknown")
        path = f"/api/backups/{TARGET}/{archive.name}"
        assert client.get(path).status_code == 200
        for start in (10, 20):
            assert client.get(path, headers={"Range": f"bytes={start}-"}).status_code == 206
        assert client.head(path).status_code == 200
        exported = client.get("/api/activity.csv", params={"outcome": "failed"})
        client.post("/logout", headers={"Origin": server.address})
    assert exported.headers["content-disposition"].startswith('attachment; filename="activity-')
    assert [row[3:5] for row in csv.reader(io.StringIO(exported.text))][1:] == [
        ["192.0.2.9", "sign-in"]
    ]
    with server.signed_in("bob") as client:
        name = {"Upload-Metadata": "filename c2hvcC56aXA="}
        place = client.post("/api/uploads", headers={"Upload-Length": "3", **name})
        piece = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        client.patch(place.headers["location"], content=b"abc", headers=piece)
        client.delete(place.headers["location"])
    lines = _told(server)
    assert [(line["what"], line["who"], line["outcome"]) for line in lines] == [
        ("password", "console", "done"),
        ("sign-in", "a stranger", "failed"),
        ("sign-in", "admin", "done"),
        ("download", "admin", "done"),
        ("export", "admin", "done"),
        ("sign-out", "admin", "done"),
        ("upload", "bob", "done"),
        ("delete-upload", "bob", "done"),
    ]
    assert [line["where"] for line in lines[:4]] == [
        "OPS_ADMIN_PASSWORD",
        "192.0.2.9",
        "192.0.2.9",
        "127.0.0.1",
    ]
    assert lines[3]["archive"] == archive.name
    assert lines[6]["detail"] == "shop.zip, 3 bytes"
    assert all(datetime.fromisoformat(line["at"]).tzinfo is UTC for line in lines)
    server.stop()
    assert PASSWORD not in json.dumps(lines)


def test_guessing_does_not_fill_the_activity(tmp_path: Path) -> None:
    server = RunningConsole(tmp_path, OPS_ADMIN_PASSWORD=PASSWORD)
    with server.stranger() as client:
        for number in range(50):
            assert client.get(f"/login?token={number}").status_code == 403
    failed = [line for line in _told(server) if line["outcome"] == "failed"]
    assert 20 <= len(failed) <= 40  # 20 a minute, and a minute may have ended meanwhile
    server.stop()


# --- A memory that several consoles share ---------------------------------------------------


def test_a_shared_memory_keeps_to_the_same_rules(store_url: str, folder: DataFolder) -> None:
    store = open_shared_store(store_url)
    open_shared_store(store_url).dispose()
    settings = Settings.model_validate({"OPS_NOTIFY": "json://127.0.0.1:1"})
    home = Installation(settings, folder, store, ())
    try:
        for job in ("1", "1", "2"):
            record(home, who="ann", where="::1", what="restore", target="shop", job=job)
        _add(home, age_days=401)
        assert [line.job for line in entries(home, Filter(text="ANN restored"))] == ["2", "1"]
        for change in ("DELETE FROM activity", "UPDATE activity SET who = 'nobody'"):
            with pytest.raises(DBAPIError, match="only added to"), store.begin() as connection:
                connection.execute(text(change))
        expire(home)
        assert count(home, Filter()) == 2
        now = time.time() // DAY * DAY
        for hour in range(24 * 40):
            figures = {TABLE_SIZE + "t": 1000.0 - hour, SESSIONS: hour % 5}
            note(store, "shop", figures, now - hour * 3600)
        thin(store, now)
        assert 700 < len(samples_of(store, "shop", SESSIONS)) < 740
        assert changes_of(store, "shop", TABLE_SIZE, now - 10 * 3600) == {"t": (990.0, 1000.0)}
        work_failed(home, "shop", "backup", "no room")
        work_failed(home, "shop", "backup", "no room")
        deliver(home)
        assert "no. 1" in standing_of(home).problem
    finally:
        store.dispose()

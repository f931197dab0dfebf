"""The command line, as scripts and people meet it: a process with an environment of its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.archives import forged, of_version_1
from tests.databases import PASSWORD, LiveDatabase, PostgreSQLDatabase, SQLiteDatabase, filled_file
from tests.services.ports import free_port
from tests.services.postgres import RealPostgres

PROGRAM = Path(sys.executable).with_name("ops-console")
DONE, NOT_DONE, WRONG_USAGE = 0, 1, 2


class Shell:
    """Runs the command in an empty folder, with nothing of the tests' own environment."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.env = {"OPS_DATA_DIR": str(folder / "data"), "DATABASE_URL": url}
        self.said = ""

    def start(self, *arguments: str, **pipes: Any) -> subprocess.Popen[str]:
        """The command under way; its input, output and errors are pipes."""
        pipes = {name: pipes.get(name, subprocess.PIPE) for name in ("stdin", "stdout", "stderr")}
        return subprocess.Popen(
            [PROGRAM, *arguments], cwd=self.folder, env=self.env, text=True, **pipes
        )

    def run(self, *arguments: str, status: int = DONE) -> str:
        """What the command prints; errors of a command that succeeds are a fault."""
        process = self.start(*arguments)
        output, errors = process.communicate("", timeout=60)
        self.said += output + errors
        assert process.returncode == status, output + errors
        assert "Traceback" not in errors
        assert status != DONE or errors == ""
        return output if status == DONE else output + errors

    def json(self, *arguments: str, status: int = DONE) -> Any:
        """The one document that the command prints."""
        process = self.start(*arguments, "--json")
        output, errors = process.communicate("", timeout=60)
        self.said += output + errors
        assert process.returncode == status, output + errors
        assert errors == ""
        return json.loads(output)


@pytest.fixture
def live(tmp_path: Path) -> SQLiteDatabase:
    """A filled SQLite database."""
    return filled_file(tmp_path)


@pytest.fixture
def shell(tmp_path: Path, live: SQLiteDatabase) -> Shell:
    """A shell whose console looks after that database."""
    return Shell(tmp_path, live.url)


@pytest.fixture
def postgresql(pg16: RealPostgres) -> Iterator[PostgreSQLDatabase]:
    """A filled database on a server."""
    database = PostgreSQLDatabase(pg16)
    database.fill()
    yield database
    database.close()


def _goes_round(shell: Shell, live: LiveDatabase) -> None:
    """Every command with --json: documents, keys, exit status."""
    saved = live.fingerprint()
    made = shell.json("backup", "--label", "by a script")
    assert set(made) == {"archive", "size", "sha256", "db_backend", "tables"}
    assert made["size"] == Path(made["archive"]).stat().st_size
    assert made["db_backend"] == live.backend
    (listed,) = shell.json("list")
    assert {"archive", "created_at", "db_backend", "size", "label"} <= set(listed)
    assert (listed["archive"], listed["sha256"]) == (made["archive"], made["sha256"])
    assert listed["label"] == "by a script"
    verified = shell.json("verify", made["archive"])
    assert (verified["archive"], verified["ok"]) == (made["archive"], True)
    tested = shell.json("verify", made["archive"], "--full")
    assert {"archive", "ok", "comparison", "seconds"} <= set(tested)
    assert (tested["ok"], tested["tables"]) == (True, len(made["tables"]))
    live.drift()
    drifted = live.fingerprint()
    restored = shell.json("restore", made["archive"], "--yes")
    assert {"target", "restored_from", "undo", "tables", "notes"} <= set(restored)
    assert restored["tables"] == made["tables"]
    assert live.fingerprint() == saved
    undone = shell.json("undo", "--yes")
    assert undone["restored_from"] == restored["undo"]["id"]
    assert live.fingerprint() == drifted


def test_sqlite_from_backup_to_undo(shell: Shell, live: SQLiteDatabase) -> None:
    _goes_round(shell, live)


def test_postgresql_from_backup_to_undo(
    postgresql: PostgreSQLDatabase, pg16: RealPostgres, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, postgresql.url)
    _goes_round(shell, postgresql)
    shell.run("health", status=_status_of_health(shell))
    shell.env["DATABASE_URL"] = postgresql.url.replace(str(pg16.port), str(free_port()))
    assert "does not answer" in shell.run("backup", status=NOT_DONE)
    assert PASSWORD not in shell.said
    assert "p%40ss" not in shell.said


def _status_of_health(shell: Shell) -> int:
    """The exit status that belongs to what the report says."""
    process = shell.start("health", "--json")
    output, errors = process.communicate("", timeout=60)
    shell.said += output + errors
    report = json.loads(output)
    expected = {"healthy": 0, "degraded": 1, "unhealthy": 2, "unknown": 3}[report["status"]]
    assert process.returncode == expected
    assert {"status", "backend", "details"} <= set(report["reports"][0])
    return expected


def test_plain_words(shell: Shell) -> None:
    assert shell.run("list") == "No backups yet.\n"
    path = shell.run("backup", "--label", "ü label").strip()
    assert Path(path).is_file()
    name = Path(path).name
    assert name in shell.run("list")
    assert "ü label" in shell.run("list")
    assert shell.run("verify", name) == "Whole.\n"
    assert shell.run("restore", name, "--yes").startswith("Restored.\n")
    assert shell.run("undo", "--yes").startswith("Undone.")
    for arguments in ((), ("backup",), ("restore",), ("health",), ("serve",)):
        assert "Usage:" in shell.run(*arguments, "--help")
    assert shell.run("--version").startswith("ops-console, version ")


def test_a_backup_is_tried_as_it_was_asked_for(shell: Shell) -> None:
    made = shell.json("backup", "--prove", "full", "--checksums")
    assert made["notes"] == []
    assert made["proof"]["ok"]
    assert {table["content"] for table in made["proof"]["comparison"]} == {True}
    shell.env["OPS_PROVE_BACKUPS"] = "none"
    shell.run("backup")
    tried = {entry["archive"]: entry["tested"] or entry["checked"] for entry in shell.json("list")}
    assert sorted(bool(proof) for proof in tried.values()) == [False, True]
    assert "every value" in shell.run("verify", made["archive"], "--full")
    shell.run("backup", "--prove", "sometimes", status=WRONG_USAGE)


def test_a_backup_that_cannot_be_brought_back_is_told_table_by_table(shell: Shell) -> None:
    made = Path(shell.json("backup")["archive"])
    lying = forged(made, made.with_name("lying.zip"), lambda m: m["tables"][0].update(rows=7777))
    assert shell.run("verify", lying.name) == "Whole.\n"
    refused = shell.json("verify", lying.name, "--full", status=NOT_DONE)
    assert set(refused) == {"error", "hint"}
    told = shell.json("verify", lying.name, "--full", "--trust-foreign", status=NOT_DONE)
    (wrong,) = [table for table in told["comparison"] if not table["exact"]]
    assert (told["ok"], wrong["promised"]) == (False, 7777)
    assert "promised 7777" in shell.run(
        "verify", lying.name, "--full", "--trust-foreign", status=NOT_DONE
    )


def test_what_a_restore_would_change_is_told_and_shown_beside(
    shell: Shell, live: SQLiteDatabase
) -> None:
    name = Path(shell.run("backup").strip()).name
    assert shell.run("compare", name) == "No row and no column of any table would change.\n"
    live.run("DELETE FROM orders WHERE id <= 3; INSERT INTO left_hand VALUES (1)")
    live.run("DROP TABLE nothing_here")
    before = live.fingerprint()
    told = shell.run("compare", name).splitlines()
    assert "orders: 3 rows come back" in told
    assert "left_hand: 1 rows go" in told
    assert "nothing_here: the table comes back" in told
    assert told[-1].startswith("3 of ")
    found = shell.json("compare", name)
    assert {"archive", "compared_at", "tables"} <= set(found)
    made = shell.json("restore", name, "--beside")
    assert Path(made["address"].removeprefix("sqlite:///")).is_file()
    assert live.fingerprint() == before


def test_the_health_of_a_redis_counts(shell: Shell) -> None:
    alone = _status_of_health(shell)
    assert shell.run("health", status=alone).count("sqlite:") == 1
    shell.env["REDIS_URL"] = f"redis://:hush@127.0.0.1:{free_port()}/0"
    assert _status_of_health(shell) > 0
    assert "hush" not in shell.said


def test_without_yes_nothing_is_replaced_in_a_pipe(shell: Shell, live: SQLiteDatabase) -> None:
    archive = shell.json("backup")["archive"]
    live.drift()
    drifted = live.fingerprint()
    for arguments in (("restore", archive), ("undo",)):
        refused = shell.json(*arguments, status=NOT_DONE)
        assert set(refused) == {"error", "hint"}
        assert "--yes" in refused["hint"]
        assert "--yes" in shell.run(*arguments, status=NOT_DONE)
    assert live.fingerprint() == drifted


def test_errors_are_documents_too(shell: Shell, live: SQLiteDatabase, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"no zip")
    assert not shell.json("verify", "x.zip", status=NOT_DONE)["ok"]
    assert "Not usable" in shell.run("verify", "x.zip", status=NOT_DONE)
    for arguments in (
        ("restore", "x.zip", "--yes"),
        ("restore", "no such.zip", "--yes"),
        ("undo", "--yes"),
        ("backup", "--target", "nobody"),
    ):
        assert set(shell.json(*arguments, status=NOT_DONE)) == {"error", "hint"}
    shell.run("restore", status=WRONG_USAGE)
    shell.run("backup", "--labl", "x", status=WRONG_USAGE)
    shell.run("explode", status=WRONG_USAGE)


def test_another_consoles_archive_needs_its_own_yes(
    shell: Shell, live: SQLiteDatabase, tmp_path: Path
) -> None:
    saved = live.fingerprint()
    old = of_version_1(Path(shell.json("backup")["archive"]), tmp_path / "old.zip")
    live.drift()
    assert (
        "not made by this console" in shell.json("restore", "old.zip", "--yes", status=1)["error"]
    )
    restored = shell.json("restore", str(old), "--yes", "--trust-foreign")
    assert restored["notes"]
    assert live.fingerprint() == saved


def test_each_target_has_its_own_backups(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = SQLiteDatabase(tmp_path / "other", "delete")
    other.fill()
    (tmp_path / "url").write_text(other.url + "\n")
    shell.env["OPS_TARGETS__OTHER_FILE"] = str(tmp_path / "url")
    made = shell.json("backup", "--target", "other")
    assert shell.json("list") == []
    assert [entry["archive"] for entry in shell.json("list", "--target", "other")] == [
        made["archive"]
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPS_DATADIR", "x"),
        ("OPS_PORT", "no"),
        ("OPS_DATA_DIR", "/dev/null/x"),
        ("DATABASE_URL", "mysql://u:hush@h/d"),
        ("OPS_ADMIN_PASSWORD_FILE", "/no/such/file"),
    ],
)
def test_what_is_set_wrongly_is_told_first(shell: Shell, name: str, value: str) -> None:
    shell.env[name] = value
    told = shell.run("list", status=NOT_DONE).strip().splitlines()
    assert len(told) <= 2
    assert set(shell.json("list", status=NOT_DONE)) == {"error", "hint"}
    assert "hush" not in shell.said


def test_ctrl_c_leaves_everything_as_it_was(shell: Shell, live: SQLiteDatabase) -> None:
    archive = shell.json("backup")["archive"]
    live.drift()
    drifted = live.fingerprint()
    other = sqlite3.connect(live.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    process = shell.start("restore", archive, "--yes", "--json")
    while '"swapping"' not in "".join(
        path.read_text() for path in (shell.folder / "data" / "restores").glob("*.json")
    ):
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    other.close()
    assert (process.returncode, errors) == (NOT_DONE, "")
    assert set(json.loads(output)) == {"error", "hint"}
    assert live.fingerprint() == drifted
    with closing(sqlite3.connect(shell.folder / "data" / "console.db")) as store:
        states = store.execute("SELECT state FROM jobs ORDER BY id").fetchall()
    assert states == [("done",), ("cancelled",)]
    assert shell.json("restore", archive, "--yes")["undo"]


def test_jobs_are_listed_and_cancelled(shell: Shell, live: SQLiteDatabase) -> None:
    assert shell.json("jobs") == []
    path = shell.run("backup").strip()
    before = live.fingerprint()
    (done,) = shell.json("jobs")
    assert (done["kind"], done["state"], done["share"]) == ("backup", "done", 1)
    assert "ended already" in shell.run("cancel", done["id"], status=NOT_DONE)
    with closing(sqlite3.connect(live.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        restoring = shell.start("restore", path, "--yes")
        while not (job := shell.json("jobs", "--limit", "1")[0])["note"].startswith("Waiting for"):
            assert restoring.poll() is None
        assert "already running" in shell.run("backup", status=NOT_DONE)
        assert "Waiting for another program" in shell.run("jobs")
        assert shell.run("cancel", job["id"]).startswith("Cancelled. ")
        _, errors = restoring.communicate(timeout=30)
        assert (restoring.returncode, "Nothing was changed" in errors) == (NOT_DONE, True)
    assert live.fingerprint() == before
    assert shell.json("jobs")[0]["state"] == "cancelled"
    assert "no such job" in shell.run("cancel", "nothing", status=NOT_DONE)


def test_a_person_at_a_terminal_types_the_name_and_sees_a_bar(
    shell: Shell, live: SQLiteDatabase
) -> None:
    archive = shell.json("backup")["archive"]
    for typed, status in (("wrong name", NOT_DONE), (live.name, DONE)):
        person, terminal = pty.openpty()
        process = shell.start("restore", archive, stdin=terminal, stderr=terminal)
        os.write(person, f"{typed}\n".encode())
        output, _ = process.communicate(timeout=60)
        os.close(terminal)
        shown = os.read(person, 65536).decode(errors="replace")
        os.close(person)
        assert process.returncode == status
        assert live.name in shown
        assert ("█" in shown) == (status == DONE)
        assert output.startswith("Restored.") == (status == DONE)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to be root")
def test_root_leaves_nothing_that_the_consoles_user_could_not_read(tmp_path: Path) -> None:
    shell = Shell(tmp_path, filled_file(tmp_path, rows=10).url)
    shell.run("backup")
    os.chown(tmp_path / "data", 10001, 10001)
    shell.run("backup", status=NOT_DONE)
    assert "sudo -u '#10001' ops-console" in shell.said
    assert len(list((tmp_path / "data" / "backups").rglob("*.zip"))) == 1

"""The health of SQLite databases: each bad state is made, seen, repaired, and gone."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool

from ops.checks.base import Finding, HealthReport, Level, Status
from ops.checks.history import History
from ops.checks.sqlite import CHECKS, open_context
from ops.checks.sqlite_place import mount_type
from ops.dialects.base import Replacement
from ops.health import get_health_report
from ops.health_deep import look_deep
from ops.target import Target
from tests.health_reports import alarms, assert_has_the_shape, finding

NOBODY = 65534


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sound little database."""
    path = tmp_path / "shop.db"
    run(path, "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)")
    return path


def run(path: Path, *statements: str) -> None:
    """Run statements, each on its own, without enforcing links."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def engine_of(path: Path) -> Engine:
    return create_engine(f"sqlite:///{path}", poolclass=NullPool)


def report_on(path: Path) -> HealthReport:
    return get_health_report(engine_of(path))


def level(path: Path, id: str) -> Level:
    return finding(report_on(path), id).level


def look(path: Path, id: str, *, deep: bool = False, **thresholds: Any) -> Finding:
    """One check by itself, with thresholds that little data can reach."""
    check = next(check for check in CHECKS if check.id == f"sqlite.{id}")
    with open_context(engine_of(path), deep=deep) as context:
        return replace(check, **thresholds).answer(context)


def fill(table: str, rows: int, columns: str, values: str) -> str:
    """One statement that adds many rows; `i` counts from 1."""
    count = f"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {rows})"
    return f"INSERT INTO {table} ({columns}) {count} SELECT {values} FROM c"


def test_a_sound_database_raises_no_alarm(file: Path) -> None:
    report = report_on(file)
    assert_has_the_shape(report, "sqlite")
    assert alarms(report) == []
    assert report.status is Status.HEALTHY
    assert report.headline == ("Everything we looked at is fine, but 1 thing was not looked at.")
    assert len(report.findings) == len(CHECKS)
    assert report.details["page_size"] == 4096


def test_an_empty_file_raises_no_alarm(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    assert alarms(report_on(path)) == []


def test_looking_changes_nothing(file: Path) -> None:
    before = file.read_bytes()
    report_on(file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["shop.db"]


def test_a_missing_file_is_a_report(tmp_path: Path) -> None:
    path = tmp_path / "gone.db"
    report = report_on(path)
    assert_has_the_shape(report, "sqlite")
    assert report.status is Status.UNHEALTHY
    assert [one.id for one in report.findings] == ["sqlite.opens"]
    assert "does not exist" in report.headline
    assert "setting that it comes from" in report.findings[0].fix
    assert not path.exists()


def test_a_file_of_another_kind_is_a_report(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_bytes(b"Dear reader, this is no database. " * 100)
    report = report_on(path)
    assert report.status is Status.UNHEALTHY
    assert "damaged" in report.headline
    assert "backup" in report.findings[0].fix


def test_a_database_in_memory_cannot_be_checked() -> None:
    report = get_health_report(create_engine("sqlite://"))
    assert_has_the_shape(report, "sqlite")
    assert report.status is Status.UNKNOWN
    assert "memory" in report.headline


def test_a_locked_database_is_not_called_ill(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        report = report_on(file)
        other.execute("ROLLBACK")
    assert report.status is Status.UNKNOWN
    assert "Another program is holding" in report.headline
    assert alarms(report_on(file)) == []


def test_damage_inside_is_found(file: Path, tmp_path: Path) -> None:
    run(file, fill("customers", 3000, "name", "'customer number ' || i"))
    sound = tmp_path / "sound.db"
    shutil.copy(file, sound)
    with file.open("r+b") as handle:
        handle.seek(4096 * 5)
        handle.write(b"\xff" * 4096 * 3)
    report = report_on(file)
    assert_has_the_shape(report, "sqlite")
    found = finding(report, "sqlite.structure")
    assert found.level is Level.NOW
    assert "damaged" in found.sentence
    assert report.status is Status.UNHEALTHY
    os.replace(sound, file)
    assert level(file, "sqlite.structure") is Level.GOOD


def test_a_large_file_is_not_read_and_not_called_sound(file: Path) -> None:
    os.truncate(file, 130 << 20)
    report = report_on(file)
    for id in ("structure", "integrity", "broken_links", "loose_pages"):
        found = finding(report, f"sqlite.{id}")
        assert found.level is Level.INFO
        assert not found.looked_at
        assert "Not looked at" in found.sentence
        assert "test restore" in found.fix
    assert "5 things were not looked at" in report.headline
    assert [entry["looked_at"] for entry in report.as_dict()["findings"]].count(False) == 5


def test_broken_links(file: Path) -> None:
    run(
        file,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers)",
        "INSERT INTO orders (customer) VALUES (7), (8)",
    )
    found = finding(report_on(file), "sqlite.broken_links")
    assert found.level is Level.SOON
    assert "2 records point to something that no longer exists" in found.sentence
    assert "orders" in found.sentence
    assert found.value == 2
    run(file, fill("orders", 200, "customer", "i + 1000"))
    assert level(file, "sqlite.broken_links") is Level.NOW
    run(file, "DELETE FROM orders")
    assert level(file, "sqlite.broken_links") is Level.GOOD


def test_links_that_cannot_be_followed_cannot_be_checked(file: Path) -> None:
    run(
        file,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, who TEXT REFERENCES customers (name))",
        "INSERT INTO orders (who) VALUES ('Ada')",
    )
    found = finding(report_on(file), "sqlite.broken_links")
    assert found.level is Level.UNKNOWN
    assert "mismatch" in found.technical
    report = report_on(file)
    assert report.status is Status.UNKNOWN
    assert "1 thing could not be checked" in report.headline


def test_empty_space(file: Path) -> None:
    run(
        file,
        "CREATE TABLE pictures (content BLOB)",
        fill("pictures", 60, "content", "zeroblob(1048576)"),
        "DELETE FROM pictures",
    )
    found = finding(report_on(file), "sqlite.empty_space")
    assert found.level is Level.SOON
    assert "60 MB of the file (100 %)" in found.sentence
    assert "VACUUM" in found.fix
    run(file, "VACUUM")
    assert level(file, "sqlite.empty_space") is Level.GOOD


def test_little_empty_space_stays_quiet(file: Path) -> None:
    run(file, fill("customers", 9000, "name", "'name'"), "DELETE FROM customers")
    assert level(file, "sqlite.empty_space") is Level.GOOD


def test_a_side_file_that_has_grown(file: Path) -> None:
    run(file, "PRAGMA journal_mode=WAL")
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM customers").fetchone()
        run(
            file,
            "CREATE TABLE pictures (content BLOB)",
            fill("pictures", 70, "content", "zeroblob(1048576)"),
        )
        found = finding(report_on(file), "sqlite.side_file")
        assert found.level is Level.SOON
        assert "has grown to 71 MB" in found.sentence
        reader.execute("ROLLBACK")
        run(file, "PRAGMA wal_checkpoint(TRUNCATE)")
        assert level(file, "sqlite.side_file") is Level.GOOD


@pytest.mark.parametrize("pragma", ["journal_mode=MEMORY", "journal_mode=OFF", "synchronous=OFF"])
def test_unsafe_saving_of_the_engines_connections(file: Path, pragma: str) -> None:
    engine = engine_of(file)
    assert finding(get_health_report(engine), "sqlite.journal").level is Level.GOOD

    @event.listens_for(engine, "connect")
    def _set(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA {pragma}")

    found = finding(get_health_report(engine), "sqlite.journal")
    assert found.level is Level.NOW
    assert "power cut" in found.sentence


def test_a_used_up_pool_is_not_waited_for(file: Path) -> None:
    engine = create_engine(f"sqlite:///{file}", pool_size=1, max_overflow=0)
    began = time.monotonic()
    with engine.connect():
        assert finding(get_health_report(engine), "sqlite.journal").level is Level.GOOD
    assert time.monotonic() - began < 5


def test_missing_notes_for_the_planner(file: Path) -> None:
    run(
        file,
        fill("customers", 10_001, "name", "'customer ' || i"),
        "CREATE INDEX by_name ON customers (name)",
    )
    found = finding(report_on(file), "sqlite.planner_notes")
    assert found.level is Level.SOON
    assert "customers" in found.sentence
    run(file, "ANALYZE")
    assert level(file, "sqlite.planner_notes") is Level.GOOD


def test_links_without_an_index(file: Path) -> None:
    run(
        file,
        'CREATE TABLE "my {orders}"'
        " (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers)",
        fill('"my {orders}"', 10_001, "customer", "NULL"),
    )
    found = finding(report_on(file), "sqlite.links_without_index")
    assert found.level is Level.SOON
    assert "Deleting from customers has to read all of my {orders}" in found.sentence
    command = found.fix.split("cured with: ")[1]
    run(file, command)
    assert level(file, "sqlite.links_without_index") is Level.GOOD


def test_a_table_without_row_numbers_is_no_obstacle(file: Path) -> None:
    run(
        file,
        "CREATE TABLE codes (code TEXT PRIMARY KEY, customer INTEGER REFERENCES customers)"
        " WITHOUT ROWID",
        "CREATE INDEX codes_by_something ON codes (code)",
    )
    assert alarms(report_on(file)) == []


def test_a_full_disk(file: Path) -> None:
    """A file with a hole is as large as we like and takes no room."""
    free = shutil.disk_usage(file.parent).free
    os.truncate(file, int(free * 1.5))
    found = finding(report_on(file), "sqlite.disk")
    assert found.level is Level.NOW
    os.truncate(file, int(free * 0.7))
    found = finding(report_on(file), "sqlite.disk")
    assert found.level is Level.SOON
    assert "The disk has only" in found.sentence
    os.truncate(file, 8192)
    assert level(file, "sqlite.disk") is Level.GOOD


def test_a_file_that_anyone_may_write(file: Path) -> None:
    file.chmod(0o666)
    found = finding(report_on(file), "sqlite.rights")
    assert found.level is Level.SOON
    assert "Anyone" in found.sentence
    file.chmod(0o600)
    assert level(file, "sqlite.rights") is Level.GOOD
    file.parent.chmod(0o777)
    assert level(file, "sqlite.rights") is Level.SOON
    file.parent.chmod(0o700)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="health-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_database_that_may_only_be_read(open_folder: Path) -> None:
    path = open_folder / "shop.db"
    run(path, "CREATE TABLE t (a)")
    path.chmod(0o444)
    found = finding(_report_without_privileges(path), "sqlite.rights")
    assert found.level in (Level.NOW, Level.SOON)
    assert "may read the database but not write its file" in found.sentence
    path.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    open_folder.chmod(0o555)
    found = finding(_report_without_privileges(path), "sqlite.rights")
    assert found.level is Level.NOW
    assert "may read the database but not write its folder" in found.sentence


def test_a_database_that_may_not_be_read(open_folder: Path) -> None:
    path = open_folder / "shop.db"
    run(path, "CREATE TABLE t (a)")
    path.chmod(0o000)
    report = _report_without_privileges(path)
    assert_has_the_shape(report, "sqlite")
    assert report.status is Status.UNHEALTHY
    assert "may not read the database file shop.db" in report.headline
    assert str(path) in report.findings[0].fix


def test_a_folder_that_may_not_be_entered(open_folder: Path) -> None:
    path = open_folder / "shop.db"
    run(path, "CREATE TABLE t (a)")
    open_folder.chmod(0o700)
    if os.geteuid() != 0:
        open_folder.chmod(0o600)
    report = _report_without_privileges(path)
    assert "may not look into the folder" in report.headline


def test_a_database_in_wal_mode_in_a_folder_that_may_not_be_written(open_folder: Path) -> None:
    path = open_folder / "shop.db"
    run(path, "PRAGMA journal_mode=WAL", "CREATE TABLE t (a)")
    path.chmod(0o666)
    open_folder.chmod(0o555)
    report = _report_without_privileges(path)
    assert "may not write into the folder" in report.headline


def _report_without_privileges(path: Path) -> HealthReport:
    """The report as an ordinary user sees it: root may do everything."""
    if os.geteuid() != 0:
        return report_on(path)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send_report_as_nobody, args=(path, sender))
    child.start()
    sender.close()
    try:
        report: HealthReport = receiver.recv()
    finally:
        child.join()
    return report


def _send_report_as_nobody(path: Path, sender: object) -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    sender.send(report_on(path))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["Dropbox", "OneDrive - Work", "Google Drive"])
def test_a_synchronised_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    path = folder / "shop.db"
    run(path, "CREATE TABLE t (a)")
    found = finding(report_on(path), "sqlite.folder")
    assert found.level is Level.SOON
    assert name in found.sentence
    moved = tmp_path / "shop.db"
    path.rename(moved)
    assert level(moved, "sqlite.folder") is Level.GOOD


def test_a_shared_folder_is_known_by_its_mount() -> None:
    mounts = (
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:5 / /srv rw - nfs4 host:/srv rw\n"
        "3 2 8:2 / /srv/local rw shared:7 - xfs /dev/sdb rw\n"
    )
    assert mount_type(Path("/srv/shop.db"), mounts) == "nfs4"
    assert mount_type(Path("/srv/local/shop.db"), mounts) == "xfs"
    assert mount_type(Path("/srvice/shop.db"), mounts) == "local"


def test_an_index_that_does_not_agree_with_its_table(file: Path) -> None:
    run(
        file,
        fill("customers", 50, "name", "'customer ' || i"),
        "CREATE INDEX by_name ON customers (name) WHERE id > 10",
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX by_name ON customers (name)'"
        " WHERE name = 'by_name'",
    )
    found = finding(report_on(file), "sqlite.integrity")
    assert found.level is Level.NOW
    assert "the index by_name does not agree" in found.sentence
    assert (found.remedy, found.subjects) == (("sqlite.reindex",), ("by_name",))
    run(file, "REINDEX by_name")
    assert level(file, "sqlite.integrity") is Level.GOOD


def test_damage_is_found_by_the_deep_look_in_a_large_file(file: Path) -> None:
    run(
        file,
        fill("customers", 3000, "name", "'customer number ' || i"),
        "CREATE TABLE pictures (content BLOB)",
        fill("pictures", 17, "content", "zeroblob(1048576)"),
    )
    sound = file.read_bytes()
    with file.open("r+b") as handle:
        handle.seek(4096 * 5)
        handle.write(b"\xff" * 4096 * 3)
    assert not finding(report_on(file), "sqlite.integrity").looked_at
    deep = {one.id: one for one in look_deep(Target.parse("shop", f"sqlite:///{file}"))}
    assert deep["sqlite.integrity"].level is Level.NOW
    assert "The deep look found damage" in deep["sqlite.integrity"].sentence
    assert deep["sqlite.integrity"].remedy == ()
    assert deep["sqlite.structure"].level is Level.NOW
    history = History(results={one.id: replace(one, checked_at=5.0) for one in deep.values()})
    report = get_health_report(engine_of(file), history=history)
    assert finding(report, "sqlite.integrity").checked_at == 5.0
    assert report.status is Status.UNHEALTHY
    file.write_bytes(sound)
    deep = {one.id: one for one in look_deep(Target.parse("shop", f"sqlite:///{file}"))}
    assert deep["sqlite.integrity"].level is Level.GOOD


def test_gaps_inside_a_table(file: Path) -> None:
    run(
        file,
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)",
        fill("notes", 3000, "text", "printf('%.*c', 400, 'x')"),
        "UPDATE notes SET text = '' WHERE id % 5",
    )
    assert level(file, "sqlite.loose_pages") is Level.GOOD
    found = look(file, "loose_pages", quiet_below=100_000)
    assert found.level is Level.SOON
    assert "notes is loosely packed" in found.sentence
    assert found.remedy == ("sqlite.vacuum",)
    run(file, "VACUUM")
    assert look(file, "loose_pages", quiet_below=100_000).level is Level.GOOD


def test_a_search_that_does_not_agree_with_the_texts(file: Path) -> None:
    run(
        file,
        "CREATE VIRTUAL TABLE words USING fts5(text)",
        "INSERT INTO words (text) VALUES ('good morning')",
        "UPDATE words_content SET c0 = 'good evening'",
    )
    target = Target.parse("shop", f"sqlite:///{file}")
    assert not finding(report_on(file), "sqlite.search").looked_at

    def of_the_copy() -> Finding:
        copy = Path(shutil.copy(file, file.with_name("copy.db")))
        found = look_deep(target, staged=Replacement(str(copy)))
        assert "sqlite.locked" not in {one.id for one in found}
        return next(one for one in found if one.id == "sqlite.search")

    assert of_the_copy().level is Level.SOON
    assert of_the_copy().subjects == ("words",)
    run(file, "INSERT INTO words (words) VALUES ('rebuild')")
    assert of_the_copy().level is Level.GOOD


def test_nobody_can_save(file: Path) -> None:
    assert look(file, "locked", deep=True).level is Level.GOOD
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        found = look(file, "locked", deep=True, quiet_below=0.01)
        other.execute("ROLLBACK")
    assert found.level is Level.NOW
    assert "3 of 3 tries to save had to give up" in found.sentence
    assert not look(file, "locked").looked_at


def test_a_change_that_was_cut_off(file: Path) -> None:
    run(file, fill("customers", 20_000, "name", "'customer number ' || i"))
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA cache_size=5'); c.execute('BEGIN');"
        "c.execute('UPDATE customers SET name = name || 1'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, file], check=False)
    report = report_on(file)
    assert_has_the_shape(report, "sqlite")
    assert [one.id for one in report.findings] == ["sqlite.left_over"]
    assert report.status is Status.DEGRADED
    assert "stopped in the middle of a change" in report.headline
    assert report.findings[0].remedy == ("sqlite.open_once",)
    run(file, "SELECT count(*) FROM customers")
    assert level(file, "sqlite.left_over") is Level.GOOD


def test_notes_for_the_planner_that_are_out_of_date(file: Path) -> None:
    run(
        file,
        "CREATE INDEX by_name ON customers (name)",
        fill("customers", 100, "name", "'customer ' || i"),
        "ANALYZE",
        fill("customers", 10_001, "name", "'customer ' || i"),
    )
    found = finding(report_on(file), "sqlite.planner_notes")
    assert found.level is Level.SOON
    assert "out of date" in found.sentence
    assert found.remedy == ("sqlite.optimize",)
    run(file, "ANALYZE")
    assert level(file, "sqlite.planner_notes") is Level.GOOD


def test_indexes_that_do_the_same_work(file: Path) -> None:
    run(
        file,
        fill("customers", 10_001, "name", "'customer ' || i"),
        "CREATE UNIQUE INDEX by_name ON customers (name)",
        "CREATE INDEX again ON customers (name)",
        "CREATE INDEX other_way ON customers (name DESC)",
        "CREATE INDEX some ON customers (name) WHERE id > 5",
        "ANALYZE",
    )
    found = finding(report_on(file), "sqlite.duplicate_indexes")
    assert found.level is Level.SOON
    assert "again does the same work as another index of customers" in found.sentence
    run(file, found.fix.split("cured with: ")[1])
    assert level(file, "sqlite.duplicate_indexes") is Level.GOOD


def test_tables_without_a_key(file: Path) -> None:
    run(file, "CREATE VIRTUAL TABLE words USING fts5(text)")
    assert level(file, "sqlite.without_key") is Level.GOOD
    run(file, "CREATE TABLE remarks (text TEXT)")
    found = finding(report_on(file), "sqlite.without_key")
    assert found.level is Level.INFO
    assert "remarks has no key of its own" in found.sentence
    run(file, "DROP TABLE remarks")
    assert level(file, "sqlite.without_key") is Level.GOOD


def test_a_file_near_its_largest_size(file: Path) -> None:
    assert look(file, "size_limit").level is Level.GOOD
    found = look(file, "size_limit", warning=1e-9)
    assert found.level is Level.SOON
    assert "of the size it can ever have" in found.sentence


def test_space_that_is_not_given_back(file: Path) -> None:
    run(
        file,
        "CREATE TABLE pictures (content BLOB)",
        fill("pictures", 60, "content", "zeroblob(1048576)"),
        "DELETE FROM pictures",
    )
    found = finding(report_on(file), "sqlite.auto_vacuum")
    assert found.level is Level.INFO
    assert "never gets smaller by itself; 60 MB" in found.sentence
    run(file, "PRAGMA auto_vacuum=FULL", "VACUUM")
    assert level(file, "sqlite.auto_vacuum") is Level.GOOD


def test_links_that_somebody_must_watch_over(file: Path) -> None:
    assert level(file, "sqlite.links_enforced") is Level.GOOD
    run(file, "CREATE TABLE orders (id INTEGER PRIMARY KEY, who INTEGER REFERENCES customers)")
    found = finding(report_on(file), "sqlite.links_enforced")
    assert found.level is Level.INFO
    assert "cannot be seen from here" in found.sentence


def test_a_look_leaves_the_locks_of_this_process(file: Path) -> None:
    """An application that asks about its own file would else write beside others."""
    ask = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        report_on(file)
        command = [sys.executable, "-c", ask, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "locked" in done.stderr


def test_an_old_library(file: Path) -> None:
    assert level(file, "sqlite.library") is Level.GOOD
    sound = file.read_bytes()
    file.write_bytes(sound[:96] + (3_008_002).to_bytes(4, "big") + sound[100:])
    found = finding(report_on(file), "sqlite.library")
    assert found.level is Level.INFO
    assert "writes with SQLite 3.8.2" in found.sentence
    file.write_bytes(sound)
    assert level(file, "sqlite.library") is Level.GOOD


@pytest.mark.parametrize(
    ("written_by", "mode", "expected"),
    [
        (3_040_001, "wal", Level.INFO),
        (3_051_002, "wal", Level.INFO),
        (3_051_003, "wal", Level.GOOD),
        (3_050_006, "wal", Level.INFO),
        (3_050_007, "wal", Level.GOOD),
        (3_044_006, "wal", Level.GOOD),
        (3_053_000, "wal", Level.GOOD),
        (3_040_001, "delete", Level.GOOD),
    ],
)
def test_a_library_that_can_lose_what_two_programs_save(
    file: Path, written_by: int, mode: str, expected: Level
) -> None:
    run(file, f"PRAGMA journal_mode={mode}")
    sound = file.read_bytes()
    file.write_bytes(sound[:96] + written_by.to_bytes(4, "big") + sound[100:])
    found = finding(report_on(file), "sqlite.wal_reset")
    assert found.level is expected
    major, minor, patch = written_by // 1_000_000, written_by // 1000 % 1000, written_by % 1000
    assert f"last written by SQLite {major}.{minor}.{patch}" in found.technical


def test_a_layout_that_has_changed(file: Path) -> None:
    history = History()

    def seen() -> Finding:
        return finding(get_health_report(engine_of(file), history=history), "sqlite.layout")

    assert seen().level is Level.GOOD
    run(file, "INSERT INTO customers (name) VALUES ('Ada')", "VACUUM")
    assert seen().level is Level.GOOD
    run(file, "CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    assert seen().level is Level.INFO
    assert "layout of the tables was changed less than a second ago" in seen().sentence


def test_a_database_that_grows_fast(file: Path) -> None:
    now = time.time()

    def seen(size_then: int) -> Finding:
        history = History(sizes=[(now - 7 * 86_400, size_then), (now, 100 << 20)])
        report = get_health_report(engine_of(file), history=history)
        return finding(report, "sqlite.growth")

    assert seen(40 << 20).level is Level.INFO
    assert "grew by 60 MB (150 %) within a week" in seen(40 << 20).sentence
    assert seen(100 << 20).level is Level.GOOD


def test_when_the_disk_will_be_full(file: Path) -> None:
    free = shutil.disk_usage(file.parent).free
    os.truncate(file, int(free * 0.7))
    now, need = time.time(), int(free * 0.7)
    history = History(sizes=[(now - 7 * 86_400, 4096), (now, need)])
    found = finding(get_health_report(engine_of(file), history=history), "sqlite.disk")
    assert found.sentence.endswith("At this pace it is full in about 10 days.")


def test_five_thousand_tables_are_looked_at_quickly(tmp_path: Path) -> None:
    path = tmp_path / "many.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        for number in range(5000):
            connection.execute(
                f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, up INTEGER REFERENCES t0, b, c)"
            )
            if number % 5 == 0:
                connection.execute(f"CREATE INDEX i{number} ON t{number} (up)")
        connection.execute("COMMIT")
    report_on(path)
    took = []
    for _ in range(3):
        began = time.process_time()
        report = report_on(path)
        took.append(time.process_time() - began)
    assert alarms(report) == []
    assert min(took) < 0.3

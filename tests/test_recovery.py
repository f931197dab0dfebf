"""What is settled at the start, what is forgotten, and what cannot be tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops import Catalog, DataFolder, Progress, create_backup, prove_archive, restore_backup
from ops.dialects.postgresql.staging import _restore_failed
from ops.dialects.sqlite import SQLite
from ops.errors import BadArchive, OpsError, ToolFailed, Unavailable
from ops.installation import Installation
from ops.journal import Journal, Step, forget_old_journals, journals_of
from ops.recovery import settle_all, unsettled
from tests.databases import PostgreSQLDatabase, SQLiteDatabase
from tests.services.postgres import RealPostgres


@pytest.fixture
def file(tmp_path: Path) -> SQLiteDatabase:
    """A filled SQLite file."""
    (tmp_path / "database").mkdir()
    made = SQLiteDatabase(tmp_path / "database", "wal")
    made.fill()
    return made


def test_one_target_that_fails_unforeseen_keeps_no_other_from_being_settled(
    file: SQLiteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OPS_TARGETS__BAD", f"sqlite:///{tmp_path}/bad.db")
    monkeypatch.setenv("OPS_TARGETS__LIVE", file.url)
    home = Installation.open()
    for name in ("bad", "live"):
        Journal.begin(home.folder, name, "sqlite", "restore", "x.zip")
    settle = SQLite.settle

    def sometimes(self: SQLite, engine: object, journal: Journal) -> None:
        if journal.target == "bad":
            raise ZeroDivisionError
        settle(self, engine, journal)  # type: ignore[arg-type]

    monkeypatch.setattr(SQLite, "settle", sometimes)
    settle_all(home)
    assert unsettled(home.target("bad"), home.folder)
    assert not unsettled(home.target("live"), home.folder)
    home.store.dispose()


def test_only_old_journals_that_keep_nothing_are_forgotten(
    file: SQLiteDatabase, folder: DataFolder
) -> None:
    archive = create_backup(file.target, folder).archive
    assert prove_archive(file.target, archive, folder).ok
    restore_backup(file.target, archive, folder)
    Journal.begin(folder, "live", "sqlite", "restore", "unsettled.zip")
    forget_old_journals(folder)
    assert len(journals_of(folder, "live")) == 3
    for journal in journals_of(folder, "live"):
        if journal.ended_at:
            journal.ended_at = (datetime.now(UTC) - timedelta(days=31)).isoformat()
            journal.write()
    forget_old_journals(folder)
    left = journals_of(folder, "live")
    assert [journal.undo is None for journal in left] == [True, False]
    assert left[0].step is Step.PREPARED


_GONE = "The database server broke off the work|The database does not answer"
"""What pg_restore noticed first, or we."""


class _PowerCut(Progress):
    """Ends the server as a power switch would while it takes in the backup, and starts it anew."""

    def __init__(self, cluster: RealPostgres) -> None:
        self._cluster = cluster
        self.looks = 0

    def report(self, done: float, total: float, note: str = "") -> None:
        self.looks += note == "Restoring beside the live database"
        if self.looks == 2:
            self.looks += 1
            self._cluster.restart()


@pytest.mark.parametrize("live", ["postgresql-16"], indirect=True)
def test_a_server_that_breaks_off_is_not_the_backups_fault(
    live: PostgreSQLDatabase, folder: DataFolder
) -> None:
    pad = "convert_to(repeat('x', 500), 'UTF8')"
    live.run(f"INSERT INTO bulk SELECT g, {pad} FROM generate_series(10000, 400000) g")
    archive, before = create_backup(live.target, folder).archive, live.fingerprint()
    prove_archive(live.target, archive, folder)
    cut = _PowerCut(live.cluster)
    with pytest.raises(Unavailable, match=_GONE):
        prove_archive(live.target, archive, folder, progress=cut)
    assert cut.looks == 3, "it was over before the power was cut"
    (entry,) = Catalog(folder, "live").entries()
    assert entry.tested
    assert entry.tested.passed
    with pytest.raises(Unavailable, match=_GONE):
        restore_backup(live.target, archive, folder, progress=_PowerCut(live.cluster))
    assert live.fingerprint() == before


@pytest.mark.parametrize(
    ("told", "is_excused"),
    [
        ("could not execute query: server closed the connection unexpectedly", True),
        ("COPY failed for table t: ERROR:  could not extend file: No space left on device", True),
        ('COPY failed for table "t": ERROR:  "No space left on device" is no number', False),
        ("could not execute query: ERROR:  not here\nCONTEXT:  No space left on device", False),
    ],
)
def test_only_the_servers_own_words_excuse_a_backup(told: str, is_excused: bool) -> None:
    failed = ToolFailed("pg_restore ended with an error.", detail=f"pg_restore: error: {told}")
    assert isinstance(_restore_failed(failed), Unavailable) == is_excused


def test_a_full_disk_does_not_mark_a_backup(
    file: SQLiteDatabase, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = create_backup(file.target, folder).archive

    def fails(*_: object, **__: object) -> None:
        raise BadArchive("The database inside this backup is damaged.")

    monkeypatch.setattr(SQLite, "stage", fails)
    monkeypatch.setattr(DataFolder, "free_bytes", lambda _: 1000)
    with pytest.raises(OpsError, match="disk is full, so the backup could not be tried"):
        prove_archive(file.target, archive, folder)
    monkeypatch.setattr(DataFolder, "free_bytes", lambda _: 1 << 40)
    assert not prove_archive(file.target, archive, folder).ok

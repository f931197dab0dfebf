"""The disk fills up in the middle of the work, wherever that may be: nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ops import (
    Catalog,
    DataFolder,
    OpsError,
    Progress,
    create_backup,
    delete_undo_point,
    restore_backup,
    undo_points,
    undo_restore,
    verify_archive,
)
from ops.errors import Refused
from ops.installation import Installation
from ops.recovery import settle_all, unsettled
from ops.settings import Settings
from ops.store import open_store
from tests.archives import assert_nothing_left
from tests.databases import LiveDatabase, PostgreSQLDatabase, SQLiteDatabase
from tests.figures import recorded
from tests.small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.figure

LEVELS = (0, 200 << 10, 1 << 20)
"""Bytes that are left: nothing, a journal's worth, and half of what the work needs."""


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """One disk for the database, its backups and all that the console keeps."""
    # The server's user may not enter pytest's folder.
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        with small_disk(Path(place) / "disk", 100) as made:
            yield made


@pytest.fixture
def folder(disk: SmallDisk) -> DataFolder:
    """A data folder on the small disk."""
    return DataFolder(disk.path / "data")


@pytest.fixture(params=["wal", "delete", "pg16", pytest.param("pg18", marks=pytest.mark.soak)])
def live(request: pytest.FixtureRequest, disk: SmallDisk) -> Iterator[LiveDatabase]:
    """A filled database on the small disk."""
    with ExitStack() as stack:
        made: LiveDatabase
        if request.param in ("wal", "delete"):
            (disk.path / "database").mkdir()
            made = SQLiteDatabase(disk.path / "database", request.param)
        else:
            cluster = request.getfixturevalue(request.param)
            space = stack.enter_context(cluster.tablespace(disk.path / "database"))
            made = PostgreSQLDatabase(cluster, options=f"TABLESPACE {space}")
        made.kind = request.param
        made.fill(2000)
        yield made
        disk.empty()
        made.close()


class _Notes(Progress):
    """Hears what the work says; at the note `at`, `then` happens, once."""

    def __init__(self, at: str = "", then: Callable[[], None] = lambda: None) -> None:
        self.heard: list[str] = []
        self._at = at
        self._then = then

    def report(self, done: float, total: float, note: str = "") -> None:
        if note == self._at and note not in self.heard:
            self._then()
        self.heard.append(note)


def _settle(live: LiveDatabase, folder: DataFolder) -> None:
    """What the console does at its start."""
    store = open_store(folder.store_path)
    settle_all(Installation(Settings.model_validate({}), folder, store, (live.target,)))
    store.dispose()
    assert not unsettled(live.target, folder)


def _forget(live: LiveDatabase, folder: DataFolder) -> None:
    for point in undo_points(live.target, folder):
        delete_undo_point(live.target, folder, point.id)


def _moments(heard: list[str]) -> list[tuple[str, int]]:
    """Each kind of step and level; of many tables that are counted, the first one."""
    firsts = {note.partition(":")[0]: note for note in reversed(heard)}
    return [(note, level) for note in firsts.values() for level in LEVELS]


def test_a_backup_on_a_full_disk_is_whole_or_not_there(
    live: LiveDatabase, folder: DataFolder, disk: SmallDisk
) -> None:
    notes = _Notes()
    kept = [create_backup(live.target, folder, progress=notes).archive]
    before, moments = live.fingerprint(), _moments(notes.heard)
    said: list[OpsError] = []
    with recorded(f"{live}: disk full in a backup", len(moments)) as outcomes:
        for note, level in moments:
            filling = _Notes(note, lambda level=level: disk.fill(level))  # type: ignore[misc]
            try:
                kept.append(create_backup(live.target, folder, progress=filling).archive)
                outcomes["whole"] += 1
            except OpsError as error:
                said.append(error)
                outcomes["not there"] += 1
            disk.empty()
            _settle(live, folder)
            listed = [entry.path for entry in Catalog(folder, "live").entries()]
            assert set(kept) <= set(listed)
            # It may have been whole already when there was no room for the note beside it.
            assert all(verify_archive(path).ok for path in set(listed) - set(kept))
            kept = listed
            assert_nothing_left(live, folder)
        assert live.fingerprint() == before
    assert outcomes["not there"] > len(LEVELS)
    assert [error.message for error in said if not error.hint] == []


def test_a_restore_on_a_full_disk_is_before_or_archive(
    live: LiveDatabase, folder: DataFolder, disk: SmallDisk
) -> None:
    archive = create_backup(live.target, folder).archive
    saved = live.fingerprint()
    live.drift()
    before, notes = live.fingerprint(), _Notes()
    restore_backup(live.target, archive, folder, progress=notes)
    undo_restore(live.target, folder)
    assert live.fingerprint() == before
    _forget(live, folder)
    moments = _moments(notes.heard)
    said: list[OpsError] = []
    with recorded(f"{live}: disk full in a restore", len(moments)) as outcomes:
        for note, level in moments:
            filling = _Notes(note, lambda level=level: disk.fill(level))  # type: ignore[misc]
            try:
                restore_backup(live.target, archive, folder, progress=filling)
            except OpsError as error:
                said.append(error)
                outcomes["errors"] += 1
            disk.empty()
            _settle(live, folder)
            assert_nothing_left(live, folder)
            now = live.fingerprint()
            assert now in (before, saved)
            outcomes["before" if now == before else "archive"] += 1
            assert len(undo_points(live.target, folder)) == (now == saved)
            if now == saved:
                undo_restore(live.target, folder)
                assert live.fingerprint() == before
            _forget(live, folder)
    assert outcomes["before"] > len(LEVELS)
    assert [error.message for error in said if not error.hint] == []


def test_what_can_be_foreseen_is_not_begun(
    live: LiveDatabase, folder: DataFolder, disk: SmallDisk
) -> None:
    archive = create_backup(live.target, folder).archive
    before = live.fingerprint()
    disk.fill(1 << 20)
    kind, words = (Refused, "room|too full") if disk.tells_room else (OpsError, None)
    with pytest.raises(kind, match=words):
        create_backup(live.target, folder)
    with pytest.raises(kind, match=words):
        restore_backup(live.target, archive, folder)
    disk.empty()
    assert live.fingerprint() == before
    assert_nothing_left(live, folder)

"""What holds for every kind of database: backup, restore, undo, refusal, cancellation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ops import (
    Catalog,
    DataFolder,
    Progress,
    create_backup,
    delete_undo_point,
    restore_backup,
    undo_points,
    undo_restore,
    verify_archive,
)
from ops.catalog import EntryState
from ops.dialects import known_backends
from ops.errors import Busy, Cancelled, Refused
from tests.archives import assert_nothing_left, counts, unpacked_into
from tests.databases import KINDS, WRITE_PAIR, LiveDatabase
from tests.figures import recorded


class Notes(Progress):
    """Keeps what is reported; asks to stop at the note `stop_at`."""

    def __init__(self, stop_at: str = "") -> None:
        self.heard: list[str] = []
        self._stop_at = stop_at

    def report(self, done: float, total: float, note: str = "") -> None:
        self.heard.append(note)
        if self._stop_at and note == self._stop_at:
            raise Cancelled


def test_every_kind_of_database_is_under_contract() -> None:
    assert set(KINDS) == set(known_backends())
    assert all(KINDS.values())


@pytest.mark.figure
def test_restore_and_undo_are_exact(live: LiveDatabase, folder: DataFolder) -> None:
    saved = live.fingerprint()
    made = create_backup(live.target, folder)
    live.drift()
    drifted = live.fingerprint()
    assert drifted != saved
    restored = restore_backup(live.target, made.archive, folder)
    assert live.fingerprint() == saved
    assert restored.proven
    assert counts(restored.tables) == counts(made.tables)
    assert restored.undo is not None
    undo_restore(live.target, folder)
    assert live.fingerprint() == drifted
    undo_restore(live.target, folder)
    assert live.fingerprint() == saved
    assert len(undo_points(live.target, folder)) == 1
    assert_nothing_left(live, folder)
    with recorded(f"{live}: restore, undo, redo", 1) as outcomes:
        outcomes["exact"] = 3


def test_each_undo_point_can_be_chosen_or_given_up(live: LiveDatabase, folder: DataFolder) -> None:
    made = create_backup(live.target, folder)
    live.drift()
    drifted = live.fingerprint()
    first = restore_backup(live.target, made.archive, folder).undo
    second = restore_backup(live.target, made.archive, folder).undo
    assert first is not None
    assert second is not None
    assert [point.id for point in undo_points(live.target, folder)] == [second.id, first.id]
    delete_undo_point(live.target, folder, second.id)
    undo_restore(live.target, folder, point=first.id)
    assert live.fingerprint() == drifted
    for point in undo_points(live.target, folder):
        delete_undo_point(live.target, folder, point.id)
    with pytest.raises(Refused, match="nothing to undo"):
        undo_restore(live.target, folder)
    assert live.fingerprint() == drifted
    assert_nothing_left(live, folder)


def test_an_empty_database_goes_round(live: LiveDatabase, folder: DataFolder) -> None:
    full = live.fingerprint()
    filled = create_backup(live.target, folder).archive
    live.start_over()
    nothing = live.fingerprint()
    empty = create_backup(live.target, folder).archive
    restore_backup(live.target, filled, folder)
    assert live.fingerprint() == full
    restore_backup(live.target, empty, folder)
    assert live.fingerprint() == nothing
    undo_restore(live.target, folder)
    assert live.fingerprint() == full


@contextmanager
def _writers(live: LiveDatabase) -> Iterator[None]:
    """Two programs that commit all the time."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            live.run(WRITE_PAIR)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.figure
def test_counts_are_of_the_snapshot_while_programs_write(
    live: LiveDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    left, right = live.table("left_hand"), live.table("right_hand")
    seen = []
    with _writers(live):
        for _ in range(10):
            made = create_backup(live.target, folder)
            counted = {table.name: table.rows for table in made.tables}
            assert counted[left] == counted[right]
            assert live.tables_in_dump(unpacked_into(made.archive, tmp_path)) == counted
            seen.append(counted[left])
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
    assert live.rows("SELECT count(*) FROM left_hand")[0][0] >= seen[-1]
    with recorded(f"{live}: counts of the manifest under load", len(seen)) as outcomes:
        outcomes["exact"] = len(seen)


def test_the_catalog_lists_labels_and_deletes(live: LiveDatabase, folder: DataFolder) -> None:
    made = create_backup(live.target, folder, label="first ü")
    create_backup(live.target, folder, label="second")
    catalog = Catalog(folder, "live")
    assert [entry.label for entry in catalog.entries()] == ["second", "first ü"]
    name = made.archive.name
    assert catalog.entry(name).as_dict()["sha256"] == made.sha256
    assert catalog.entry(name).made_here
    catalog.set_label(name, "renamed")
    assert catalog.entry(name).label == "renamed"
    assert verify_archive(made.archive).ok
    catalog.delete(name)
    assert [entry.label for entry in catalog.entries()] == ["second"]
    with pytest.raises(Refused, match="no backup named"):
        catalog.entry(name)
    assert_nothing_left(live, folder)


def test_a_cancelled_backup_leaves_nothing(live: LiveDatabase, folder: DataFolder) -> None:
    heard = Notes()
    kept = create_backup(live.target, folder, progress=heard).archive
    for note in dict.fromkeys(heard.heard):
        with pytest.raises(Cancelled):
            create_backup(live.target, folder, progress=Notes(stop_at=note))
        assert [entry.path for entry in Catalog(folder, "live").entries()] == [kept]
        assert_nothing_left(live, folder)


def test_a_cancelled_restore_leaves_nothing(live: LiveDatabase, folder: DataFolder) -> None:
    archive = create_backup(live.target, folder).archive
    live.drift()
    drifted = live.fingerprint()
    heard = Notes()
    restore_backup(live.target, archive, folder, progress=heard)
    undo_restore(live.target, folder)
    kept = undo_points(live.target, folder)
    for note in dict.fromkeys(heard.heard):
        with pytest.raises(Cancelled, match="Nothing was changed"):
            restore_backup(live.target, archive, folder, progress=Notes(stop_at=note))
        assert live.fingerprint() == drifted
        assert undo_points(live.target, folder) == kept
        assert_nothing_left(live, folder)


def test_what_is_no_backup_is_listed_as_what_it_is(live: LiveDatabase, folder: DataFolder) -> None:
    made = create_backup(live.target, folder)
    whole = made.archive.read_bytes()
    (made.archive.parent / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (made.archive.parent / "foreign.zip").write_bytes(b"not a ZIP")
    states = {entry.name: entry.state for entry in Catalog(folder, "live").entries()}
    assert states[made.archive.name] is EntryState.GOOD
    assert states["cut.zip"] is EntryState.DAMAGED
    assert states["foreign.zip"] is EntryState.FOREIGN


def test_two_at_once_are_refused(live: LiveDatabase, folder: DataFolder) -> None:
    archive = create_backup(live.target, folder).archive
    refused: list[str] = []

    class Meddler(Progress):
        """Starts other work whenever this work reports."""

        def report(self, done: float, total: float, note: str = "") -> None:
            for meddle in (
                lambda: create_backup(live.target, folder),
                lambda: restore_backup(live.target, archive, folder),
                lambda: undo_restore(live.target, folder),
            ):
                with suppress(Busy):
                    meddle()
                    raise AssertionError("two at once")
                refused.append(note)

    restore_backup(live.target, archive, folder, progress=Meddler())
    create_backup(live.target, folder, progress=Meddler())
    assert len(refused) > 10

"""What every kind of database refuses, or restores only with a yes or a note."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops import (
    DataFolder,
    Target,
    create_backup,
    preview_restore,
    restore_backup,
    undo_points,
    verify_archive,
)
from ops.errors import BadArchive, Busy, MismatchFound, NotConfirmed, PreflightRefused
from ops.locks import target_lock
from ops.restore import NO_PROOF
from tests.archives import (
    Described,
    assert_nothing_left,
    described,
    forged,
    of_version_1,
    packed,
    sealed_again,
)
from tests.databases import LiveDatabase


def _one_row_more(manifest: Described) -> None:
    manifest["tables"][0]["rows"] += 1


def _one_table_less(manifest: Described) -> None:
    manifest["tables"].pop()


def test_two_names_of_one_database_do_not_work_at_once(
    live: LiveDatabase, folder: DataFolder
) -> None:
    other = Target.parse("other-name", live.other_url)
    assert other.url != live.target.url
    with target_lock(folder, live.target), pytest.raises(Busy, match="another name"):
        create_backup(other, folder)
    assert create_backup(other, folder).tables


@pytest.mark.parametrize("lie", [_one_row_more, _one_table_less])
def test_a_manifest_that_lies_changes_nothing(
    live: LiveDatabase, folder: DataFolder, tmp_path: Path, lie: object
) -> None:
    made = create_backup(live.target, folder)
    lying = forged(made.archive, tmp_path / "lying.zip", lie)  # type: ignore[arg-type]
    archive = sealed_again(lying, folder)
    live.drift()
    drifted = live.fingerprint()
    with pytest.raises(MismatchFound, match=r"1 of .* Nothing was changed"):
        restore_backup(live.target, archive, folder)
    assert live.fingerprint() == drifted
    assert undo_points(live.target, folder) == []
    assert_nothing_left(live, folder)


def test_an_archive_of_another_engine_is_refused(
    live: LiveDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    name = "other.pgdump" if live.backend == "sqlite" else "other.db"
    manifest = json.dumps(described(name, b"content")).encode()
    archive = packed(tmp_path / "other.zip", {name: b"content", "manifest.json": manifest})
    with pytest.raises(BadArchive, match="This is a backup of a"):
        restore_backup(live.target, archive, folder, trust_foreign=True)
    with pytest.raises(BadArchive, match="This is a backup of a"):
        preview_restore(live.target, archive, folder)


def test_a_foreign_archive_needs_a_yes(
    live: LiveDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    saved = live.fingerprint()
    elsewhere = DataFolder(tmp_path / "elsewhere")
    archive = create_backup(live.target, elsewhere).archive
    live.drift()
    drifted = live.fingerprint()
    assert not preview_restore(live.target, archive, folder).made_here
    with pytest.raises(NotConfirmed, match="not made by this console"):
        restore_backup(live.target, archive, folder)
    assert live.fingerprint() == drifted
    if live.takes_foreign:
        restore_backup(live.target, archive, folder, trust_foreign=True)
        assert live.fingerprint() == saved
    else:
        with pytest.raises(PreflightRefused, match="cannot be tried out beside"):
            restore_backup(live.target, archive, folder, trust_foreign=True)
        assert live.fingerprint() == drifted


def test_a_changed_archive_of_our_own_is_foreign(
    live: LiveDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    made = create_backup(live.target, folder)
    archive = forged(made.archive, tmp_path / "x.zip", lambda m: m.update(label="changed"))
    with pytest.raises(NotConfirmed):
        restore_backup(live.target, archive, folder)


def test_version_1_restores_with_a_note(
    live: LiveDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    saved = live.fingerprint()
    old = of_version_1(create_backup(live.target, folder).archive, tmp_path / "old.zip")
    live.drift()
    assert preview_restore(live.target, old, folder).notes == (NO_PROOF,)
    assert verify_archive(old).ok
    assert not verify_archive(old).has_proof
    if not live.takes_foreign:
        return
    result = restore_backup(live.target, old, folder, trust_foreign=True)
    assert NO_PROOF in result.notes
    assert not result.proven
    assert live.fingerprint() == saved


def test_a_newer_format_is_refused(live: LiveDatabase, folder: DataFolder, tmp_path: Path) -> None:
    made = create_backup(live.target, folder)
    newer = forged(made.archive, tmp_path / "new.zip", lambda m: m.update(schema_version=3))
    with pytest.raises(BadArchive, match="newer version of the console"):
        restore_backup(live.target, newer, folder, trust_foreign=True)

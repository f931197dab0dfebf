"""What holds for every kind of database when a backup is proven: quickly, fully, by content."""

from __future__ import annotations

import json
import os
import random
import shutil
import zipfile
from pathlib import Path

import pytest

from ops import (
    Catalog,
    DataFolder,
    Prove,
    create_backup,
    prove_archive,
    recheck_kept,
    restore_backup,
    undo_points,
)
from ops.archive.manifest import MANIFEST_NAME
from ops.catalog import CatalogEntry
from ops.dialects import dialect_of
from ops.errors import BadArchive, Cancelled, MismatchFound, NotConfirmed, OpsError
from ops.progress import SILENT
from tests.archives import (
    Described,
    assert_nothing_left,
    counts,
    described,
    forged,
    of_version_1,
    opened,
    packed,
    unpacked_into,
)
from tests.databases import LiveDatabase, with_staging, without_staging
from tests.test_contract import Notes


def _entry(folder: DataFolder, archive: Path) -> CatalogEntry:
    return Catalog(folder, "live").entry(archive.name)


@with_staging
def test_a_test_restore_passes_and_leaves_nothing(live: LiveDatabase, folder: DataFolder) -> None:
    made = create_backup(live.target, folder, checksums=True)
    live.drift()
    drifted = live.fingerprint()
    result = prove_archive(live.target, made.archive, folder)
    assert (result.ok, result.full, result.problem) == (True, True, "")
    assert result.compared is not None
    assert {t.name: t.found for t in result.compared} == {t.name: t.rows for t in made.tables}
    assert all(table.content is True for table in result.compared)
    assert live.fingerprint() == drifted
    assert undo_points(live.target, folder) == []
    assert_nothing_left(live, folder)
    tested = _entry(folder, made.archive).tested
    assert tested is not None
    assert (tested.kind, tested.passed) == (Prove.FULL, True)
    assert tested.tables == tested.exact == tested.contents == len(made.tables)
    assert f"{len(made.tables)} of {len(made.tables)} tables exact" in tested.in_words("Monday")


@without_staging
def test_what_cannot_be_brought_back_is_read_and_counted(
    live: LiveDatabase, folder: DataFolder
) -> None:
    made = create_backup(live.target, folder, checksums=True)
    result = prove_archive(live.target, made.archive, folder)
    assert (result.ok, result.full) == (True, False)
    assert result.compared is not None
    assert {t.name: t.found for t in result.compared} == {t.name: t.rows for t in made.tables}
    entry = _entry(folder, made.archive)
    assert entry.tested is None
    assert entry.checked is not None
    assert entry.checked.in_words("Monday").startswith("Read back whole on Monday, 12 of 12")
    assert_nothing_left(live, folder)


def _one_row_more(manifest: Described) -> None:
    manifest["tables"][0]["rows"] += 1


def _another_content(manifest: Described) -> None:
    method, _, value = manifest["tables"][0]["checksum"].partition(":")
    manifest["tables"][0]["checksum"] = f"{method}:{value[::-1]}1"


@with_staging
@pytest.mark.parametrize(
    ("lie", "reason"),
    [(_one_row_more, "promised"), (_another_content, "content differs")],
)
def test_a_lying_manifest_fails_the_test_and_marks_the_archive(
    live: LiveDatabase, folder: DataFolder, lie: object, reason: str
) -> None:
    made = create_backup(live.target, folder, checksums=True).archive
    lying = forged(made, made.with_name("lying.zip"), lie)  # type: ignore[arg-type]
    saved = live.fingerprint()
    with pytest.raises(NotConfirmed):
        prove_archive(live.target, lying, folder)
    assert _entry(folder, lying).tested is None
    result = prove_archive(live.target, lying, folder, trust_foreign=True)
    assert not result.ok
    assert "1 of" in result.problem
    assert reason in result.detail
    assert sum(not table.is_exact for table in result.compared or ()) == 1
    failure = _entry(folder, lying).failure
    assert failure is not None
    assert failure.problem == result.problem
    assert "Could not be brought back on Monday: " in failure.in_words("Monday")
    with pytest.raises(MismatchFound, match="Nothing was changed"):
        restore_backup(live.target, lying, folder, trust_foreign=True)
    assert live.fingerprint() == saved
    assert _entry(folder, made).failure is None
    assert_nothing_left(live, folder)


def test_a_test_that_could_not_be_made_says_nothing_about_the_archive(
    live: LiveDatabase, folder: DataFolder
) -> None:
    made = create_backup(live.target, folder).archive
    name = "other.pgdump" if live.backend == "sqlite" else "other.db"
    other = packed(
        made.with_name("other.zip"),
        {name: b"content", MANIFEST_NAME: json.dumps(described(name, b"content")).encode()},
    )
    with pytest.raises(BadArchive, match="This is a backup of a"):
        prove_archive(live.target, other, folder, trust_foreign=True)
    assert _entry(folder, other).tested is None


@with_staging
def test_a_cancelled_test_restore_leaves_nothing(live: LiveDatabase, folder: DataFolder) -> None:
    archive = create_backup(live.target, folder, checksums=True).archive
    saved = live.fingerprint()
    heard = Notes()
    prove_archive(live.target, archive, folder, progress=heard)
    for note in dict.fromkeys(heard.heard):
        with pytest.raises(Cancelled, match="Nothing was changed"):
            prove_archive(live.target, archive, folder, progress=Notes(stop_at=note))
        assert_nothing_left(live, folder)
    assert len(set(heard.heard)) >= 2
    assert live.fingerprint() == saved
    tested = _entry(folder, archive).tested
    assert tested is not None
    assert tested.passed


def _checksums(live: LiveDatabase, folder: DataFolder) -> dict[str, str | None]:
    made = create_backup(live.target, folder, checksums=True, read_back=False)
    return {table.name: table.checksum for table in made.tables}


@with_staging
def test_checksums_tell_content_where_counts_do_not(live: LiveDatabase, folder: DataFolder) -> None:
    first = create_backup(live.target, folder, checksums=True)
    before = {table.name: table.checksum for table in first.tables}
    assert all(before.values())
    assert _checksums(live, folder) == before
    live.run("UPDATE orders SET note = 'another' WHERE id = 100")
    after = _checksums(live, folder)
    orders = live.table("orders")
    assert [name for name in after if after[name] != before[name]] == [orders]
    restored = restore_backup(live.target, first.archive, folder)
    assert counts(restored.tables) == counts(first.tables)
    assert [t.checksum for t in restored.tables] == [t.checksum for t in first.tables]
    assert _checksums(live, folder) == before
    assert not any(t.checksum for t in create_backup(live.target, folder).tables)


@with_staging
def test_a_backup_without_counts_is_brought_back_with_nothing_to_compare(
    live: LiveDatabase, folder: DataFolder
) -> None:
    made = create_backup(live.target, folder).archive
    old = of_version_1(made, made.with_name("old.zip"))
    result = prove_archive(live.target, old, folder, trust_foreign=True)
    assert (result.ok, result.has_proof, result.compared) == (True, False, None)
    tested = _entry(folder, old).tested
    assert tested is not None
    assert "nothing to compare it with" in tested.in_words("Monday")


def test_every_new_backup_is_read_back(live: LiveDatabase, folder: DataFolder) -> None:
    made = create_backup(live.target, folder)
    checked = _entry(folder, made.archive).checked
    assert checked is not None
    assert (checked.kind, checked.passed) == (Prove.QUICK, True)
    assert "Read back whole" in checked.in_words("Monday")
    assert (
        _entry(folder, create_backup(live.target, folder, read_back=False).archive).checked is None
    )


def test_the_quick_proof_notices_truncations(
    live: LiveDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    made = create_backup(live.target, folder).archive
    manifest = Catalog(folder, "live").entry(made.name).manifest
    assert manifest is not None
    dump = unpacked_into(made, tmp_path)
    dialect = dialect_of(live.target.engine)
    dialect.check_dump(dump, manifest, SILENT)
    whole = dump.read_bytes()
    for share in (0, 0.1, 0.3, 0.5, 0.8, 0.99):
        dump.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(BadArchive):
            dialect.check_dump(dump, manifest, SILENT)


def test_a_backup_that_the_disk_spoils_is_not_kept(
    live: LiveDatabase, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit that the disk flips between writing and reading back."""
    kept = create_backup(live.target, folder).archive
    flush = os.fsync
    chance = random.Random(7)

    def spoil(handle: int) -> None:
        flush(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.suffix == ".part" and path.parent == kept.parent and path.stat().st_size > 4000:
            place = chance.randrange(200, path.stat().st_size // 2)
            with path.open("rb+") as file:
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1]))

    monkeypatch.setattr(os, "fsync", spoil)
    for _ in range(5):
        with pytest.raises(OpsError, match="cannot be read back as it was written"):
            create_backup(live.target, folder)
    monkeypatch.undo()
    assert [entry.path for entry in Catalog(folder, "live").entries()] == [kept]
    assert_nothing_left(live, folder)


def test_a_kept_file_that_changed_is_found_and_a_test_restore_outdates_it(
    live: LiveDatabase, folder: DataFolder
) -> None:
    made = create_backup(live.target, folder).archive
    proof = recheck_kept(live.target, folder, made.name)
    assert proof is not None
    assert proof.passed
    with zipfile.ZipFile(made, "a") as file:
        file.comment = b"changed, but not in its content"
    proof = recheck_kept(live.target, folder, made.name)
    assert proof is not None
    assert not proof.passed
    assert _entry(folder, made).failure == proof
    assert "Found damaged" in proof.in_words("Monday")
    assert prove_archive(live.target, made, folder).ok
    assert _entry(folder, made).failure is None
    shutil.copy(made, made.with_name("brought.zip"))
    assert recheck_kept(live.target, folder, "brought.zip") is None


def test_a_damaged_archive_fails_the_test_and_keeps_its_label(
    live: LiveDatabase, folder: DataFolder
) -> None:
    made = create_backup(live.target, folder, label="mine").archive
    Catalog(folder, "live").set_label(made.name, "renamed")
    manifest, name, content = opened(made)
    spoilt = content[:-1] + bytes([content[-1] ^ 1])
    made.unlink()
    packed(made, {name: spoilt, MANIFEST_NAME: json.dumps(manifest).encode()})
    result = prove_archive(live.target, made, folder)
    assert not result.ok
    assert "checksum differs" in result.problem
    entry = _entry(folder, made)
    assert entry.failure is not None
    assert entry.label == "renamed"
    assert_nothing_left(live, folder)

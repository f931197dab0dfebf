"""Archives: what is written can be read by anybody, and what is hostile is refused."""

from __future__ import annotations

import hashlib
import random
import shutil
import string
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import Catalog, DataFolder, verify_archive
from ops.archive.manifest import DatabaseInfo, EntryProof, Manifest, TableRows
from ops.archive.reader import Archive, extract_entry, open_archive
from ops.archive.seal import is_sealed, sealed
from ops.archive.writer import ArchiveWriter
from ops.catalog import EntryState
from ops.dialects import entry_suffixes
from ops.errors import BadArchive
from ops.progress import SILENT
from tests.hostile import HOSTILE, MANIFESTS, entry_with_manifest

CONTENT = random.Random(5).randbytes(150) + b"A" * 150
KEY = b"k" * 32


def _write(path: Path, content: bytes = CONTENT, *, stored: bool = False, **values: object) -> Path:
    """An archive as a backup writes it."""
    source = path.with_suffix(".source")
    source.write_bytes(content)
    name = "shop.pgdump" if stored else "shop.db"
    with ArchiveWriter(path) as writer:
        proof = writer.add_file(name, source, compressed=stored, progress=SILENT)
        writer.add_manifest(sealed(_manifest(proof, **values), KEY))
    source.unlink()
    return path


def _manifest(proof: EntryProof, **values: object) -> Manifest:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    database = DatabaseInfo(name="shop", server_version="3", tool="t 3", snapshot_at=now)
    manifest = Manifest(
        version="0.1.0",
        created_at=now,
        db_backend="sqlite" if proof.name.endswith(".db") else "postgresql",
        contents=[proof.name],
        database=database,
        entries=(proof,),
        tables=(TableRows(name="a", rows=1),),
    )
    return manifest.model_copy(update=values)


def _read(path: Path) -> tuple[Archive, bytes]:
    """Check and unpack an archive; whatever happens, nothing but the archive stays."""
    archive = open_archive(path, entry_suffixes())
    into = path.with_suffix(".out")
    try:
        extract_entry(archive, into)
        return archive, into.read_bytes()
    except BadArchive:
        assert not into.exists()
        raise
    finally:
        into.unlink(missing_ok=True)


def _refusal(path: Path) -> BadArchive:
    with pytest.raises(BadArchive) as refused:
        _read(path)
    assert refused.value.message.endswith("Nothing was changed.")
    assert refused.value.message != "Nothing was changed."
    return refused.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the archive of a test lies, alone in its folder."""
    return tmp_path / "backup.zip"


@pytest.mark.parametrize("stored", [True, False])
def test_any_unzip_program_reads_it(path: Path, stored: bool) -> None:
    archive = open_archive(_write(path, stored=stored), entry_suffixes())
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        assert file.read(archive.entry) == CONTENT
        method = file.getinfo(archive.entry).compress_type
        assert method == (zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
    for program in filter(None, map(shutil.which, ("unzip", "7z", "7zz", "bsdtar"))):
        verb = ["-tf"] if program.endswith("bsdtar") else ["t"]
        options = ["-t"] if program.endswith("unzip") else verb
        subprocess.run([program, *options, path], check=True, capture_output=True)


def test_the_manifest_has_the_hash_of_the_content(path: Path) -> None:
    archive, content = _read(_write(path))
    assert content == CONTENT
    assert archive.proof == EntryProof(
        name="shop.db", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
    )


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=3000),
    label=st.text(max_size=200),
    tables=st.dictionaries(st.text(max_size=60), st.integers(0, 1 << 62), max_size=8),
)
def test_what_goes_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, label: str, tables: dict[str, int]
) -> None:
    path = tmp_path_factory.mktemp("round") / "x.zip"
    rows = tuple(TableRows(name=name, rows=count) for name, count in tables.items())
    archive, read = _read(_write(path, content, label=label, tables=rows))
    assert read == content
    assert archive.manifest.label == label
    assert archive.manifest.tables == rows
    assert is_sealed(archive.manifest, KEY)
    assert not is_sealed(archive.manifest, b"x" * 32)
    assert not is_sealed(archive.manifest.model_copy(update={"label": label + "x"}), KEY)


def test_a_truncated_archive_is_refused_wherever_it_ends(path: Path) -> None:
    whole = _write(path).read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        _refusal(path)


def _refused_or_the_same(path: Path) -> bool:
    """Whether it was refused; what was not refused has the content as it was written."""
    try:
        archive, content = _read(path)
    except BadArchive:
        return True
    assert content == CONTENT
    assert is_sealed(archive.manifest, KEY)
    return False


@pytest.mark.parametrize("stored", [True, False])
def test_no_flipped_bit_goes_unnoticed(path: Path, stored: bool) -> None:
    whole = _write(path, stored=stored).read_bytes()
    refused = 0
    for place in range(len(whole)):
        for bit in (1, 16, 128):
            damaged = bytearray(whole)
            damaged[place] ^= bit
            path.write_bytes(damaged)
            refused += _refused_or_the_same(path)
    assert refused > len(whole) * 2  # dates and the like are not content


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_spliced_bytes_go_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("spliced") / "x.zip"
    whole = _write(path).read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(0, 40))
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=40)) + whole[start + length :])
    _refused_or_the_same(path)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_zip_is_refused(path: Path, name: str) -> None:
    path.write_bytes(HOSTILE[name](_write(path).read_bytes()))
    refused = _refusal(path)
    assert refused.hint or refused.detail
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert not verify_archive(path).ok


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_refused(path: Path, name: str) -> None:
    path.write_bytes(entry_with_manifest(MANIFESTS[name]))
    with pytest.raises(BadArchive):
        open_archive(path, entry_suffixes())


def test_a_folder_of_hostile_archives_can_be_listed(folder: DataFolder, tmp_path: Path) -> None:
    good = _write(tmp_path / "good.zip").read_bytes()
    shelf = folder.backups("live")
    (shelf / "good.zip").write_bytes(good)
    for number, name in enumerate(MANIFESTS):
        (shelf / f"manifest{number}.zip").write_bytes(entry_with_manifest(MANIFESTS[name]))
    for number, name in enumerate(HOSTILE):
        (shelf / f"zip{number}.zip").write_bytes(HOSTILE[name](good))
    states = {entry.name: entry for entry in Catalog(folder, "live").entries()}
    assert len(states) == 1 + len(HOSTILE) + len(MANIFESTS)
    assert states["good.zip"].state is EntryState.GOOD
    for number, _ in enumerate(MANIFESTS):
        assert states[f"manifest{number}.zip"].state is not EntryState.GOOD
        assert states[f"manifest{number}.zip"].problem


def test_an_archive_with_zip64_records_is_read(path: Path) -> None:
    """As one over 4 GB has them; here they are forced."""
    written = _write(path)
    with zipfile.ZipFile(written) as file, file.open("shop.db") as stream:
        assert stream.read() == CONTENT
        assert file.getinfo("shop.db").file_size == len(CONTENT)
    assert verify_archive(written).ok


def test_names_that_are_odd_but_harmless_are_read(path: Path) -> None:
    for name in ("Größe 100%.db", "a'b\"c.db", string.ascii_letters + ".db"):
        path.write_bytes(entry_with_manifest({}, name=name))
        assert _read(path)[0].entry == name

"""Archives: what is written can be read by anybody, and what is hostile is refused."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import string
import struct
import subprocess
import sys
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import Catalog, DataFolder, verify_archive
from ops.archive.deflate import BLOCK, Digest, Read, deflated_blocks, stored_blocks
from ops.archive.manifest import DatabaseInfo, EntryProof, Manifest, TableRows
from ops.archive.reader import Archive, open_archive
from ops.archive.seal import is_sealed, seal_key, sealed
from ops.archive.unpack import extract_entry
from ops.archive.writer import ArchiveWriter
from ops.catalog import EntryState
from ops.dialects import entry_suffixes
from ops.errors import BadArchive, DiskFull
from ops.progress import SILENT
from ops.proof import Proof, Prove
from tests.hostile import HOSTILE, MANIFESTS, entry_with_manifest

ROOT = Path(__file__).resolve().parent.parent
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


SIZES = (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 7)
"""Around the borders of the blocks that are compressed side by side."""

READERS = {
    "unzip": ["unzip", "-qo"],
    "7zz": ["7zz", "x"],
    "7z": ["7z", "x"],
    "bsdtar": ["bsdtar", "-xf"],
    "jar": ["jar", "xf"],
    "python": [sys.executable, "-m", "zipfile", "-e"],
}


@pytest.mark.parametrize("reader", [name for name in READERS if shutil.which(READERS[name][0])])
def test_what_was_compressed_in_blocks_is_one_stream_to_any_program(
    path: Path, reader: str, content_of: Callable[[int], bytes]
) -> None:
    command, into = READERS[reader], path.parent / "out"
    for size in SIZES:
        path.unlink(missing_ok=True)
        _write(path, content_of(size))
        into.mkdir()
        where = [into] if reader == "python" else []
        subprocess.run([*command, path, *where], cwd=into, check=True, capture_output=True)
        assert (into / "shop.db").read_bytes() == content_of(size)
        shutil.rmtree(into)
        assert _read(path)[1] == content_of(size)


@pytest.fixture(scope="module")
def content_of() -> Callable[[int], bytes]:
    """Content of a size: some of it random, some of it not."""
    chance = random.Random(7)
    most = b"".join(chance.randbytes(300) + b"note " * 140 for _ in range(max(SIZES) // 1000 + 1))
    return lambda size: most[:size]


def test_without_isal_the_same_archives_are_written_and_read(
    path: Path, content_of: Callable[[int], bytes]
) -> None:
    content = content_of(2 * BLOCK + 5)
    ours = _write(path, content)
    others, script = path.with_suffix(".zlib.zip"), path.with_suffix(".py")
    script.write_text(WITHOUT_ISAL)
    command = [sys.executable, script, ours, others]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    with zipfile.ZipFile(others) as file:
        assert file.read("shop.db") == content


def test_room_that_ends_within_the_last_write_is_told(tmp_path: Path) -> None:
    """The system takes what still fits, and says so in a number, not in an error."""
    archive = open_archive(_write(tmp_path / "shop.zip"), entry_suffixes())
    into, (soft, hard) = tmp_path / "out.db", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) - 1, hard))
    try:
        with pytest.raises(DiskFull):
            extract_entry(archive, into)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not into.exists()


def test_a_key_that_finds_no_room_is_made_later_and_is_not_empty(tmp_path: Path) -> None:
    """An empty one would be a seal that anybody can make."""
    key, (soft, hard) = tmp_path / "seal.key", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            seal_key(key)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    assert len(seal_key(key)) == 32
    assert seal_key(key) == seal_key(key)
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_name_given_meanwhile_does_not_undo_what_a_test_found(folder: DataFolder) -> None:
    catalog = Catalog(folder, "live")
    path, rounds = _write(catalog.folder / "shop.zip"), 30

    def give_names() -> None:
        for number in range(rounds):
            catalog.set_label(path.name, f"name {number}")

    naming = threading.Thread(target=give_names)
    naming.start()
    for number in range(rounds):
        proof = Proof(kind=Prove.FULL, passed=False, at=datetime.now(UTC), seconds=number)
        catalog.note_proof(path, proof)
    naming.join()
    entry = catalog.entry(path.name)
    assert entry.label == f"name {rounds - 1}"
    assert entry.tested == proof


WITHOUT_ISAL = """
import sys
from pathlib import Path
sys.modules["isal"] = None
from ops.archive import deflate
from ops.archive.reader import open_archive
from ops.archive.unpack import extract_entry
from ops.archive.writer import ArchiveWriter
from ops.progress import SILENT
assert deflate._codec.__name__ == "zlib"
source, into = Path(sys.argv[1]), Path(sys.argv[2])
archive = open_archive(source, {"sqlite": ".db"})
extract_entry(archive, into.with_suffix(".db"))
with ArchiveWriter(into) as writer:
    writer.add_file("shop.db", into.with_suffix(".db"), compressed=False, progress=SILENT)
"""


@pytest.mark.parametrize("blocks", [stored_blocks, deflated_blocks])
def test_memory_does_not_grow_with_the_content(
    blocks: Callable[[Read, Digest], Iterator[bytes]],
) -> None:
    def peak(size: int) -> int:
        left = [size]

        def read(buffer: memoryview) -> int:
            length = min(len(buffer), left[0])
            left[0] -= length
            return length

        tracemalloc.start()
        with Digest() as digest:
            for _ in blocks(read, digest):
                pass
            assert digest.size == size
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(200 * BLOCK) < peak(20 * BLOCK) + 2 * BLOCK
    assert peak(200 * BLOCK) < 30 * BLOCK


def test_content_with_something_behind_it_is_refused(path: Path) -> None:
    """Inside the entry, where its own end says that nothing follows."""
    whole = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = whole.compress(CONTENT) + whole.flush() + b"more"
    with zipfile.ZipFile(path, "w") as file:
        info = zipfile.ZipInfo("shop.db")
        file.writestr(info, packed)
        proof = EntryProof(
            name="shop.db", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
        )
        file.writestr("manifest.json", _manifest(proof).to_json())
    written = path.read_bytes()
    stored = struct.pack("<HHH", 0, 0, 0x21)  # method, time and date of an entry of zipfile's
    deflated = struct.pack("<HHH", 8, 0, 0x21)
    sizes = struct.pack("<LLL", zlib.crc32(packed), len(packed), len(packed))
    right = struct.pack("<LLL", zlib.crc32(CONTENT), len(packed), len(CONTENT))
    assert written.count(stored + sizes) == 2
    path.write_bytes(written.replace(stored + sizes, deflated + right))
    assert "behind" in _refusal(path).detail


def test_the_manifest_has_the_hash_of_the_content(path: Path) -> None:
    archive, content = _read(_write(path))
    assert content == CONTENT
    assert archive.proof is not None
    assert archive.proof.promise == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


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

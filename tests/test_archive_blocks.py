"""An entry's blocks, which are packed and unpacked side by side where the manifest knows them."""

from __future__ import annotations

import io
import random
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ops.archive import unpack
from ops.archive.deflate import BLOCK, ERRORS, MOST_PACKED, Digest, deflated_blocks, inflated_blocks
from ops.archive.manifest import EntryProof, Manifest, blocks_of
from ops.archive.reader import open_archive
from ops.archive.seal import is_sealed, sealed
from ops.archive.unpack import extract_entry
from ops.archive.writer import ArchiveWriter
from ops.dialects import entry_suffixes
from ops.errors import BadArchive
from ops.progress import SILENT
from tests.archives import described, packed

KEY = b"k" * 32
CONTENT = random.Random(3).randbytes(3 * BLOCK + 700)
"""More than three blocks, which together are more than may be read at once."""

Lengths = Callable[[Sequence[int]], Sequence[int]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the archive of a test lies."""
    return tmp_path / "backup.zip"


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """By which way entries were unpacked."""
    taken = list[str]()
    for name in ("inflated_blocks", "_inflated"):

        def noted(*given: object, way: str = name, real: object = getattr(unpack, name)) -> object:
            taken.append(way)
            return real(*given)  # type: ignore[operator]

        monkeypatch.setattr(unpack, name, noted)
    return taken


def _written(path: Path, told: Lengths = lambda lengths: lengths) -> Path:
    """An archive of CONTENT whose sealed manifest was then made to tell of other lengths."""
    source = path.with_suffix(".source")
    source.write_bytes(CONTENT)
    with ArchiveWriter(path) as writer:
        proof = writer.add_file("shop.db", source, compressed=False, progress=SILENT)
        manifest = sealed(_manifest(proof), KEY)
        changed = proof.model_copy(update={"blocks": blocks_of(told(proof.block_lengths))})
        writer.add_manifest(manifest.model_copy(update={"entries": (changed,)}))
    source.unlink()
    return path


def _manifest(proof: EntryProof) -> Manifest:
    values = {**described("shop.db", CONTENT), "entries": [proof.model_dump()]}
    return Manifest.model_validate(values)


def _content(path: Path) -> bytes:
    archive, into = open_archive(path, entry_suffixes()), path.with_suffix(".out")
    assert is_sealed(archive.manifest, KEY)  # which does not cover a mere help in reading
    extract_entry(archive, into)
    content = into.read_bytes()
    into.unlink()
    return content


def test_blocks_are_unpacked_side_by_side(path: Path, ways: list[str]) -> None:
    assert _content(_written(path)) == CONTENT
    assert ways == ["inflated_blocks"]


@pytest.mark.parametrize(
    "told",
    [
        lambda _: [],
        lambda lengths: [*lengths[:-1], lengths[-1] + 1],
        lambda lengths: [lengths[0] + lengths[1], *lengths[2:]],
        lambda lengths: [*lengths, 0],
        lambda lengths: [*[0] * (len(lengths) - 1), sum(lengths)],  # too much for memory
    ],
)
def test_lengths_that_cannot_be_are_not_heeded(path: Path, ways: list[str], told: Lengths) -> None:
    assert _content(_written(path, told)) == CONTENT
    assert ways == ["_inflated"]


@pytest.mark.parametrize(
    "told",
    [
        lambda lengths: [lengths[0] - 1, lengths[1] + 1, *lengths[2:]],
        lambda lengths: [lengths[0] + 1, lengths[1] - 1, *lengths[2:]],
        lambda lengths: [*lengths[:-2], lengths[-2] + lengths[-1], 0],
        lambda lengths: [0, lengths[0], *lengths[2:-1], lengths[1] + lengths[-1]],
    ],
)
def test_wrong_lengths_make_an_archive_unreadable_and_nothing_else(
    path: Path, ways: list[str], told: Lengths
) -> None:
    with pytest.raises(BadArchive, match="damaged"):
        _content(_written(path, told))
    assert ways == ["inflated_blocks"]
    assert list(path.parent.iterdir()) == [path]


def test_a_zip_that_was_packed_anew_is_read(path: Path, ways: list[str]) -> None:
    with zipfile.ZipFile(_written(path)) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    assert _content(packed(path.with_name("anew.zip"), entries)) == CONTENT
    assert ways == ["_inflated"]


def _pieces_of(content: bytes) -> list[bytes]:
    with Digest() as digest:
        return list(deflated_blocks(io.BytesIO(content).readinto, digest))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 9])
def test_no_piece_is_larger_than_is_allowed(size: int) -> None:
    content = random.Random(size).randbytes(size)
    pieces = _pieces_of(content)
    assert len(pieces) == size // BLOCK + 1
    assert max(map(len, pieces)) <= MOST_PACKED
    assert zlib.decompress(b"".join(pieces), -15) == content


def test_memory_does_not_grow_with_the_blocks() -> None:
    (full, last) = _pieces_of(bytes(BLOCK))

    def peak(blocks: int) -> int:
        given: Iterator[bytes] = iter([*[full] * blocks, last])
        lengths = [*[len(full)] * blocks, len(last)]
        tracemalloc.start()
        total = sum(len(block) for block in inflated_blocks(lambda _: next(given), lengths))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == blocks * BLOCK
        return found

    assert peak(200) < peak(20) + 2 * BLOCK
    assert peak(200) < 30 * BLOCK


def test_a_join_that_other_programs_could_not_read_is_noticed() -> None:
    """Each bit of the end of a block is looked at, as it is where all is read as one stream."""
    content = random.Random(1).randbytes(BLOCK) + b"rest"
    first, rest = _pieces_of(content)
    told = [len(first), len(rest)]
    for bit in range(8 * 8):
        damaged = bytearray(first)
        damaged[-1 - bit // 8] ^= 1 << bit % 8
        pieces = iter([bytes(damaged), rest])
        try:
            read = b"".join(inflated_blocks(lambda _, given=pieces: next(given), told))
        except ERRORS:
            continue
        assert read == zlib.decompress(bytes(damaged) + rest, -15)


def test_a_block_that_unpacks_to_more_is_refused() -> None:
    whole = zlib.compressobj(1, zlib.DEFLATED, -15)
    first = whole.compress(bytes(1000 * BLOCK)) + whole.flush(zlib.Z_SYNC_FLUSH)
    pieces = iter([first, whole.flush()])
    with pytest.raises(zlib.error, match="block"):
        list(inflated_blocks(lambda _: next(pieces), [len(first), 2]))

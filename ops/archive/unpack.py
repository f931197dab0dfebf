"""Unpacking a checked archive's entry, whose content is hostile until its hash is compared.

The entry's own name is never used for a file.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from ops.archive.deflate import (
    BLOCK,
    ERRORS,
    MOST_PACKED,
    Digest,
    decompressor,
    inflated_blocks,
)
from ops.archive.reader import USE_ANOTHER, Archive, damaged
from ops.archive.writer import CHUNK
from ops.datafolder import disk_in_words
from ops.errors import BadArchive, PreflightRefused
from ops.progress import SILENT, Progress

_LOCAL_HEADER: Final = 30
_PACKED_AT_ONCE: Final = 256 << 10
_UNPACKED_AT_ONCE: Final = 512 << 10
"""Bytes; a larger limit costs a third more time, because all of it is set aside each time."""
_BROKEN: Final[tuple[type[Exception], ...]] = (
    zipfile.BadZipFile,
    EOFError,
    RuntimeError,
    *ERRORS,
)
"""What reading a damaged entry raises."""


def extract_entry(archive: Archive, into: Path, progress: Progress = SILENT) -> None:
    """Unpack the database into the new file `into`, checking size and hash on the way.

    Raises:
        BadArchive: damaged, or not what the manifest promises; `into` is removed.
        PreflightRefused: larger than the disk's free space.
        Cancelled, DiskFull: `into` is removed.
    """
    room = shutil.disk_usage(into.parent).free
    if archive.entry_size > room * 0.9:
        raise PreflightRefused(
            "Unpacking this backup needs more room than the disk has.",
            f"It unpacks to {archive.entry_size:,} bytes; {room:,} are free.",
        )
    try:
        with disk_in_words():
            _extract(archive, into, progress)
    except _BROKEN as cause:
        into.unlink(missing_ok=True)
        raise damaged(str(cause)) from None
    except BaseException:
        into.unlink(missing_ok=True)
        raise


def verify_entry(archive: Archive, progress: Progress = SILENT) -> None:
    """Read the whole entry and compare size and hash. Raises BadArchive."""
    try:
        _stream(archive, None, progress)
    except _BROKEN as cause:
        raise damaged(str(cause)) from None


def _extract(archive: Archive, into: Path, progress: Progress) -> None:
    # Buffered: a raw file writes less than it was given where the room ends, without an error.
    with into.open("xb") as file:
        _stream(archive, file.write, progress)


def _stream(archive: Archive, write: Callable[[bytes], object] | None, progress: Progress) -> None:
    """The one loop that reads an entry; the limit is on the streamed bytes.

    Unpacking, hashing and writing go on side by side.
    """
    limit = archive.entry_size
    with Digest() as digest:
        for chunk in _unpacked(archive):
            if digest.size + len(chunk) > limit:
                raise BadArchive(
                    "This backup is damaged: it unpacks to more than it declares.", USE_ANOTHER
                )
            digest.update(chunk)
            if write is not None:
                write(chunk)
            progress.report(digest.size, limit, "Checking and unpacking the backup")
        found = digest.proof(archive.entry)
    if (found.size, digest.crc) != (limit, archive.entry_crc):
        raise zipfile.BadZipFile(f"{archive.entry}: size or CRC-32 differ")
    proof = archive.proof
    if proof and found.promise != proof.promise:
        raise BadArchive(
            "This backup is damaged: its content is not what was saved (checksum differs).",
            USE_ANOTHER,
            detail=f"{archive.entry}: size {found.size}, sha256 {found.sha256}; "
            f"manifest: {proof.size}, {proof.sha256}",
        )


def _unpacked(archive: Archive) -> Iterator[bytes]:
    """The entry's content in chunks, none much larger than CHUNK."""
    with zipfile.ZipFile(archive.path) as file:
        info = file.getinfo(archive.entry)
        with file.open(info):
            pass  # the standard library compares the entry's own header with the directory
    with archive.path.open("rb", buffering=0) as raw:
        raw.seek(info.header_offset)
        name, extra = struct.unpack("<HH", raw.read(_LOCAL_HEADER)[26:])
        raw.seek(name + extra, os.SEEK_CUR)
        if info.compress_type == zipfile.ZIP_STORED:
            yield from _pieces(raw, info.compress_size)
        elif lengths := _block_lengths(archive, info.compress_size):
            yield from inflated_blocks(partial(_exactly, raw), lengths)
        else:
            yield from _inflated(_pieces(raw, info.compress_size))


def _block_lengths(archive: Archive, packed_size: int) -> list[int]:
    """Of the blocks in which the entry was written; empty where the manifest does not know them,
    or the ZIP was packed anew since."""
    proof = archive.proof
    lengths = proof.block_lengths if proof else []
    fits = (
        sum(lengths) == packed_size
        and len(lengths) == archive.entry_size // BLOCK + 1
        and max(lengths) <= MOST_PACKED
    )
    return lengths if fits else []


def _exactly(raw: io.FileIO, length: int) -> bytes:
    return b"".join(_pieces(raw, length))


def _pieces(raw: io.FileIO, left: int) -> Iterator[bytes]:
    """The next `left` bytes. Raises EOFError where the file ends before."""
    while left:
        try:
            piece = raw.read(min(left, CHUNK))
        except OSError as cause:
            if cause.errno != errno.EIO:
                raise
            raise damaged(f"the disk cannot read the file: {cause}") from cause
        if not piece:
            raise EOFError("the file ends in the middle of an entry")
        left -= len(piece)
        yield piece


def _inflated(packed: Iterator[bytes]) -> Iterator[bytes]:
    """A little at a time, whatever a small piece would unpack to."""
    inflate = decompressor()
    for piece in packed:
        view = memoryview(piece)
        for start in range(0, len(view), _PACKED_AT_ONCE):
            waiting: bytes | memoryview = view[start : start + _PACKED_AT_ONCE]
            while waiting:
                if inflate.eof:
                    raise zipfile.BadZipFile("something stands behind the compressed content")
                chunk: bytes = inflate.decompress(waiting, _UNPACKED_AT_ONCE)
                waiting = inflate.unused_data or inflate.unconsumed_tail
                if chunk:
                    yield chunk
    if tail := inflate.flush():
        yield tail
    if not inflate.eof:
        raise EOFError("the compressed content has no end")

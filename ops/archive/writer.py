"""Writing an archive: streamed, compressed on all cores, hashed beside it, in bounded memory.

The standard library writes the ZIP's records; only the content is compressed here.
"""

from __future__ import annotations

import stat
import zipfile
from array import array
from pathlib import Path
from typing import Final

from ops.archive.deflate import Digest, Read, deflated_blocks, stored_blocks
from ops.archive.manifest import MANIFEST_NAME, EntryProof, Manifest
from ops.progress import Progress

CHUNK: Final = 1 << 20


class ArchiveWriter:
    """A ZIP in the making. Only STORED and DEFLATE, which every unzip program reads."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "x", allowZip64=True)

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def add_file(
        self, name: str, source: Path, *, compressed: bool, progress: Progress
    ) -> EntryProof:
        """Add a file, as `add` does."""
        total = source.stat().st_size
        with source.open("rb", buffering=0) as stream:
            return self.add(name, stream.readinto, total, compressed=compressed, progress=progress)

    def add(
        self, name: str, read: Read, total: int, *, compressed: bool, progress: Progress
    ) -> EntryProof:
        """Add what `read` gives, about `total` bytes, as entry `name`; `compressed` content is
        stored, never deflated twice."""
        info = self._entry(name, zipfile.ZIP_STORED if compressed else zipfile.ZIP_DEFLATED)
        blocks = stored_blocks if compressed else deflated_blocks
        file = self._zip.fp
        assert file is not None
        info.header_offset, info.CRC = self._zip.start_dir, 0
        file.seek(info.header_offset)
        file.write(info.FileHeader(zip64=True))  # the sizes follow when they are known
        lengths = array("I")  # four bytes a block: a database may have a million
        with Digest() as digest:
            for block in blocks(read, digest):
                file.write(block)
                lengths.append(len(block))
                progress.report(digest.size, total, "Packing the ZIP")
            proof = digest.proof(name, () if compressed else lengths)
        info.compress_size = sum(lengths)
        self._close_entry(info, digest)
        return proof

    def _close_entry(self, info: zipfile.ZipInfo, digest: Digest) -> None:
        """Write the entry's header anew, and take it into the directory, as `zipfile` does."""
        file = self._zip.fp
        assert file is not None
        info.CRC, info.file_size = digest.crc, digest.size
        end = file.tell()
        file.seek(info.header_offset)
        file.write(info.FileHeader(zip64=True))
        file.seek(end)
        self._zip.start_dir = end
        self._zip.filelist.append(info)
        self._zip.NameToInfo[info.filename] = info

    def add_manifest(self, manifest: Manifest) -> None:
        """Add the manifest, last, because it holds the hashes of the rest."""
        self._zip.writestr(self._entry(MANIFEST_NAME, zipfile.ZIP_DEFLATED), manifest.to_json())

    @staticmethod
    def _entry(name: str, method: int) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(name)
        info.compress_type = method
        info.external_attr = (stat.S_IFREG | 0o600) << 16
        return info

"""Reading an archive, which is hostile until checked.

Python's zipfile notices a wrong checksum, a truncation, encryption and headers that
contradict each other. What it lets through is refused here: names, duplicates, links,
overlapping entries, anything before or behind the ZIP, endless directories and bombs.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.archive.manifest import MANIFEST_LIMIT, MANIFEST_NAME, EntryProof, Manifest, parse_manifest
from ops.errors import BadArchive, NotABackup

_IGNORED_IN_V1: Final = "config.json"
_MAX_ENTRIES: Final = 8
_MAX_DIRECTORY: Final = 1 << 20
_BOMB_RATIO: Final = 900
"""Deflate reaches 1,028:1 on zeros only; real databases stay far below."""
_BOMB_FLOOR: Final = 256 << 20
_TAIL: Final = 22 + 65535 + 20

USE_ANOTHER = (
    "Use another copy of the backup, or an older backup. A new backup would only hold the "
    "database as it is now."
)


@dataclass(frozen=True)
class Archive:
    """A checked archive. `entry` is the database's entry inside the ZIP."""

    path: Path
    manifest: Manifest
    entry: str
    entry_size: int
    entry_crc: int

    @property
    def proof(self) -> EntryProof | None:
        """Hash and size that the manifest promises for the entry."""
        return next((e for e in self.manifest.entries if e.name == self.entry), None)


def open_archive(path: Path, suffixes: Mapping[str, str]) -> Archive:
    """Check a ZIP's structure and manifest without unpacking the database.

    `suffixes` says how the name of the database's entry ends, for each backend.

    Raises:
        BadArchive: with the reason.
    """
    try:
        _check_frame(path)
        with zipfile.ZipFile(path) as file:
            entry = _check_entries(file, tuple(suffixes.values()))
            with file.open(MANIFEST_NAME) as stream:
                text = stream.read(MANIFEST_LIMIT + 1)
            if len(text) > MANIFEST_LIMIT:
                raise BadArchive("This backup's description is impossibly large.", USE_ANOTHER)
            manifest = parse_manifest(text)
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError) as cause:
        raise damaged(str(cause)) from None
    except (RuntimeError, ValueError) as cause:
        raise damaged(str(cause)) from None
    except OSError as cause:
        raise BadArchive(
            "The backup file cannot be read.", USE_ANOTHER, detail=str(cause)
        ) from None
    archive = Archive(path, manifest, entry.filename, entry.file_size, entry.CRC)
    _check_agreement(archive, suffixes)
    return archive


def _check_frame(path: Path) -> None:
    """The file is a ZIP from its first to its last byte, with a small directory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise NotABackup(
                "This file is not a ZIP made by a backup.",
                "Choose a ZIP that was downloaded from the Backups page.",
            )
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise BadArchive(
            "This backup is incomplete: its end is missing.",
            "Upload or download it again; the transfer was cut off.",
        )
    count, directory, _, comment = struct.unpack("<HIIH", tail[at + 10 : at + 22])
    if at + 22 + comment != len(tail):
        raise BadArchive("This file has something attached behind the backup.", USE_ANOTHER)
    if tail[at - 20 : at - 16] == b"PK\x06\x07":
        place = size - len(tail) + at - 20  # of the locator; the record stands right before
        count, directory = _read_zip64(path, tail[at - 20 : at], place, count, directory)
    if count > _MAX_ENTRIES or directory > _MAX_DIRECTORY:
        raise BadArchive(
            "This ZIP holds more files than a backup does.",
            "Choose a ZIP that was downloaded from the Backups page.",
        )


def _read_zip64(
    path: Path, locator: bytes, place: int, count: int, directory: int
) -> tuple[int, int]:
    """Entries and directory size of a ZIP over 4 GB, where the short record cannot hold them.

    Python reads the record right before the locator, so it must stand just there.
    """
    told = struct.unpack("<Q", locator[8:16])[0]
    if told != place - 56:
        raise zipfile.BadZipFile("zip64 record is not where it should be")
    with path.open("rb") as file:
        file.seek(told)
        record = file.read(56)
    if record[:4] != b"PK\x06\x06" or len(record) < 56:
        raise zipfile.BadZipFile("zip64 record missing")
    long_count, long_directory = struct.unpack("<QQ", record[32:48])
    return max(count % 0xFFFF, long_count), max(directory % 0xFFFFFFFF, long_directory)


def _check_entries(file: zipfile.ZipFile, suffixes: tuple[str, ...]) -> zipfile.ZipInfo:
    """Exactly the entries of the contract; returns the database's."""
    infos = file.infolist()
    folded = [info.filename.casefold() for info in infos]
    if len(set(folded)) != len(folded):
        raise BadArchive("This ZIP holds two files of the same name.", USE_ANOTHER)
    for info in infos:
        _check_entry(info)
    _check_layout(infos, file.start_dir)
    databases = [i for i in infos if i.filename.endswith(suffixes)]
    others = {i.filename for i in infos if i not in databases}
    if MANIFEST_NAME not in others:
        raise NotABackup(
            "This ZIP is not a backup: it has no description (manifest.json).",
            "Choose a ZIP that was downloaded from the Backups page.",
        )
    if len(databases) != 1 or others - {MANIFEST_NAME, _IGNORED_IN_V1}:
        raise NotABackup(
            "This ZIP does not hold exactly one database and its description.",
            "Choose a ZIP that was downloaded from the Backups page.",
            detail=f"entries: {sorted(i.filename for i in infos)!r}"[:500],
        )
    return databases[0]


def _check_entry(info: zipfile.ZipInfo) -> None:
    name, mode = info.filename, info.external_attr >> 16
    harmless = name.isprintable() and len(name) <= 200 and not name.startswith((".", " "))
    if not harmless or any(sign in name for sign in "/\\:\0") or info.orig_filename != name:
        raise BadArchive("This ZIP holds a file whose name is a path.", detail=repr(name)[:300])
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise BadArchive("This ZIP holds a link or a folder instead of a file.", USE_ANOTHER)
    if info.flag_bits & 0x1:
        raise BadArchive(
            "This ZIP is protected by a password.", "Choose the ZIP as it was downloaded."
        )
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadArchive(
            "This ZIP is packed in a way that backups are not.",
            "Choose the ZIP as it was downloaded, not packed anew.",
            detail=f"compression method {info.compress_type}",
        )
    if info.filename == MANIFEST_NAME and info.file_size > MANIFEST_LIMIT:
        raise BadArchive("This backup's description is impossibly large.", USE_ANOTHER)
    if info.file_size > _BOMB_FLOOR and info.file_size > info.compress_size * _BOMB_RATIO:
        raise BadArchive(
            "This ZIP unpacks to far more than a database of its size could (a “ZIP bomb”).",
            detail=f"{info.compress_size} bytes declare {info.file_size}",
        )


def _check_layout(infos: list[zipfile.ZipInfo], directory_at: int) -> None:
    """Entries stand one behind the other, from byte 0 to the directory."""
    ends = 0
    for info in sorted(infos, key=lambda i: i.header_offset):
        if info.header_offset < ends or (ends == 0 and info.header_offset != 0):
            raise BadArchive("This ZIP's parts overlap or hide something.", USE_ANOTHER)
        ends = info.header_offset + 30 + len(info.filename.encode()) + info.compress_size
    if ends > directory_at:
        raise BadArchive("This ZIP's parts overlap or hide something.", USE_ANOTHER)


def _check_agreement(archive: Archive, suffixes: Mapping[str, str]) -> None:
    """The entry's name and the manifest must tell of the same kind of database."""
    suffix = suffixes.get(archive.manifest.db_backend)
    if suffix is None or not archive.entry.endswith(suffix):
        raise BadArchive(
            "This backup contradicts itself: its description and its content "
            "are of different kinds of database.",
            USE_ANOTHER,
            detail=f"entry {archive.entry!r}, db_backend {archive.manifest.db_backend!r}",
        )
    if archive.manifest.entries and archive.proof is None:
        raise BadArchive(
            "This backup contradicts itself: its description does not know its content.",
            USE_ANOTHER,
        )
    if archive.proof is not None and archive.proof.size != archive.entry_size:
        raise BadArchive(
            "This backup is damaged: its content has not the size that was saved.",
            USE_ANOTHER,
            detail=f"{archive.entry_size} bytes; manifest: {archive.proof.size}",
        )


def damaged(detail: str) -> BadArchive:
    """The error for an archive that cannot be read; `detail` is the technical cause."""
    return BadArchive("This backup is damaged and cannot be read.", USE_ANOTHER, detail=detail)

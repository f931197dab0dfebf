"""ZIPs that an attacker, a broken disk or a careless tool would make of a good archive."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from typing import Any

from tests.archives import described

Mangle = Callable[[bytes], bytes]

_EOCD = b"PK\x05\x06"


def entry_with_manifest(manifest: bytes | dict[str, Any], name: str = "shop.db") -> bytes:
    """A ZIP with one database; a manifest given as a dict completes or changes a good one."""
    content = b"content"
    if isinstance(manifest, dict):
        manifest = json.dumps({**described(name, content), **manifest}).encode()
    return _zip((name, content), ("manifest.json", manifest))


def _zip(
    *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in entries:
            file.writestr(name, content)
    return buffer.getvalue()


def _good_manifest(name: str = "shop.db", content: bytes = b"content") -> tuple[str, bytes]:
    return "manifest.json", json.dumps(described(name, content)).encode()


def _named(name: str, mode: int = 0) -> Mangle:
    """A database under this name, or of this kind of file."""

    def mangle(_good: bytes) -> bytes:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        return _zip((info, b"content"), _good_manifest(name))

    return mangle


def _with_nul(_good: bytes) -> bytes:
    made = entry_with_manifest({}, "shopX.db")
    return made.replace(b"shopX.db", b"shop\0.db")


def _also(*more: tuple[str, bytes]) -> Mangle:
    """A good archive with more in it."""

    def mangle(_good: bytes) -> bytes:
        entries = {"shop.db": b"content"}
        return _zip(*entries.items(), _good_manifest(), *more)

    return mangle


def _packed_by(method: int) -> Mangle:
    return lambda _good: _zip(("shop.db", b"content"), _good_manifest(), method=method)


def _in_both_headers(local: int, central: int, value: bytes) -> Mangle:
    """Overwrite a field of the first entry in its own header and in the directory."""

    def mangle(good: bytes) -> bytes:
        data, directory = bytearray(good), _directory(good)
        data[local : local + len(value)] = value
        data[directory + central : directory + central + len(value)] = value
        return bytes(data)

    return mangle


def _in_end(at: int, value: bytes) -> Mangle:
    """Overwrite a field of the record at the end."""

    def mangle(good: bytes) -> bytes:
        place = good.rindex(_EOCD) + at
        return good[:place] + value + good[place + len(value) :]

    return mangle


def _directory(data: bytes) -> int:
    return int(struct.unpack("<I", data[data.rindex(_EOCD) + 16 :][:4])[0])


def _end(count: int, size: int, offset: int) -> bytes:
    return struct.pack("<4s4H2LH", _EOCD, 0, 0, count & 0xFFFF, count & 0xFFFF, size, offset, 0)


def _many_entries(good: bytes, many: int = 65_000) -> bytes:
    """A directory with 65,000 names for one and the same place."""
    start = _directory(good)
    first = good[start : start + 46 + 7]
    entries = b"".join(first[:46] + b"%07d" % number for number in range(many))
    entries = entries.replace(first[28:32], struct.pack("<HH", 7, 0), 1)
    return good[:start] + entries + _end(many, len(entries), start)


def _twice_in_the_directory(good: bytes) -> bytes:
    """Two names of the same length that share one place in the file."""
    start, end = _directory(good), good.rindex(_EOCD)
    entries = good[start:end]
    length = 46 + sum(struct.unpack("<HHH", entries[28:34]))
    entries += entries[:length].replace(b"shop.db", b"alias.x")
    return good[:start] + entries + _end(3, len(entries), start)


def _zip64(offset: int, record: bytes = b"") -> Mangle:
    """The records of a huge ZIP, pointing where nothing good is."""

    def mangle(good: bytes) -> bytes:
        end = good.rindex(_EOCD)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, offset or end, 1)
        return good[:end] + record + locator + good[end:]

    return mangle


def _zip64_record(count: int, size: int, offset: int) -> bytes:
    return struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)


def _bomb(_good: bytes) -> bytes:
    """300 MB of nothing in 300 KB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("shop.db", "w") as stream:
            for _ in range(300):
                stream.write(bytes(1 << 20))
        file.writestr(*_good_manifest())
    return buffer.getvalue()


HOSTILE: dict[str, Mangle] = {
    "empty file": lambda _: b"",
    "not a zip": lambda _: b"SQLite format 3\0" + bytes(4000),
    "empty zip": lambda _: _zip(),
    "path up": _named("../shop.db"),
    "path down": _named("a/shop.db"),
    "absolute path": _named("/shop.db"),
    "drive": _named("C:shop.db"),
    "backslash": _named("..\\shop.db"),
    "NUL in name": _with_nul,
    "line end in name": _named("a\nb.db"),
    "hidden name": _named(".shop.db"),
    "long name": _named("x" * 300 + ".db"),
    "name is only a suffix": _named(".db"),
    "link": _named("shop.db", stat.S_IFLNK | 0o777),
    "folder": _named("shop.db", stat.S_IFDIR | 0o755),
    "device": _named("shop.db", stat.S_IFBLK | 0o600),
    "folder by name": _also(("folder/", b"")),
    "same name by case": _also(("SHOP.DB", b"x")),
    "two manifests": _also(("Manifest.json", b"{}")),
    "two databases": _also(("other.db", b"x")),
    "databases of two kinds": _also(("other.pgdump", b"x")),
    "extra entry": _also(("readme.txt", b"x")),
    "no manifest": lambda _: _zip(("shop.db", b"x")),
    "no database": lambda _: _zip(_good_manifest()),
    "kind contradicts": lambda _: _zip(("shop.pgdump", b"x"), _good_manifest()),
    "unknown entry in the manifest": lambda _: _zip(("b.db", b"content"), _good_manifest()),
    "other content than promised": lambda _: _zip(("shop.db", b"Content"), _good_manifest()),
    "less content than promised": lambda _: _zip(("shop.db", b"conten"), _good_manifest()),
    "bzip2": _packed_by(zipfile.ZIP_BZIP2),
    "lzma": _packed_by(zipfile.ZIP_LZMA),
    "zstd": _in_both_headers(8, 10, struct.pack("<H", 93)),
    "unknown method": _in_both_headers(8, 10, struct.pack("<H", 99)),
    "encrypted": _in_both_headers(6, 8, b"\1"),
    "bomb": _bomb,
    "smaller than declared": _in_both_headers(22, 24, struct.pack("<I", 1 << 20)),
    "larger than declared": _in_both_headers(22, 24, struct.pack("<I", 10)),
    "declares more than any disk has": _in_both_headers(22, 24, struct.pack("<I", 0xFFFFFFF0)),
    "wrong checksum": _in_both_headers(14, 16, b"\1\2\3\4"),
    "name differs in the directory": lambda good: good.replace(b"shop.db", b"ship.db", 1),
    "overlapping entries": _twice_in_the_directory,
    "prefix": lambda good: b"#!/bin/sh\nrm -rf /\n" + good,
    "a zip before the zip": lambda good: good + good,
    "short trailer": lambda good: good + b"junk" * 25,
    "long trailer": lambda good: good + b"junk" * 20_000,
    "comment that hides an end": lambda good: (
        _in_end(20, struct.pack("<H", 40))(good) + _EOCD + bytes(36)
    ),
    "65,000 entries": _many_entries,
    "65,000 entries that say they are two": lambda good: _in_end(8, b"\2\0\2\0")(
        _many_entries(good)
    ),
    "says it has 60,000 entries": _in_end(8, struct.pack("<HH", 60_000, 60_000)),
    "directory beyond the file": _in_end(16, b"\xff\xff\xff\x7f"),
    "directory larger than the file": _in_end(12, b"\xff\xff\x0f\0"),
    "zip64 record at the end of the world": _zip64((1 << 64) - 1),
    "zip64 record beyond the file": _zip64(1 << 40),
    "zip64 record missing": _zip64(0),
    "zip64 with 2^63 entries": _zip64(0, _zip64_record(1 << 63, 100, 0)),
    "zip64 with an endless directory": _zip64(0, _zip64_record(2, (1 << 63) - 1, 0)),
    "zip64 directory before the file": _zip64(0, _zip64_record(2, 120, (1 << 64) - 1)),
}

MANIFESTS: dict[str, bytes | dict[str, Any]] = {
    "nothing": b"",
    "not JSON": b"hello",
    "not UTF-8": b'{"label": "\xff"}',
    "BOM": "\ufeff{}".encode(),
    "a list": b"[]",
    "a number": b"7",
    "key twice": b'{"db_backend": "sqlite", "db_backend": "postgresql"}',
    "NaN": b'{"contents": NaN}',
    "Infinity": b'{"contents": -Infinity}',
    "100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "contents 500 deep": {"contents": json.loads("[" * 500 + "]" * 500)},
    "half a character in the label": {"label": "\udfff"},
    "number of 5,000 digits": b'{"schema_version": ' + b"9" * 5000 + b"}",
    "rows of 4,000 digits": {"tables": [{"name": "a", "rows": 10**4000}]},
    "size of 300 digits": {"entries": [{"name": "shop.db", "size": 10**300, "sha256": "0" * 64}]},
    "negative rows": {"tables": [{"name": "a", "rows": -1}]},
    "broken rows": {"tables": [{"name": "a", "rows": 1.5}]},
    "table twice": {"tables": [{"name": "a", "rows": 1}, {"name": "a", "rows": 2}]},
    "newer": {"schema_version": 3},
    "newer, written as text": {"schema_version": "3"},
    "version 0": {"schema_version": 0},
    "negative version": {"schema_version": -2},
    "unknown kind": {"db_backend": "oracle"},
    "long label": {"label": "x" * 201},
    "hash that is none": {"entries": [{"name": "shop.db", "size": 7, "sha256": "x" * 64}]},
    "other size than the entry's": {
        "entries": [{"name": "shop.db", "size": 8, "sha256": "0" * 64}]
    },
    "impossible date": {"created_at": "2026-02-31T00:00:00Z"},
    "no date": {"created_at": None},
    "no kind": {"db_backend": None},
    "no database": {"database": None},
    "no entries": {"entries": []},
    "no tables": {"tables": None},
    "too large": b'{"label": "' + b"x" * (17 << 20) + b'"}',
}

_REASONS: dict[str, tuple[str, ...]] = {
    "not a ZIP made by a backup": ("empty file", "not a zip", "empty zip", "prefix"),
    "a file whose name is a path": (
        *("path up", "path down", "absolute path", "drive", "backslash", "NUL in name"),
        *("line end in name", "hidden name", "long name", "name is only a suffix"),
        "folder by name",
    ),
    "a link or a folder instead of a file": ("link", "folder", "device"),
    "two files of the same name": ("same name by case", "two manifests"),
    "does not hold exactly one database": (
        *("two databases", "databases of two kinds", "extra entry", "no database"),
    ),
    "has no description": ("no manifest",),
    "contradicts itself": ("kind contradicts", "unknown entry in the manifest"),
    "content is not what was saved": ("other content than promised",),
    "has not the size that was saved": (
        *("less content than promised", "smaller than declared", "larger than declared"),
    ),
    "packed in a way that backups are not": ("bzip2", "lzma", "zstd", "unknown method"),
    "protected by a password": ("encrypted",),
    "unpacks to far more": ("bomb", "declares more than any disk has"),
    "damaged and cannot be read": (
        *("wrong checksum", "name differs in the directory", "directory larger than the file"),
        *("zip64 record at the end of the world", "zip64 record beyond the file"),
        *("zip64 record missing", "zip64 directory before the file"),
    ),
    "overlap or hide something": (
        *("overlapping entries", "a zip before the zip", "directory beyond the file"),
    ),
    "something attached behind": ("short trailer", "comment that hides an end"),
    "its end is missing": ("long trailer",),
    "more files than a backup does": (
        *("65,000 entries", "65,000 entries that say they are two", "says it has 60,000 entries"),
        *("zip64 with 2^63 entries", "zip64 with an endless directory"),
    ),
}


def reason_of(name: str) -> str:
    """What the refusal of a hostile ZIP must say."""
    return next(reason for reason, names in _REASONS.items() if name in names)

"""SQLite databases that are broken at one place each (file format: sqlite.org/fileformat2)."""

from __future__ import annotations

import random
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

Broken = tuple[str, bytes, str]
"""What was broken, the whole file, and what the refusal must say."""

_REASON: Final = "The database inside this backup is damaged or not a SQLite database"

_HEADER: Final = {
    "no magic": (0, b"sqlite format 3\0"),
    "magic of SQLite 2": (0, b"** This file con"),
    "page size 0": (16, b"\0\0"),
    "page size 3": (16, b"\0\3"),
    "page size 512": (16, b"\2\0"),
    "page size 64 KiB": (16, b"\0\1"),
    "page size of no power of two": (16, b"\x0f\xff"),
    "read version of the future": (19, b"\x09"),
    "reserved space of 255 bytes": (20, b"\xff"),
    "reserved space of 8 bytes": (20, b"\x08"),
    "payload fraction": (21, b"\x41"),
    "leaf payload fraction": (23, b"\x10"),
    "more pages than the file has": (28, struct.pack(">I", 1 << 30)),
    "fewer pages than are used": (28, struct.pack(">I", 3)),
    "free list in a table": (32, struct.pack(">II", 2, 1)),
    "free list beyond the file": (32, struct.pack(">II", 1 << 30, 1)),
    "free list of its own head": (32, struct.pack(">II", 1, 1)),
    "count of a free list that is not there": (36, struct.pack(">I", 1 << 30)),
    "schema format of the future": (44, struct.pack(">I", 9)),
    "automatic vacuum without its maps": (52, struct.pack(">I", 3)),
}

_SCHEMA: Final = {
    "no SQL": "UPDATE sqlite_schema SET sql = 'CREATE TABLE (' WHERE name = 'bulk'",
    "SQL of something else": "UPDATE sqlite_schema SET sql = 'DROP TABLE tree' WHERE name = 'bulk'",
    "root page beyond the file": "UPDATE sqlite_schema SET rootpage = 1 << 30 WHERE name = 'bulk'",
    "negative root page": "UPDATE sqlite_schema SET rootpage = -2 WHERE name = 'bulk'",
    "root page of the schema": "UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'bulk'",
    "root page of another table": "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM "
    "sqlite_schema WHERE name = 'tree') WHERE name = 'bulk'",
    "root page of an index": "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM "
    "sqlite_schema WHERE name = 'orders_noted') WHERE name = 'bulk'",
    "index of a table that is not there": "UPDATE sqlite_schema SET tbl_name = 'x', sql = "
    "'CREATE INDEX orders_noted ON x(note)' WHERE name = 'orders_noted'",
    "one name twice": "INSERT INTO sqlite_schema SELECT * FROM sqlite_schema WHERE name = 'bulk'",
}


def broken(whole: bytes, work: Path, chance: random.Random) -> Iterator[Broken]:
    """Each way to break it, once."""
    found = [
        *((what, _over(whole, place, value)) for what, (place, value) in _HEADER.items()),
        *_cut(whole, chance),
        *_free_list_loop(whole, work),
        *_broken_pages(whole),
        *((what, _rewritten(whole, work, sql)) for what, sql in _SCHEMA.items()),
    ]
    for what, content in found:
        yield what, content, _REASON


def _over(whole: bytes, place: int, value: bytes) -> bytes:
    return whole[:place] + value + whole[place + len(value) :]


def _page_size(whole: bytes) -> int:
    return int(struct.unpack(">H", whole[16:18])[0])


def _cut(whole: bytes, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """It ends within the header, within a page, or between two."""
    size = _page_size(whole)
    pages = chance.sample(range(1, len(whole) // size), 8)
    places = [0, 16, 100, *(page * size for page in pages), *(page * size + 7 for page in pages)]
    for place in places:
        yield f"cut at {place}", whole[:place]


def _broken_pages(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """The heads of b-tree pages (1.6): their kind, where cells begin, how many there are."""
    size = _page_size(whole)
    heads = [at for at in range(size, len(whole), size) if whole[at] in (2, 5, 10, 13)]
    for head in heads[:10]:
        page = head // size + 1
        yield f"page {page} of no kind", _over(whole, head, b"\x07")
        yield f"page {page} with 65,535 cells", _over(whole, head + 3, b"\xff\xff")
        first = head + (12 if whole[head] in (2, 5) else 8)
        if struct.unpack(">H", whole[head + 3 : head + 5])[0]:
            yield f"page {page} with a cell in its head", _over(whole, first, b"\0\1")
    for head in [head for head in heads if whole[head] in (2, 5)][:4]:
        page = head // size + 1
        own = struct.pack(">I", page)
        yield f"page {page} below itself", _over(whole, head + 8, own)


def _free_list_loop(whole: bytes, work: Path) -> Iterator[tuple[str, bytes]]:
    """A list of free pages whose first page names itself as the next one."""
    made = _rewritten(whole, work, "CREATE TABLE gone AS SELECT * FROM bulk")
    freed = _rewritten(made, work, "DROP TABLE gone")
    first = struct.unpack(">I", freed[32:36])[0]
    at = (first - 1) * _page_size(freed)
    yield "free list without end", _over(freed, at, struct.pack(">I", first))
    yield "free list of too many leaves", _over(freed, at + 4, struct.pack(">I", 1 << 20))
    yield "free list with a used page", _over(freed, at + 8, struct.pack(">I", 2))


def _rewritten(whole: bytes, work: Path, statement: str) -> bytes:
    """What SQLite itself writes when it may write its schema."""
    path = work / "rewritten"
    path.write_bytes(whole)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(statement)
    return path.read_bytes()

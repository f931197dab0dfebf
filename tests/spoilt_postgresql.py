"""PostgreSQL dumps that cannot be brought back, or that bring back something else."""

from __future__ import annotations

import random
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.databases import PostgreSQLDatabase

Broken = tuple[str, bytes, str]
"""What was broken, the whole dump, and what the refusal must say."""

_TABLE: Final = 1
"""The first byte of a table's rows; large objects have another one."""

_TELLING_BITS: Final = (0, 1, 2, 3, 4, 6, 7)
"""The sixth makes a large letter of a small one, which as a hexadecimal digit is the same value."""

NO_DUMP: Final = "damaged or not a PostgreSQL dump"
REFUSED: Final = "could not be brought back: PostgreSQL refused a part of it"
OTHER_ROWS: Final = "does not hold what it promises"
CUT: Final = f"{NO_DUMP}|{REFUSED}"

_FUSSY: Final = """
CREATE FUNCTION fussy(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
  IF current_setting('fussy.is_calm', true) IS NULL THEN RAISE EXCEPTION 'not here'; END IF;
  RETURN n; END $$;
SET fussy.is_calm = 'yes';
CREATE TABLE plain (n int);
INSERT INTO plain SELECT generate_series(1, 20);
"""
"""A function that works where the dump is made, and nowhere else."""

_FAILING: Final = {
    "an index": "CREATE INDEX ON plain (fussy(n))",
    "a unique index": "CREATE UNIQUE INDEX ON plain (fussy(n))",
    "a partial index": "CREATE INDEX ON plain (n) WHERE fussy(n) > 3",
    "a rule of a table": "ALTER TABLE plain ADD CHECK (fussy(n) > 0)",
    "a rule of a domain": "CREATE DOMAIN calm AS int CHECK (fussy(VALUE) > 0);"
    "CREATE TABLE t (n calm); INSERT INTO t VALUES (1)",
    "a generated column": "CREATE TABLE t (n int, m int GENERATED ALWAYS AS (fussy(n)) STORED);"
    "INSERT INTO t VALUES (1)",
    "a row that tells of servers": "CREATE TABLE t (what text CHECK (fussy(1) > 0));"
    "INSERT INTO t VALUES ('server closed the connection unexpectedly')",
    "a materialised view": "CREATE MATERIALIZED VIEW v AS SELECT fussy(n) FROM plain",
    "an exclusion": "ALTER TABLE plain ADD EXCLUDE USING btree (fussy(n) WITH =)",
}

_TRUANT: Final = """
CREATE TABLE parent (n int PRIMARY KEY);
CREATE TABLE child (n int REFERENCES parent);
SET session_replication_role = replica;
INSERT INTO child VALUES (1)
"""
"""A key that points nowhere, as a superuser or a broken disk can leave it."""

_PARTS: Final = {
    "rows left out": ["--exclude-table-data=orders"],
    "a table left out": ["--exclude-table=nothing_here"],
    "definitions only": ["--schema-only"],
    "one schema": ["--schema=we ird"],
}

_FORMS: Final = {
    "a script": (["--format=plain"], NO_DUMP),
    "a tar": (["--format=tar"], CUT),
    "rows only": (["--data-only"], REFUSED),
}


def broken(live: PostgreSQLDatabase, dump: Path, chance: random.Random) -> Iterator[Broken]:
    """Each way to break the dump of a live database, once."""
    whole, blocks = dump.read_bytes(), _blocks(live, dump)
    yield from _cut(whole, blocks)
    yield from _flipped(whole, blocks, chance)
    for version in ((1, 99, 0), (2, 0, 0), (255, 255, 255), (1, 0, 0)):
        name = ".".join(map(str, version))
        yield f"a dump of format {name}", b"PGDMP" + bytes(version) + whole[8:], NO_DUMP
    yield "no magic", b"PGDMQ" + whole[5:], NO_DUMP
    yield "text", b"hello\n" * 1000, NO_DUMP
    yield "zeros", bytes(4000), NO_DUMP
    for what, (options, reason) in _FORMS.items():
        yield f"a dump as {what}", _dumped(live, *options), reason
    for what, options in _PARTS.items():
        yield f"a dump with {what}", _dumped(live, *options), OTHER_ROWS
    yield from _failing(live)


def _blocks(live: PostgreSQLDatabase, dump: Path) -> list[int]:
    """Where the rows of each table begin: a byte for the kind, then the entry's number."""
    command = [live.cluster.bin / "pg_restore", "--list", dump]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    whole = dump.read_bytes()
    numbers = re.findall(r"^(\d+); \d+ \d+ (?:TABLE DATA|BLOBS)", listed, re.MULTILINE)
    found = [
        whole.find(kind + b"\0" + struct.pack("<i", int(number)))
        for number in numbers
        for kind in (bytes([_TABLE]), b"\3")
    ]
    return sorted(place for place in found if place > 0)


def _cut(whole: bytes, blocks: list[int]) -> Iterator[Broken]:
    """It ends in the header, in the list of contents, or at each table's rows."""
    places = {0, 4, 5, 8, 11, 40, blocks[0] // 2, *blocks, *(block + 6 for block in blocks)}
    places |= {block + 11 for block in blocks} | {len(whole) - 1, len(whole) - 9}
    for place in sorted(places):
        yield f"cut at {place}", whole[:place], CUT


def _flipped(whole: bytes, blocks: list[int], chance: random.Random) -> Iterator[Broken]:
    """One bit of the rows of the largest table is another one; checksums are of tables alone."""
    ends = [*blocks[1:], len(whole)]
    tables = [block for block in zip(blocks, ends, strict=True) if whole[block[0]] == _TABLE]
    start, end = max(tables, key=lambda block: block[1] - block[0])
    for _ in range(15):
        content, place = bytearray(whole), chance.randrange(start + 20, end - 20)
        content[place] ^= 1 << chance.choice(_TELLING_BITS)
        yield f"bit flipped at {place}", bytes(content), f"{CUT}|{OTHER_ROWS}"


def _failing(live: PostgreSQLDatabase) -> Iterator[Broken]:
    """Dumps with a statement in them that fails."""
    for what, script in _FAILING.items():
        yield f"an error in {what}", _dump_of(live, _FUSSY + script), REFUSED
    yield "an error in a foreign key", _dump_of(live, _TRUANT, by_superuser=True), REFUSED


def _dump_of(live: PostgreSQLDatabase, script: str, *, by_superuser: bool = False) -> bytes:
    other = type(live)(live.cluster)
    try:
        if by_superuser:
            other.as_superuser(script)
        else:
            other.run(script)
        return _dumped(other)
    finally:
        other.close()


def _dumped(live: PostgreSQLDatabase, *options: str) -> bytes:
    """What pg_dump writes, by the superuser, who may read all."""
    command = [live.cluster.bin / "pg_dump", "--format=custom", *options]
    env = {**live.environment(), "PGUSER": "postgres", "PGPASSWORD": live.cluster.password}
    return subprocess.run(command, env=env, capture_output=True, check=True).stdout

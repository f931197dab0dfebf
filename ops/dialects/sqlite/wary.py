"""Looking into a SQLite file that may be hostile. A program of its own, standard library only.

`python -I wary.py VERB FILE …` prints one JSON object; `rows FILE` answers requests about rows
until its input ends. A file from outside can hold views that never end and structures that make
SQLite read for hours; here it runs into a memory limit, a CPU limit and a deadline instead of
holding up the console.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

DEADLINE_SECONDS: Final = 1800
_SLOWEST_READ: Final = 10 << 20
"""Bytes a second; a honest file of any size is read within its limits."""
_MEMORY_BYTES: Final = 1 << 30
_LARGEST_VALUE: Final = 1_000_000_000
"""Bytes (SQLITE_MAX_LENGTH); hashing a value holds it a few times over."""
_FROZEN: Final = "mode=ro&immutable=1"
"""For a file that nobody writes: no locks, no side files."""
_STEPS_BETWEEN_LOOKS: Final = 100_000
_BLOCK_BYTES: Final = 4096
COPIED_LIMIT: Final = 128 << 20
"""Bytes of a database in use that may be copied into memory for a look: a tenth of a second."""

TABLES: Final = """
SELECT name FROM sqlite_schema
WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
ORDER BY name
"""
"""Real tables only: a view could be made to run for ever, and a virtual table, which has no
root page, runs code. Listing tables by pragma_table_list would open every view."""


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def deadline_seconds(path: Path) -> int:
    """How long anything may take that reads the whole file."""
    return DEADLINE_SECONDS + path.stat().st_size // _SLOWEST_READ


def count_tables(
    connection: sqlite3.Connection, *, checksums: bool = False
) -> Iterator[tuple[str, int, str | None]]:
    """Name, exact rows and where asked for the checksum of every real table, by name."""
    for (name,) in connection.execute(TABLES).fetchall():
        if checksums:
            yield name, *checksum_rows(connection, name)
        else:
            yield name, count_rows(connection, name), None


def count_rows(connection: sqlite3.Connection, name: str) -> int:
    """Exact rows of one table."""
    query = f"SELECT count(*) FROM {quoted(name)}"  # nosec B608: a name cannot be a parameter
    return int(connection.execute(query).fetchone()[0])


def checksum_rows(connection: sqlite3.Connection, name: str) -> tuple[int, str]:
    """Rows of one table, and a SHA-256 over their values with their types, as they are stored.

    Row numbers that no column declares are not content: VACUUM gives others. Neither are
    generated columns, which are computed from the rest. Rows come in the order of the table's
    own tree (NOT INDEXED), which a backup, a restore and VACUUM keep.
    """
    digest, rows, as_text = hashlib.sha256(), 0, connection.text_factory
    connection.text_factory = bytearray  # a text need not be valid, and is no blob
    try:
        for row in connection.execute(_all_rows(connection, name)):
            digest.update(b"".join([_WRITTEN[type(value)](value) for value in row]))
            rows += 1
    finally:
        connection.text_factory = as_text
    return rows, f"sha256:{digest.hexdigest()}"


def _all_rows(connection: sqlite3.Connection, table: str) -> str:
    """The query for all rows of a table, without generated columns. Where a column has a name
    that is not valid text, by which it cannot be asked for, all columns get other names."""
    query = "SELECT name, hidden FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid"
    columns = connection.execute(query, (table,)).fetchall()
    source = f"FROM {quoted(table)} NOT INDEXED"
    try:
        names = ", ".join(quoted(name.decode()) for name, hidden in columns if not hidden)
        return f"SELECT {names} {source}"  # nosec B608: a name cannot be a parameter
    except UnicodeDecodeError:
        names = ", ".join(f"c{number}" for number in range(len(columns)))
        other = quoted(f"_{table}")
        return f"WITH {other}({names}) AS (SELECT * {source}) SELECT {names} FROM {other}"  # nosec B608


def _with_length(kind: bytes, value: bytes) -> bytes:
    return b"%b%d:%b" % (kind, len(value), value)


_WRITTEN: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"n",
    int: b"i%d;".__mod__,
    float: partial(struct.Struct(">cd").pack, b"r"),
    bytearray: partial(_with_length, b"t"),
    bytes: partial(_with_length, b"b"),
}
"""How a value goes into a checksum: a letter for its storage class, then the value itself, so
that no two different rows are written alike."""


def _limit_resources(path: Path) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the deadline still holds.
        return
    seconds = deadline_seconds(path)
    memory = _MEMORY_BYTES + 4 * min(path.stat().st_size, _LARGEST_VALUE)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _open_wary(path: Path, flags: str = _FROZEN) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?{flags}", uri=True, isolation_level=None)
    ends = time.monotonic() + deadline_seconds(path)
    connection.set_progress_handler(lambda: time.monotonic() > ends, _STEPS_BETWEEN_LOOKS)
    for setting in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def look_at_own(connection: sqlite3.Connection, most: int = 5) -> list[str]:
    """SQLite's own check of a database that nobody else uses: `["ok"]`, or `most` problems.

    SQLite leaves the list of free pages out of its check where a view comes first among its
    names (seen in 3.40), and a wrong one makes the next writer overwrite tables. So views are
    taken away for the check, in a transaction that is never committed. The tables' own rules
    are left out of it: one could run for ever, and a row that breaks one is no damage.
    """
    connection.execute("PRAGMA ignore_check_constraints=ON")
    connection.execute("BEGIN")
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute("DELETE FROM sqlite_schema WHERE type = 'view'")
    connection.execute("PRAGMA writable_schema=RESET")
    found = [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({most})")]
    connection.execute("ROLLBACK")
    return found


def look_at_live(connection: sqlite3.Connection, most: int = 5) -> list[str]:
    """The same of a database in use, which is only read: where it has views, on a copy in
    memory. One that is too large for that is checked as SQLite does it."""
    views = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'view')"
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    size = pages * connection.execute("PRAGMA page_size").fetchone()[0]
    if connection.execute(views).fetchone()[0] and size <= COPIED_LIMIT:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
            connection.backup(copy)
            return look_at_own(copy, most)
    connection.execute("PRAGMA ignore_check_constraints=ON")
    return [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({most})")]


def _check(path: Path) -> dict[str, Any]:
    """The page size of a sound file, which is a copy of our own and nobody else's."""
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\x00":
            return {"problem": "the file does not begin like a SQLite database"}
    with closing(_open_wary(path, "mode=rw")) as connection:
        found = look_at_own(connection)
        if found != ["ok"]:
            return {"problem": "; ".join(found)}
        return {"page_size": connection.execute("PRAGMA page_size").fetchone()[0]}


def _count(path: Path) -> dict[str, Any]:
    with closing(_open_wary(path)) as connection:
        return {"tables": list(count_tables(connection))}


def _checksums(path: Path) -> dict[str, Any]:
    with closing(_open_wary(path)) as connection:
        return {"tables": list(count_tables(connection, checksums=True))}


def _resize(path: Path, page_size: str) -> dict[str, Any]:
    """Rewrite the file with another page size. A mere VACUUM would number rows anew, and what
    knows them by their numbers, such as a search, would find others."""
    rewritten = path.with_name(path.name + ".resized")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute(f"PRAGMA page_size={int(page_size)}")
        connection.execute("VACUUM INTO ?", (str(rewritten),))
    rewritten.replace(path)
    return {}


def _blocks(path: Path, before: str, after: str) -> dict[str, Any]:
    """Where two files differ: how many blocks of a third are as in the one, as in the other, and
    as in neither. The first block is left out, for every commit changes counters in it."""
    found = {"before": 0, "after": 0, "neither": 0}
    size = max(Path(file).stat().st_size for file in (path, before, after))
    with path.open("rb") as live, open(before, "rb") as former, open(after, "rb") as latter:
        for number in range(size // _BLOCK_BYTES + 1):
            mine, one, other = (file.read(_BLOCK_BYTES) for file in (live, former, latter))
            if number and one != other:
                found["before" if mine == one else "after" if mine == other else "neither"] += 1
    return found


ROW: Final = struct.Struct("<cqq")
"""One answer about rows: `r` with the hashes of key and row, or `e` at the end of a table."""


def _rows(path: Path, state: str) -> None:
    """Answer each line of stdin: the shapes of all tables as a line of JSON, or the rows of
    one table as `ROW` records in ascending order."""
    with closing(_open_wary(path, "mode=ro" if state == "live" else _FROZEN)) as connection:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            connection.execute("BEGIN")  # one moment for all; it keeps nobody from writing
        for line in sys.stdin:
            asked = json.loads(line)
            if asked is None:
                print(json.dumps(shapes(connection)), flush=True)
            else:
                _send_rows(connection, sys.stdout.buffer, **asked)


def shapes(connection: sqlite3.Connection, *, to_show: bool = False) -> dict[str, Any]:
    """For every real table its columns with their types, and its primary key.

    A column's name that is not valid text cannot be asked for. `to_show` writes it with signs in
    place of what is none; else it is an error.
    """
    tables = [row[0] for row in connection.execute(TABLES).fetchall()]
    found, as_text = {}, connection.text_factory
    connection.text_factory = _readable if to_show else str
    for table in tables:
        told = connection.execute("SELECT name, type, pk FROM pragma_table_xinfo(?)", (table,))
        columns = told.fetchall()
        key = sorted((place, column) for column, _, place in columns if place)
        found[table] = {
            "columns": {column: kind for column, kind, _ in columns},
            "key": [column for _, column in key],
        }
    connection.text_factory = as_text
    return found


def _readable(name: bytes) -> str:
    return name.decode(errors="replace")


def _send_rows(
    connection: sqlite3.Connection, into: BinaryIO, table: str, key: list[str], columns: list[str]
) -> None:
    """Sorted in a database of its own on disk: a table may be larger than memory."""
    names = ", ".join(quoted(column) for column in [*key, *columns]) or "1"
    query = f"SELECT {names} FROM {quoted(table)}"  # nosec B608: a name cannot be a parameter
    with closing(sqlite3.connect("", isolation_level=None)) as sorting:
        sorting.execute("CREATE TABLE marks (key INTEGER, row INTEGER)")
        sorting.execute("BEGIN")
        connection.text_factory = bytearray  # a text need not be valid, and is no blob
        rows = connection.execute(query)
        sorting.executemany("INSERT INTO marks VALUES (?, ?)", _marks(rows, len(key)))
        for row_key, row in sorting.execute("SELECT key, row FROM marks ORDER BY 1, 2"):
            into.write(ROW.pack(b"r", row_key, row))
    into.write(ROW.pack(b"e", 0, 0))
    into.flush()


def _marks(rows: Iterator[tuple[Any, ...]], key: int) -> Iterator[tuple[int, int]]:
    for row in rows:
        yield _mark(row[:key]), _mark(row[key:])


def _mark(values: tuple[Any, ...]) -> int:
    digest = hashlib.blake2b(repr(values).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def main(arguments: list[str]) -> int:
    """The process's entry: verb, file, further arguments."""
    verb, path, *rest = arguments
    verbs = {
        "check": _check,
        "count": _count,
        "checksums": _checksums,
        "resize": _resize,
        "blocks": _blocks,
    }
    try:
        _limit_resources(Path(path))
        if verb == "rows":
            _rows(Path(path), *rest)
            return 0
        print(json.dumps(verbs[verb](Path(path), *rest)))  # type: ignore[operator]
    except (sqlite3.Error, MemoryError, OSError) as cause:
        code = sqlite3.SQLITE_IOERR if isinstance(cause, OSError) else 0
        code = getattr(cause, "sqlite_errorcode", None) or code
        told = json.dumps({"problem": f"{type(cause).__name__}: {cause}", "code": code})
        print(told, file=sys.stderr if verb == "rows" else sys.stdout)
        return int(verb == "rows")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

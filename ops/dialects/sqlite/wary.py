"""Looking into a SQLite file that may be hostile. A program of its own, standard library only.

`python -I wary.py check|count|resize FILE` prints one JSON object. A file from outside can
hold views that never end and structures that make SQLite read for hours; here it runs into
a memory limit, a CPU limit and a deadline instead of holding up the console.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

DEADLINE_SECONDS: Final = 1800
_MEMORY_BYTES: Final = 1 << 30
_STEPS_BETWEEN_LOOKS: Final = 100_000

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


def count_tables(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Exact rows of every real table, in the order of their names."""
    names = [row[0] for row in connection.execute(TABLES).fetchall()]
    return [(name, count_rows(connection, name)) for name in names]


def count_rows(connection: sqlite3.Connection, name: str) -> int:
    """Exact rows of one table."""
    query = f"SELECT count(*) FROM {quoted(name)}"  # nosec B608: a name cannot be a parameter
    return int(connection.execute(query).fetchone()[0])


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the deadline still holds.
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (DEADLINE_SECONDS, DEADLINE_SECONDS))


def _open_wary(path: Path, *, writing: bool = False) -> sqlite3.Connection:
    flags = "mode=rw" if writing else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{path.as_uri()}?{flags}", uri=True, isolation_level=None)
    ends = time.monotonic() + DEADLINE_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > ends, _STEPS_BETWEEN_LOOKS)
    for setting in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def _check(path: Path) -> dict[str, Any]:
    """The page size of a sound file, which is a copy of our own and nobody else's.

    SQLite leaves the list of free pages out of its check where a view comes first among its
    names (seen in 3.40), and a wrong one makes the next writer overwrite tables. So views are
    taken away for the check, in a transaction that is never committed. The tables' own rules
    are left out of it: one could run for ever, and a row that breaks one is no damage.
    """
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\x00":
            return {"problem": "the file does not begin like a SQLite database"}
    with closing(_open_wary(path, writing=True)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute("BEGIN")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("DELETE FROM sqlite_schema WHERE type = 'view'")
        connection.execute("PRAGMA writable_schema=RESET")
        found = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
        connection.execute("ROLLBACK")
        if found != ["ok"]:
            return {"problem": "; ".join(found)}
        return {"page_size": connection.execute("PRAGMA page_size").fetchone()[0]}


def _count(path: Path) -> dict[str, Any]:
    with closing(_open_wary(path)) as connection:
        return {"tables": count_tables(connection)}


def _resize(path: Path, page_size: str) -> dict[str, Any]:
    """Rewrite the file with another page size; implicit row numbers may change."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute(f"PRAGMA page_size={int(page_size)}")
        connection.execute("VACUUM")
    return {}


def main(arguments: list[str]) -> int:
    """The process's entry: verb, file, further arguments."""
    verb, path, *rest = arguments
    verbs = {"check": _check, "count": _count, "resize": _resize}
    _limit_resources()
    try:
        answer = verbs[verb](Path(path), *rest)  # type: ignore[operator]
    except (sqlite3.Error, MemoryError, OSError) as cause:
        answer = {"problem": f"{type(cause).__name__}: {cause}"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What is asked about a SQLite file by a job: it reads the whole file, or waits for others."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from typing import Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.checks.sqlite_contents import left_out, may_read_all, problems_told
from ops.checks.words import MB, listed, many, size
from ops.dialects.sqlite.wary import quoted

_LOCK_TRIES: Final = 3
_LOCK_SECONDS: Final = 2.0

_BROKEN_LINKS: Final = """
SELECT "table" AS child, parent, count(*) AS broken
FROM pragma_foreign_key_check GROUP BY 1, 2 ORDER BY 3 DESC
"""

_PACKING: Final = """
SELECT name, sum(unused) AS unused, sum(pgsize) AS bytes FROM dbstat
WHERE aggregate = TRUE GROUP BY name HAVING sum(unused) >= {floor:.0f}
ORDER BY 2 DESC LIMIT 10
"""

_INDEX_FAULT: Final = re.compile(
    r"(?:row \d+ missing from index|wrong # of entries in index|non-unique entry in index) (.+)"
)

_SEARCHES: Final = """
SELECT name FROM sqlite_schema
WHERE type = 'table' AND sql LIKE 'create virtual table%' AND sql LIKE '%using%fts5%'
"""


def _integrity(context: Context, check: Check) -> Reading:
    if not may_read_all(context, 8 * MB):
        return left_out(context)
    said = problems_told(lambda: _faults(context))
    if said == ["ok"]:
        return Reading(Level.GOOD, {}, 0, "PRAGMA integrity_check: ok")
    in_indexes = [_INDEX_FAULT.fullmatch(line) for line in said]
    indexes = sorted({found[1] for found in in_indexes if found})
    words = {"faults": many(len(said), "fault"), "indexes": listed(indexes)}
    if not all(in_indexes):
        return Reading(Level.NOW, words, len(said), "\n".join(said))
    return Reading(
        Level.NOW,
        words,
        len(said),
        "\n".join(said),
        sentence="The records are whole, but the index {indexes} does not agree with them: a "
        "search may leave out records.",
        fix="The index can be built anew from the records, which are not touched.",
        subjects=tuple(indexes),
        remedy=("sqlite.reindex",),
    )


def _faults(context: Context) -> list[str]:
    rows = context.ask("PRAGMA integrity_check(100)")
    return [str(next(iter(row.values()))) for row in rows]


def _broken_links(context: Context, check: Check) -> Reading:
    if not may_read_all(context):
        return left_out(context)
    found = context.ask(_BROKEN_LINKS)
    broken = sum(row["broken"] for row in found)
    if not found:
        return Reading(Level.GOOD, {}, 0)
    worst = found[0]
    rows = context.ask(f"SELECT count(*) AS n FROM {quoted(worst['child'])}")[0]["n"]
    many_broken = broken >= 100 and worst["broken"] > 0.01 * rows
    words = {
        "records": many(broken, "record"),
        "point": "points" if broken == 1 else "point",
        "child": worst["child"],
        "parent": worst["parent"],
    }
    detail = "\n".join(f"{row['child']} → {row['parent']}: {row['broken']:,}" for row in found)
    level = Level.NOW if many_broken else check.judge(broken)
    return Reading(level, words, broken, detail)


def _loose_pages(context: Context, check: Check) -> Reading:
    if not may_read_all(context):
        return left_out(context)
    try:
        rows = context.ask(_PACKING.format(floor=check.quiet_below))
    except CannotCheck as cannot:
        if "dbstat" not in cannot.detail:
            raise
        raise CannotCheck(
            "this Python's SQLite cannot measure tables",
            "Nothing is wrong with the database; a Python built with dbstat can look.",
            cannot.detail,
        ) from cannot
    loose = [row for row in rows if 100 * row["unused"] / row["bytes"] >= (check.warning or 0)]
    if not loose:
        return Reading(Level.GOOD, {}, 0)
    worst = loose[0]
    percent = 100 * worst["unused"] / worst["bytes"]
    words = {"table": worst["name"], "unused": size(worst["unused"]), "percent": f"{percent:.0f}"}
    detail = "\n".join(
        f"{row['name']}: {row['unused']:,} of {row['bytes']:,} bytes" for row in loose
    )
    return Reading(check.judge(percent), words, percent, detail)


def _search(context: Context, check: Check) -> Reading:
    """SQLite asks a search index for its soundness by a statement that counts as writing, so
    this is asked of a copy only."""
    names = [str(row["name"]) for row in context.ask(_SEARCHES)]
    if not names:
        return Reading(Level.GOOD, {}, 0, sentence="There is no full-text search in this database.")
    if not context.facts["is_copy"]:
        return Reading(
            Level.INFO,
            sentence="Not looked at: this needs a copy of the database.",
            fix="Run a test restore of the newest backup.",
            looked_at=False,
        )
    broken = []
    with closing(sqlite3.connect(context.facts["path"], isolation_level=None)) as copy:
        for name in names:
            command = f"INSERT INTO {quoted(name)} ({quoted(name)}) VALUES ('integrity-check')"
            try:
                copy.execute(command)
            except sqlite3.Error as cause:
                broken.append((name, str(cause)))
    if not broken:
        return Reading(Level.GOOD, {}, 0)
    words = {"tables": listed([name for name, _ in broken])}
    detail = "\n".join(f"{name}: {said}" for name, said in broken)
    tables = tuple(name for name, _ in broken)
    return Reading(check.judge(len(broken)), words, len(broken), detail, subjects=tables)


def _locked(context: Context, check: Check) -> Reading:
    """Whoever saves at that moment would have to wait, so a page does not ask it."""
    if context.facts["is_copy"] or not context.is_deep:
        return Reading(
            Level.INFO,
            sentence="Not looked at: trying it would hold up others for a moment.",
            fix="Press “Take the deep look now” on the Health page.",
            looked_at=False,
        )
    failures = 0
    for _ in range(_LOCK_TRIES):
        try:
            uri = f"{context.facts['path'].as_uri()}?mode=rw"
            with closing(
                sqlite3.connect(uri, uri=True, timeout=check.quiet_below, isolation_level=None)
            ) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError as cause:
            if (getattr(cause, "sqlite_errorcode", 0) & 0xFF) != sqlite3.SQLITE_BUSY:
                raise CannotCheck(
                    "this user may not write the database",
                    "Give the console's user the right to write the file and its folder.",
                    str(cause),
                ) from cause
            failures += 1
            time.sleep(0.05)
    words = {"failures": failures, "tries": _LOCK_TRIES}
    return Reading(
        check.judge(failures), words, failures, f"{failures} of {_LOCK_TRIES} BEGIN IMMEDIATE"
    )


CHECKS: Final = (
    Check(
        id="sqlite.integrity",
        title="Sound to the last byte",
        measure=_integrity,
        finding="The deep look found damage in the file ({faults}): some records may be lost or "
        "found wrongly.",
        why="Damage spreads when the app goes on writing, and new backups would carry it.",
        fix="Stop the app, keep a copy of the file, then restore your newest good backup.",
        good="Every record and every index of the file is sound.",
        unit="faults",
        source="PRAGMA integrity_check, any answer but ok; above 2 MB left to a job",
        deep=True,
    ),
    Check(
        id="sqlite.broken_links",
        title="Links between tables",
        measure=_broken_links,
        finding="{records} {point} to something that no longer exists "
        "(most in {child}, pointing to {parent}).",
        why="The app may show gaps or errors where it looks for what is missing.",
        fix="Show this to whoever makes the app before deleting anything.",
        good="Every link between tables leads somewhere.",
        unit="records",
        warning=1,
        source="PRAGMA foreign_key_check; act now above 1 % of a table and 100 records (own)",
        deep=True,
    ),
    Check(
        id="sqlite.loose_pages",
        title="Gaps inside tables",
        measure=_loose_pages,
        finding="{table} is loosely packed: {unused} ({percent} %) of the room it takes is empty.",
        why="It does no harm, but the file is larger and slower to read than it need be.",
        fix="After a backup, and with twice the file's size free on the disk, run: VACUUM;",
        good="The tables are packed tightly enough.",
        unit="% of the table",
        warning=40,
        floor="100 MB of gaps",
        quiet_below=100 * MB,
        source="own; never urgent, because harmless",
        remedy=("sqlite.vacuum",),
        deep=True,
    ),
    Check(
        id="sqlite.search",
        title="Full-text search",
        measure=_search,
        finding="The notes by which words are found in {tables} do not agree with the texts.",
        why="A search may leave out records that are there.",
        fix="The notes can be made anew from the texts; no text is changed.",
        good="Every search finds all that is there.",
        unit="tables",
        warning=1,
        source="FTS5 integrity-check, any error; asked of the copy that a test restore makes",
        remedy=("sqlite.rebuild_search",),
        deep=True,
    ),
    Check(
        id="sqlite.locked",
        title="Saving",
        measure=_locked,
        finding="Another program holds the database: {failures} of {tries} tries to save had to "
        "give up.",
        why="While another program holds the database, nobody can save.",
        fix="Find the program that does not come to an end, and restart it.",
        good="Saving is possible: nobody holds the database for long.",
        unit="failed tries of 3",
        warning=1,
        critical=3,
        floor="2 seconds of waiting a try",
        quiet_below=_LOCK_SECONDS,
        source="own",
        deep=True,
    ),
)

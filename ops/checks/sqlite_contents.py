"""What is asked about the contents of a SQLite file.

A check that would read the whole file is asked of small files only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.checks.words import GB, MB, listed, size
from ops.dialects.sqlite.wary import quoted

TABLES_LOOKED_AT: Final = 500
MANY_THINGS: Final = 10_000
"""Tables and indexes above which a page opens one connection and no second."""
_SAFE_MODES: Final = ("wal", "delete", "truncate", "persist")

_INDEXED_TABLES: Final = f"""
SELECT DISTINCT tbl_name AS name FROM sqlite_schema
WHERE type = 'index' AND tbl_name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
LIMIT {TABLES_LOOKED_AT}
"""

_NOTED: Final = """
SELECT tbl AS name, max(CAST(stat AS INTEGER)) AS rows FROM sqlite_stat1 GROUP BY tbl
"""
"""The first number of a note is how many rows the table had."""

_FAR_OFF: Final = 10

_LINKS_WITHOUT_INDEX: Final = f"""
SELECT m.name AS child, f."from" AS field, f."table" AS parent
FROM (SELECT name FROM sqlite_schema
      WHERE type = 'table' AND sql LIKE '%references%' LIMIT {TABLES_LOOKED_AT}) m,
     pragma_foreign_key_list(m.name) f
WHERE f.seq = 0
  AND NOT EXISTS (SELECT 1 FROM pragma_index_list(m.name) l, pragma_index_info(l.name) i
                  WHERE l.partial = 0 AND i.seqno = 0 AND i.name = f."from" COLLATE NOCASE)
  AND NOT EXISTS (SELECT 1 FROM pragma_table_info(m.name) t
                  WHERE t.name = f."from" COLLATE NOCASE AND t.pk = 1)
"""


def may_read_all(context: Context, limit: int = 16 * MB) -> bool:
    """Whether the whole file may be read: by a job, or where that takes a moment."""
    return context.is_deep or bool(context.facts["file_bytes"] <= limit)


def left_out(context: Context) -> Reading:
    """The answer of a check that would hold up a page."""
    return Reading(
        Level.INFO,
        {"size": size(context.facts["file_bytes"])},
        sentence="Not looked at: all of the database ({size}) would have to be read, and a page "
        "does not wait for that.",
        fix="Press “Take the deep look now” on the Health page, or run a test restore of the "
        "newest backup.",
        looked_at=False,
    )


def value(context: Context, pragma: str) -> Any:
    """What a PRAGMA answers."""
    return next(iter(context.ask(f"PRAGMA {pragma}")[0].values()))


def problems_told(ask: Callable[[], list[str]]) -> list[str]:
    """What SQLite says of the file's soundness; of one too damaged to be read on, that it is."""
    try:
        return ask()
    except CannotCheck as cannot:
        if "malformed" not in cannot.detail:
            raise
        return [cannot.detail]


def _opens(context: Context, check: Check) -> Reading:
    things = context.ask("SELECT count(*) AS things FROM sqlite_schema")[0]["things"]
    return Reading(Level.GOOD, {}, things, f"{context.facts['path']}: {things} tables and indexes")


def _structure(context: Context, check: Check) -> Reading:
    if not may_read_all(context):
        return left_out(context)
    said = problems_told(context.facts["structure"])
    if said == ["ok"]:
        return Reading(Level.GOOD, {}, 0, "PRAGMA quick_check: ok")
    return Reading(Level.NOW, {}, len(said), "\n".join(said))


def _empty_space(context: Context, check: Check) -> Reading:
    pages, free = value(context, "page_count"), value(context, "freelist_count")
    empty = free * value(context, "page_size")
    percent = 100 * free / pages if pages else 0.0
    level = Level.GOOD if empty < check.quiet_below else check.judge(percent)
    detail = f"freelist_count {free:,} of page_count {pages:,}: {empty:,} bytes"
    return Reading(level, {"empty": size(empty), "percent": f"{percent:.0f}"}, percent, detail)


def _side_file(context: Context, check: Check) -> Reading:
    side, file = context.facts["wal_bytes"], context.facts["file_bytes"]
    level = Level.GOOD
    if side >= check.quiet_below and (side >= 0.25 * file or side >= GB):
        level = Level.NOW if side >= GB and side > file else Level.SOON
    detail = f"-wal {side:,} bytes, database {file:,} bytes"
    return Reading(level, {"side": size(side), "file": size(file)}, side, detail)


def _journal(context: Context, check: Check) -> Reading:
    """Both settings belong to a connection, so one of the engine's own is asked; a fresh
    pool, because the engine's may be used up. A new connection reads all definitions first."""
    if context.facts["things"] > MANY_THINGS and not context.is_deep:
        return left_out(context)
    pool = context.facts["engine"].pool.recreate()
    try:
        connection = pool.connect()
        cursor = connection.cursor()
        mode = str(cursor.execute("PRAGMA journal_mode").fetchone()[0]).lower()
        synchronous = int(cursor.execute("PRAGMA synchronous").fetchone()[0])
        connection.close()
    except (sqlite3.Error, SQLAlchemyError) as cause:
        raise CannotCheck(
            "no connection could be opened", "", f"{type(cause).__name__}: {cause}"
        ) from cause
    finally:
        pool.dispose()
    safe = mode in _SAFE_MODES and synchronous > 0
    return Reading(
        Level.GOOD if safe else Level.NOW,
        detail=f"journal_mode {mode}, synchronous {synchronous}, of this program's connections",
    )


def _planner_notes(context: Context, check: Check) -> Reading:
    has_notes = context.ask("SELECT 1 AS n FROM sqlite_schema WHERE name = 'sqlite_stat1'")
    noted = {row["name"]: row["rows"] for row in context.ask(_NOTED)} if has_notes else {}
    rows = {row["name"]: rows_of(context, row["name"]) for row in context.ask(_INDEXED_TABLES)}
    large = {name: count for name, count in rows.items() if count >= check.quiet_below}
    wrong = [name for name, count in large.items() if _is_far_off(noted.get(name), count)]
    if not wrong:
        return none_found(context)
    detail = "\n".join(f"{name}: noted {noted.get(name)}, up to {rows[name]:,}" for name in wrong)
    words = {"tables": listed(wrong)}
    if noted:
        old = "SQLite's notes about the sizes of {tables} are out of date."
        return Reading(Level.SOON, words, len(wrong), detail, sentence=old)
    return Reading(Level.SOON, words, len(wrong), detail)


def _is_far_off(noted: int | None, rows: int) -> bool:
    return noted is None or rows > _FAR_OFF * max(1, noted)


def _links_without_index(context: Context, check: Check) -> Reading:
    found = [
        row
        for row in context.ask(_LINKS_WITHOUT_INDEX)
        if rows_of(context, row["child"]) >= check.quiet_below
    ]
    if not found:
        return none_found(context)
    first = found[0]
    name = f"{first['child']}_{first['field']}"
    command = f"CREATE INDEX {quoted(name)} ON {quoted(first['child'])} ({quoted(first['field'])});"
    words = {"child": first["child"], "parent": first["parent"], "command": command}
    detail = "\n".join(f"{row['child']}.{row['field']} → {row['parent']}" for row in found)
    return Reading(Level.SOON, words, len(found), detail)


def none_found(context: Context) -> Reading:
    """Nothing to tell, and of how many tables."""
    tables = context.ask("SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table'")[0]["n"]
    some = f"Nothing was found in the first {TABLES_LOOKED_AT:,} tables."
    return Reading(Level.GOOD, {}, 0, sentence=some if tables > TABLES_LOOKED_AT else "")


def rows_of(context: Context, table: str) -> int:
    """The highest row number, which is no less than the rows; 0 where there is none."""
    try:
        found = context.ask(f"SELECT max(rowid) AS n FROM {quoted(table)}")
    except CannotCheck as cannot:
        if "rowid" in cannot.detail:  # WITHOUT ROWID: nothing cheap to ask
            return 0
        raise
    return int(found[0]["n"] or 0)


CHECKS: Final = (
    Check(
        id="sqlite.opens",
        title="The database opens",
        measure=_opens,
        finding="The database file cannot be opened.",
        why="An app whose database cannot be opened cannot work.",
        fix="Keep the file as it is and restore your newest good backup.",
        good="The database file opens.",
        source="any failure counts",
    ),
    Check(
        id="sqlite.structure",
        title="Sound structure",
        measure=_structure,
        finding="Part of the file is damaged: reading some records may fail or give wrong answers.",
        why="Damage spreads when the app goes on writing, and new backups would carry it.",
        fix="Stop the app, keep a copy of the file, then restore your newest good backup.",
        good="The file's structure is sound.",
        source="PRAGMA quick_check, any answer but ok; above 16 MB left to a job",
        deep=True,
    ),
    Check(
        id="sqlite.empty_space",
        title="Empty space",
        measure=_empty_space,
        finding="{empty} of the file ({percent} %) is empty space left by deletions.",
        why="It does no harm, but the file stays larger than it need be.",
        fix="After a backup, and with twice the file's size free on the disk, run: VACUUM;",
        good="The file holds little empty space ({empty}).",
        unit="% of the file",
        warning=25,
        floor="50 MB of empty space",
        quiet_below=50 * MB,
        source="own; never urgent, because harmless",
        remedy=("sqlite.vacuum",),
    ),
    Check(
        id="sqlite.side_file",
        title="Side file of recent changes",
        measure=_side_file,
        finding="The file that takes up recent changes has grown to {side} "
        "(the database itself: {file}).",
        why="It grows with one very large change, or because some program keeps an old view of "
        "the data open. Reading gets slower, and the disk may fill.",
        fix="If it does not shrink by itself, restart the app; then run: "
        "PRAGMA wal_checkpoint(TRUNCATE);",
        good="Recent changes are merged into the file regularly.",
        floor="64 MB",
        quiet_below=64 * MB,
        source="look soon above 25 % of the database or 1 GB, act now above 1 GB and its size "
        "(own); SQLite itself merges every 1,000 pages",
        remedy=("sqlite.checkpoint",),
    ),
    Check(
        id="sqlite.journal",
        title="Safe saving",
        measure=_journal,
        finding="This program saves in a way that a power cut can destroy the database.",
        why="SQLite protects a change that is cut off half-way only if it may write it down "
        "on the disk first; that is switched off here.",
        fix="Set for every connection: PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        good="This program saves safely. What other programs set for themselves cannot be seen "
        "from here.",
        source="journal_mode off or memory, or synchronous off (SQLite's manual)",
        deep=True,
        remedy=("sqlite.wal",),
    ),
    Check(
        id="sqlite.planner_notes",
        title="Notes for fast searching",
        measure=_planner_notes,
        finding="SQLite has no notes yet about the sizes of {tables}.",
        why="Without them it may choose a slow way to search.",
        fix="Run: ANALYZE; (harmless, but saving waits for it)",
        good="SQLite knows its tables well enough to search them fast.",
        floor="10,000 rows",
        quiet_below=10_000,
        source="none, or off by ten times (own); running PRAGMA optimize is SQLite's own advice",
        remedy=("sqlite.optimize",),
    ),
    Check(
        id="sqlite.links_without_index",
        title="Fast links",
        measure=_links_without_index,
        finding="Deleting from {parent} has to read all of {child}.",
        why="Each deletion gets slower as {child} grows, and others wait meanwhile.",
        fix="Show this to whoever makes the app. It can be cured with: {command}",
        good="Links between large tables can be followed quickly.",
        floor="10,000 rows",
        quiet_below=10_000,
        source="own floor; splinter 0001",
    ),
)

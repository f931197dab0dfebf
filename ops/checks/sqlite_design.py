"""How a SQLite database is built: its indexes, keys, limits, and what changes about it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any, Final

from ops.checks.base import Check, Context, Level, Reading
from ops.checks.growth import growth_check
from ops.checks.sqlite_contents import TABLES_LOOKED_AT, none_found, rows_of, value
from ops.checks.words import MB, duration, listed, size

_INDEXES: Final = f"""
SELECT m.name AS owner, l.name AS name, l."unique" AS is_unique, l.origin AS origin,
       (SELECT group_concat(coalesce(x.name, '<expression>') || ' ' || x."desc" || ' ' || x.coll)
        FROM pragma_index_xinfo(l.name) x WHERE x.key = 1) AS fields
FROM (SELECT DISTINCT tbl_name AS name FROM sqlite_schema WHERE type = 'index'
      AND tbl_name NOT LIKE 'sqlite\\_%' ESCAPE '\\' LIMIT {TABLES_LOOKED_AT}) m,
     pragma_index_list(m.name) l
WHERE l.partial = 0
"""

_WITHOUT_KEY: Final = f"""
SELECT name FROM (SELECT name FROM sqlite_schema
                  WHERE type = 'table' AND rootpage > 0
                    AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' LIMIT {TABLES_LOOKED_AT}) m
WHERE NOT EXISTS (SELECT 1 FROM pragma_table_info(m.name) WHERE pk > 0)
  AND NOT EXISTS (SELECT 1 FROM sqlite_schema v WHERE v.type = 'table' AND v.rootpage = 0
                  AND m.name LIKE v.name || '\\_%' ESCAPE '\\')
"""
"""The tables behind a full-text search are its own affair."""

_LINKED: Final = (
    "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%references%' LIMIT 1"
)
_LAYOUT: Final = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'"

_AUTO_VACUUM: Final = ("none", "full", "incremental")


def _duplicates(context: Context, check: Check) -> Reading:
    same: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in context.ask(_INDEXES):
        if "<expression>" not in row["fields"]:
            same[row["owner"], row["fields"]].append(row)
    # An index that a rule of the table needs (origin u, pk), or that keeps out duplicates, stays.
    spare = [
        (owner, row["name"])
        for (owner, _), rows in same.items()
        for row in sorted(rows, key=lambda row: (row["origin"] == "c", not row["is_unique"]))[1:]
        if row["origin"] == "c" and rows_of(context, owner) >= check.quiet_below
    ]
    if not spare:
        return none_found(context)
    words = {
        "indexes": listed([name for _, name in spare]),
        "does": "does" if len(spare) == 1 else "do",
        "table": spare[0][0],
        "first": spare[0][1],
    }
    detail = "\n".join(f"{name} of {owner}" for owner, name in spare)
    names = tuple(name for _, name in spare)
    return Reading(check.judge(len(spare)), words, len(spare), detail, subjects=names)


def _without_key(context: Context, check: Check) -> Reading:
    names = [str(row["name"]) for row in context.ask(_WITHOUT_KEY)]
    if not names:
        return none_found(context)
    words = {"tables": listed(names), "have": "has" if len(names) == 1 else "have"}
    return Reading(Level.INFO, words, len(names), "\n".join(names[:50]))


def _size_limit(context: Context, check: Check) -> Reading:
    """The limit that the file's own format sets; a program may set a lower one for itself,
    which nobody else sees."""
    most, pages = value(context, "max_page_count"), value(context, "page_count")
    percent = 100 * pages / max(1, most)
    bytes_ = most * value(context, "page_size")
    detail = f"page_count {pages:,} of max_page_count {most:,}"
    return Reading(
        check.judge(percent), {"percent": f"{percent:.0f}", "most": size(bytes_)}, percent, detail
    )


def _auto_vacuum(context: Context, check: Check) -> Reading:
    mode = _AUTO_VACUUM[value(context, "auto_vacuum")]
    empty = value(context, "freelist_count") * value(context, "page_size")
    keeps = mode == "none" and empty >= check.quiet_below
    words = {"empty": size(empty)}
    return Reading(Level.INFO if keeps else Level.GOOD, words, empty, f"auto_vacuum {mode}")


def _links_enforced(context: Context, check: Check) -> Reading:
    if not context.ask(_LINKED):
        return Reading(Level.GOOD, sentence="No table of this database points to another.")
    return Reading(
        Level.INFO, detail="PRAGMA foreign_keys belongs to each connection, off by default"
    )


def _layout(context: Context, check: Check) -> Reading:
    if context.history is None:
        once = "Whether the layout changes shows once the console has looked twice."
        return Reading(Level.GOOD, sentence=once)
    cookie = float(value(context, "schema_version"))
    changed = context.history.changed(check.id, cookie, lambda: _definitions(context), context.now)
    if changed is None or context.now - changed > check.quiet_below:
        return Reading(Level.GOOD)
    return Reading(Level.INFO, {"ago": duration(context.now - changed)})


def _definitions(context: Context) -> float:
    """All definitions as one number."""
    rows = sorted(tuple(map(str, row.values())) for row in context.ask(_LAYOUT))
    digest = hashlib.sha256(repr(rows).encode()).digest()
    return float(int.from_bytes(digest[:6], "big"))


CHECKS: Final = (
    Check(
        id="sqlite.duplicate_indexes",
        title="Indexes that do the same work",
        measure=_duplicates,
        finding="{indexes} {does} the same work as another index of {table}.",
        why="An index is a sorted list that makes searching fast. Every change has to be written "
        "into both, and only one is ever needed.",
        fix="Show this to whoever makes the app. It can be cured with: DROP INDEX {first};",
        good="No two indexes of a large table do the same work.",
        unit="indexes",
        warning=1,
        floor="10,000 rows",
        quiet_below=10_000,
        source="splinter 0009; own floor",
    ),
    Check(
        id="sqlite.without_key",
        title="Tables without a key",
        measure=_without_key,
        finding="{tables} {have} no key of its own by which a record can be told from others.",
        why="It does no harm by itself, but two equal records cannot be told apart, so "
        "comparing backups record by record is not possible there.",
        fix="Show this to whoever makes the app when it is changed next.",
        good="Every table has a key.",
        unit="tables",
        source="splinter 0004; advice, no danger by itself",
    ),
    Check(
        id="sqlite.size_limit",
        title="Largest size",
        measure=_size_limit,
        finding="The file has used {percent} % of the size it can ever have ({most}).",
        why="When it has reached that size, nothing can be saved.",
        fix="Delete what is no longer needed; whoever makes the app can raise max_page_count, or "
        "use larger pages.",
        good="The file is far from the largest size it can have ({most}).",
        unit="% of the largest size",
        warning=80,
        critical=95,
        source="SQLite's manual on max_page_count; shares own",
    ),
    Check(
        id="sqlite.auto_vacuum",
        title="Giving space back",
        measure=_auto_vacuum,
        finding="This file never gets smaller by itself; {empty} of it is empty.",
        why="That is how SQLite works unless it was told otherwise when the file was made.",
        fix="If records are often deleted, whoever makes the app can switch auto_vacuum on.",
        good="The file gives its space back, or has none to give.",
        unit="bytes",
        floor="50 MB of empty space",
        quiet_below=50 * MB,
        source="SQLite's manual on auto_vacuum; advice",
    ),
    Check(
        id="sqlite.links_enforced",
        title="Who watches over links",
        measure=_links_enforced,
        finding="Whether the app keeps its tables' links whole cannot be seen from here.",
        why="SQLite watches over links only for programs that ask for it. Whether any link is "
        "broken is shown under “Links between tables”.",
        fix="Ask whoever makes the app whether it sets: PRAGMA foreign_keys=ON;",
        good="There are no links to watch over.",
        source="SQLite's manual on foreign keys",
    ),
    Check(
        id="sqlite.layout",
        title="Layout of the tables",
        measure=_layout,
        finding="The layout of the tables was changed {ago} ago.",
        why="A backup from before has the former layout; the app of today may not know it.",
        fix="Nothing, if the app was updated then. Otherwise ask who changed it.",
        good="The layout of the tables has not changed lately.",
        floor="changes older than a week",
        quiet_below=7 * 86_400,
        source="own",
    ),
    growth_check("sqlite"),
)

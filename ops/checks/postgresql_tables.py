"""The state of a PostgreSQL database's tables: notes, empty room, what is off, what may be lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ops.checks.base import Check, Context, Level, Reading
from ops.checks.words import GB, listed, many, size

OURS: Final = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
"""The schemas (n) that are not the server's own."""

_STALE: Final = f"""
SELECT name, live, changed, is_new FROM (
  SELECT format('%I.%I', n.nspname, c.relname) AS name, c.reltuples <= 0 AS is_new,
         pg_stat_get_live_tuples(c.oid) AS live, pg_stat_get_mod_since_analyze(c.oid) AS changed
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND {OURS}) t
WHERE live >= {{floor:.0f}} AND (is_new OR 100.0 * changed >= {{percent}} * live)
ORDER BY live DESC LIMIT 10
"""

_SWITCHED_OFF: Final = f"""
SELECT t.tgrelid::regclass::text AS owner, quote_ident(t.tgname) AS name,
       bool_or(t.tgisinternal) OVER () AS has_links
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgenabled = 'D' AND {OURS} ORDER BY t.tgisinternal, 1, 2 LIMIT 10
"""

_UNLOGGED: Final = f"""
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence = 'u' AND c.relkind = 'r' AND {OURS} ORDER BY c.relpages DESC LIMIT 10
"""

_BLOAT: Final = f"""
SELECT name, bytes, bytes - least(bytes, needed) AS spare FROM (
  SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relpages::float * {{block}} AS bytes,
         c.reltuples * (28 + coalesce((SELECT sum((1 - s.null_frac) * s.avg_width) FROM pg_stats s
                                       WHERE s.schemaname = n.nspname AND s.tablename = c.relname
                                         AND NOT s.inherited), 0)) * {{block}} / ({{block}} - 24)
           AS needed,
         EXISTS (SELECT 1 FROM pg_stats s
                 WHERE s.schemaname = n.nspname AND s.tablename = c.relname) AS is_known
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm') AND c.reltuples > 0 AND {OURS}
    AND c.relpages::bigint * {{block}} >= {{floor:.0f}}) t
WHERE is_known ORDER BY spare DESC LIMIT 10
"""
"""Rows times their width, with 28 bytes for each row's head and 24 for each page's."""


def block_bytes(context: Context) -> int:
    """The bytes of a page, in which tables and indexes are counted."""
    return int(context.ask("SELECT current_setting('block_size')::int AS bytes")[0]["bytes"])


def names_of(rows: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names that a question found."""
    return tuple(str(row["name"]) for row in rows)


def _statistics(context: Context, check: Check) -> Reading:
    query = _STALE.format(floor=check.quiet_below, percent=check.warning)
    rows = context.ask(query)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    worst = max(100 * row["changed"] / max(1, row["live"]) for row in rows)
    detail = "\n".join(
        f"{row['name']}: {row['changed']:,} of {row['live']:,} changed"
        + (", never looked at" if row["is_new"] else "")
        for row in rows
    )
    names = names_of(rows)
    words = {"tables": listed(names), "first": names[0]}
    return Reading(Level.SOON, words, worst, detail, subjects=names)


def _switched_off(context: Context, check: Check) -> Reading:
    rows = context.ask(_SWITCHED_OFF)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    words = {
        "rules": many(len(rows), "automatic rule"),
        "is": "is" if len(rows) == 1 else "are",
        "owner": rows[0]["owner"],
        "which": "ALL" if rows[0]["has_links"] else rows[0]["name"],
    }
    detail = "\n".join(f"{row['name']} of {row['owner']}" for row in rows)
    return Reading(check.judge(len(rows)), words, len(rows), detail)


def _unlogged(context: Context, check: Check) -> Reading:
    rows = context.ask(_UNLOGGED)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    names = names_of(rows)
    words = {"tables": listed(names), "first": names[0], "is": "is" if len(names) == 1 else "are"}
    return Reading(check.judge(len(rows)), words, len(rows), "\n".join(names))


def _bloat(context: Context, check: Check) -> Reading:
    rows = context.ask(_BLOAT.format(block=block_bytes(context), floor=check.quiet_below))
    spare = [row for row in rows if row["spare"] >= check.quiet_below]
    if not spare:
        return Reading(Level.GOOD, {}, 0)
    worst = spare[0]
    percent = 100 * worst["spare"] / worst["bytes"]
    words = {
        "table": worst["name"],
        "spare": size(worst["spare"]),
        "percent": f"{percent:.0f}",
    }
    detail = "\n".join(f"{r['name']}: {r['spare']:,.0f} of {r['bytes']:,.0f} bytes" for r in spare)
    return Reading(check.judge(percent), words, percent, f"estimate\n{detail}")


CHECKS: Final = (
    Check(
        id="postgresql.statistics",
        title="Notes for fast searching",
        measure=_statistics,
        finding="The server's notes about {tables} are out of date.",
        why="Without good notes it may choose a slow way to search. Right after a restore or a "
        "large import this is normal.",
        fix="Run: ANALYZE {first}; (nobody has to wait for it)",
        good="The server knows its tables well enough to search them fast.",
        unit="% changed since the last notes",
        warning=20,
        floor="10,000 rows",
        quiet_below=10_000,
        source="own; the server renews them at 10 % by itself",
        remedy=("postgresql.analyze",),
        opens_after=3,
    ),
    Check(
        id="postgresql.bloat",
        title="Room that is not given back",
        measure=_bloat,
        finding="About {spare} ({percent} %) of table {table} is empty room, by an estimate.",
        why="New records will use it, but until then reading is slower and the disk fuller.",
        fix="Nothing is urgent. If the table has shrunk for good, whoever runs the server can "
        "rewrite it in a pause of the app (VACUUM FULL, or pg_repack).",
        good="No large table holds much empty room.",
        unit="% of the table",
        warning=40,
        floor="1 GB of empty room",
        quiet_below=GB,
        source="check_postgres 1 GB; 40 % own; never urgent, because harmless",
        remedy=(),
    ),
    Check(
        id="postgresql.trigger_off",
        title="Automatic rules that are off",
        measure=_switched_off,
        finding="{rules} of the app {is} switched off (table {owner}).",
        why="What the app relies on to happen by itself does not happen. An import that was "
        "broken off may have left it so.",
        fix="Ask whoever makes the app. It can be switched on with: "
        "ALTER TABLE {owner} ENABLE TRIGGER {which};",
        good="All automatic rules of the app are switched on.",
        unit="rules",
        warning=1,
        source="check_postgres 1",
    ),
    Check(
        id="postgresql.unlogged",
        title="Tables that a crash empties",
        measure=_unlogged,
        finding="{tables} {is} kept in a way that a crash of the server empties.",
        why="That is faster, and right for what can be made anew; for anything else it is a loss.",
        fix="Ask whoever makes the app. If the data matters: ALTER TABLE {first} SET LOGGED;",
        good="No table is emptied by a crash.",
        unit="tables",
        warning=1,
        source="PostgreSQL's manual on UNLOGGED",
    ),
)

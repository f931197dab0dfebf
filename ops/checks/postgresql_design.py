"""How the tables and indexes of a PostgreSQL database are built; all of it is advice."""

from __future__ import annotations

from typing import Final

from ops.checks.base import Check, Context, Level, Reading
from ops.checks.postgresql_tables import OURS, block_bytes, names_of
from ops.checks.words import MB, listed, many, size

_WHOLE_READS: Final = f"""
SELECT name, whole, by_index, rows FROM (
  SELECT format('%I.%I', n.nspname, c.relname) AS name, pg_stat_get_numscans(c.oid) AS whole,
         (SELECT coalesce(sum(pg_stat_get_numscans(i.indexrelid)), 0)
          FROM pg_index i WHERE i.indrelid = c.oid) AS by_index, c.reltuples::bigint AS rows
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.reltuples >= {{floor:.0f}} AND {OURS}) t
WHERE whole >= {{scans}} AND 100.0 * whole / (whole + by_index) >= {{percent}}
ORDER BY whole * rows DESC LIMIT 10
"""

_FEW_SCANS: Final = 100

_UNUSED: Final = f"""
WITH large AS MATERIALIZED (
  SELECT c.oid, c.relname, c.relnamespace, c.relpages::bigint * {{block}} AS bytes
  FROM pg_class c WHERE c.relkind = 'i' AND c.relpages::bigint * {{block}} >= {{floor:.0f}}
)
SELECT format('%I.%I', n.nspname, c.relname) AS name, c.bytes,
       extract(epoch FROM now() - greatest(d.stats_reset, pg_postmaster_start_time()))::float
         / 86400 AS days
FROM large c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()) d
WHERE {OURS} AND NOT i.indisunique AND NOT i.indisreplident
  AND pg_stat_get_numscans(c.oid) = 0
  AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid)
ORDER BY 2 DESC LIMIT 10
"""
"""Counting may have begun with the last start: after a crash it does."""

_SAME: Final = f"""
SELECT format('%I.%I', n.nspname, c.relname) AS name, indrelid::regclass::text AS owner
FROM (SELECT i.indexrelid, i.indrelid, row_number() OVER (
        PARTITION BY i.indrelid, i.indkey::text, i.indclass::text, i.indcollation::text,
          i.indoption::text, pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)
        ORDER BY i.indisprimary DESC, i.indisunique DESC, i.indisreplident DESC, i.indexrelid
      ) AS place, i.indisunique
      FROM pg_index i WHERE i.indrelid >= 16384) i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE place > 1 AND NOT indisunique AND {OURS} ORDER BY c.relpages DESC LIMIT 10
"""

_LINKS: Final = f"""
SELECT k.conrelid::regclass::text AS child, k.confrelid::regclass::text AS parent,
       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY o.place)
        FROM unnest(k.conkey) WITH ORDINALITY o(number, place)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = o.number) AS fields
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND c.reltuples >= {{floor:.0f}} AND {OURS}
  AND NOT EXISTS (SELECT 1 FROM pg_index i
                  WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
                    AND (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(k.conkey)]
                        @> k.conkey)
ORDER BY c.reltuples DESC LIMIT 10
"""

_KEYLESS: Final = f"""
SELECT format('%I.%I', n.nspname, c.relname) AS name, count(*) OVER () AS total
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' AND {OURS}
  AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
ORDER BY c.reltuples DESC LIMIT 10
"""

_UNPROVEN: Final = f"""
SELECT k.conrelid::regclass::text AS owner, quote_ident(k.conname) AS name
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
WHERE NOT k.convalidated AND k.conrelid <> 0 AND {OURS} ORDER BY 1, 2 LIMIT 10
"""

_EXTENSIONS: Final = """
SELECT e.extname AS name, e.extversion AS installed, a.default_version AS available
FROM pg_extension e JOIN pg_available_extensions() a ON a.name = e.extname
WHERE e.extversion <> a.default_version ORDER BY 1
"""


def _whole_reads(context: Context, check: Check) -> Reading:
    query = _WHOLE_READS.format(
        floor=check.quiet_below, scans=_FEW_SCANS, percent=check.warning or 0
    )
    rows = context.ask(query)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    names = names_of(rows)
    percent = 100 * rows[0]["whole"] / (rows[0]["whole"] + float(rows[0]["by_index"]))
    detail = "\n".join(
        f"{row['name']}: {row['whole']:,} times whole, {row['by_index']:,} by an index, "
        f"{row['rows']:,} rows"
        for row in rows
    )
    return Reading(Level.INFO, {"tables": listed(names)}, percent, detail)


def _unused(context: Context, check: Check) -> Reading:
    rows = context.ask(_UNUSED.format(block=block_bytes(context), floor=check.quiet_below))
    days = float(rows[0]["days"] or 0) if rows else 0.0
    if not rows or check.judge(days) is Level.GOOD:
        return Reading(Level.GOOD, {}, days)
    names = names_of(rows)
    words = {
        "indexes": listed(names),
        "was": "was" if len(names) == 1 else "were",
        "days": many(int(days), "day"),
        "bytes": size(sum(row["bytes"] for row in rows)),
    }
    detail = "\n".join(f"{row['name']}: {row['bytes']:,} bytes" for row in rows)
    return Reading(Level.INFO, words, days, detail, subjects=names)


def _same(context: Context, check: Check) -> Reading:
    rows = context.ask(_SAME)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    names = names_of(rows)
    words = {
        "indexes": listed(names),
        "does": "does" if len(names) == 1 else "do",
        "owner": rows[0]["owner"],
        "first": names[0],
    }
    detail = "\n".join(f"{row['name']} of {row['owner']}" for row in rows)
    return Reading(Level.INFO, words, len(rows), detail, subjects=names)


def _links(context: Context, check: Check) -> Reading:
    rows = context.ask(_LINKS.format(floor=check.quiet_below))
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    first = rows[0]
    command = f"CREATE INDEX CONCURRENTLY ON {first['child']} ({first['fields']});"
    words = {"child": first["child"], "parent": first["parent"], "command": command}
    detail = "\n".join(f"{row['child']} ({row['fields']}) → {row['parent']}" for row in rows)
    return Reading(Level.INFO, words, len(rows), detail)


def _keyless(context: Context, check: Check) -> Reading:
    rows = context.ask(_KEYLESS)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    total = rows[0]["total"]
    names = names_of(rows)
    words = {"tables": listed(names), "have": "has" if total == 1 else "have"}
    return Reading(Level.INFO, words, total, "\n".join(names))


def _unproven(context: Context, check: Check) -> Reading:
    rows = context.ask(_UNPROVEN)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    first = rows[0]
    words = {
        "rules": many(len(rows), "rule"),
        "was": "was" if len(rows) == 1 else "were",
        "owner": first["owner"],
        "name": first["name"],
    }
    detail = "\n".join(f"{row['name']} of {row['owner']}" for row in rows)
    return Reading(Level.INFO, words, len(rows), detail)


def _extensions(context: Context, check: Check) -> Reading:
    rows = context.ask(_EXTENSIONS)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    names = names_of(rows)
    words = {
        "names": listed(names),
        "is": "is" if len(names) == 1 else "are",
        "first": names[0],
    }
    detail = "\n".join(f"{r['name']}: {r['installed']}, available {r['available']}" for r in rows)
    return Reading(Level.INFO, words, len(rows), detail, subjects=names)


CHECKS: Final = (
    Check(
        id="postgresql.links_without_index",
        title="Fast links",
        measure=_links,
        finding="Deleting from {parent} has to read all of {child}.",
        why="Each deletion gets slower as {child} grows, and others wait meanwhile.",
        fix="Show this to whoever makes the app. It can be cured with: {command}",
        good="Links between large tables can be followed quickly.",
        floor="10,000 rows",
        quiet_below=10_000,
        source="splinter 0001; own floor; advice",
    ),
    Check(
        id="postgresql.duplicate_indexes",
        title="Indexes that do the same work",
        measure=_same,
        finding="{indexes} {does} the same work as another index of {owner}.",
        why="An index is a sorted list that makes searching fast. Every change has to be written "
        "into both, and only one is ever needed.",
        fix="Show this to whoever makes the app. It can be cured with: "
        "DROP INDEX CONCURRENTLY {first};",
        good="No two indexes do the same work.",
        unit="indexes",
        source="PgHero, splinter 0009; advice",
        remedy=("postgresql.drop_index",),
    ),
    Check(
        id="postgresql.unused_indexes",
        title="Indexes that nobody uses",
        measure=_unused,
        finding="{indexes} {was} not used once in {days} ({bytes}).",
        why="An index is a sorted list that makes searching fast. Every change has to be written "
        "into it, used or not, and it takes room.",
        fix="Ask whoever makes the app whether a yearly report, or a stand-in copy, needs them.",
        good="No large index goes unused, or counting is too young to tell.",
        unit="days of counting",
        warning=35,
        floor="10 MB",
        quiet_below=10 * MB,
        source="PgHero 10 MB, pganalyze 35 days; advice",
        remedy=("postgresql.drop_index",),
    ),
    Check(
        id="postgresql.whole_reads",
        title="Tables that are read whole",
        measure=_whole_reads,
        finding="{tables}: often read from beginning to end, though large.",
        why="An index may make these searches many times faster.",
        fix="Show this to whoever makes the app.",
        good="Large tables are searched by their indexes.",
        unit="% of all searches",
        warning=5,
        floor="10,000 rows and 100 times",
        quiet_below=10_000,
        source="PgHero 95 % and 10,000 rows; advice",
    ),
    Check(
        id="postgresql.without_key",
        title="Tables without a key",
        measure=_keyless,
        finding="{tables} {have} no key of its own by which a record can be told from others.",
        why="Two equal records cannot be told apart, so comparing backups record by record is "
        "not possible there, nor is copying changes to another server.",
        fix="Show this to whoever makes the app when it is changed next.",
        good="Every table has a key.",
        unit="tables",
        source="splinter 0004; advice",
    ),
    Check(
        id="postgresql.not_validated",
        title="Rules that were never proven",
        measure=_unproven,
        finding="{rules} {was} set up without looking at the records that were there already "
        "(first {name} of {owner}).",
        why="Older records may break the rule; bringing back a backup may then fail.",
        fix="Show this to whoever makes the app. It can be proven with: "
        "ALTER TABLE {owner} VALIDATE CONSTRAINT {name};",
        good="Every rule holds for all records.",
        unit="rules",
        source="PgHero; advice",
    ),
    Check(
        id="postgresql.extension_behind",
        title="Additions that are behind",
        measure=_extensions,
        finding="{names} {is} older inside the database than on the server.",
        why="Repairs of the addition are not in use yet.",
        fix="Whoever makes the app can run: ALTER EXTENSION {first} UPDATE;",
        good="All additions are up to date.",
        unit="additions",
        source="splinter 0022; advice",
        remedy=("postgresql.update_extension",),
    ),
)

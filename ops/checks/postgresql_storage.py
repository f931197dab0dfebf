"""What PostgreSQL has on its disk: clean-up, counters, damage, speed of reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.checks.words import listed, many

_WRAPAROUND_LIMIT: Final = 2_147_483_647
_COUNTERS_READ: Final = 500

_WRAPAROUND: Final = """
SELECT datname, age(datfrozenxid) AS age, mxid_age(datminmxid) AS multi
FROM pg_database WHERE datallowconn
ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC LIMIT 5
"""

_DEAD_ROWS: Final = """
SELECT name, live, dead,
       current_setting('autovacuum_vacuum_threshold')::float
         + current_setting('autovacuum_vacuum_scale_factor')::float * live AS trigger,
       coalesce(greatest(pg_stat_get_last_vacuum_time(oid), pg_stat_get_last_autovacuum_time(oid))
                < now() - interval '1 day', false) AS is_overdue
FROM (SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name,
             pg_stat_get_live_tuples(c.oid) AS live, pg_stat_get_dead_tuples(c.oid) AS dead
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND pg_stat_get_dead_tuples(c.oid) >= {floor:.0f}) t
ORDER BY dead DESC LIMIT 10
"""
"""The functions behind pg_stat_user_tables: the view itself takes 90 ms for 5,000 tables."""

_COUNTERS: Final = """
WITH small AS MATERIALIZED (
  SELECT s.seqrelid AS oid, s.seqincrement AS step,
         format('%I.%I', n.nspname, coalesce(t.relname, c.relname)) AS name,
         least(s.seqmax, CASE a.atttypid WHEN 'int2'::regtype THEN 32767
                                         WHEN 'int4'::regtype THEN 2147483647
                                         ELSE s.seqmax END) AS type_max,
         coalesce(t.relpages, 0) AS pages
  FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid AND c.relpersistence <> 't'
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
       AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  LEFT JOIN pg_class t ON t.oid = d.refobjid
  LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  WHERE NOT s.seqcycle AND s.seqincrement > 0
), chosen AS MATERIALIZED (
  SELECT * FROM small WHERE type_max <= 2147483647 ORDER BY pages DESC LIMIT {looked_at}
), asked AS MATERIALIZED (
  SELECT *, coalesce(has_sequence_privilege(oid, 'USAGE, SELECT'), false) AS is_open FROM chosen
), used AS MATERIALIZED (
  SELECT *, CASE WHEN is_open THEN pg_sequence_last_value(oid) END AS used FROM asked
)
SELECT name, is_open, type_max, used, (type_max - used) / step AS left_over,
       100.0 * used / type_max AS percent
FROM used WHERE NOT is_open OR 100.0 * used / type_max >= {floor}
ORDER BY percent DESC NULLS LAST LIMIT 10
"""
"""Counters of eight bytes are left out: they last longer than anybody lives. Reading one
opens it, 0.1 ms each, so only those of the largest tables are read."""

_CHECKSUMS: Final = """
SELECT current_setting('data_checksums') = 'on' AS is_on,
       coalesce(sum(checksum_failures), 0)::bigint AS failures,
       max(checksum_last_failure) AS last,
       coalesce(string_agg(coalesce(datname, 'shared'), ', ')
                FILTER (WHERE checksum_failures > 0), '') AS databases
FROM pg_stat_database
"""

_INVALID: Final = """
SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS owner
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
WHERE (NOT i.indisvalid OR NOT i.indisready)
  AND NOT EXISTS (SELECT 1 FROM pg_locks l
                  WHERE l.relation = i.indrelid AND l.mode = 'ShareUpdateExclusiveLock'
                    AND l.database = (SELECT oid FROM pg_database
                                      WHERE datname = current_database()))
ORDER BY 1 LIMIT 10
"""
"""Whoever builds an index beside others' work holds that lock, and everybody may see locks."""


def _wraparound(context: Context, check: Check) -> Reading:
    rows = context.ask(_WRAPAROUND)
    worst = rows[0]
    percent = 100 * max(worst["age"], worst["multi"]) / _WRAPAROUND_LIMIT
    words = {"percent": f"{percent:.0f}", "database": worst["datname"]}
    detail = "\n".join(
        f"{row['datname']}: age {row['age']:,}, multixact age {row['multi']:,}" for row in rows
    )
    return Reading(check.judge(percent), words, percent, detail)


def _dead_rows(context: Context, check: Check) -> Reading:
    rows = context.ask(_DEAD_ROWS.format(floor=check.quiet_below))
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    worst = max(rows, key=_dead_percent)
    percent = _dead_percent(worst)
    level = check.judge(percent)
    if level is Level.NOW and not (worst["is_overdue"] and worst["dead"] > 2 * worst["trigger"]):
        level = Level.SOON  # clean-up may still be on its way
    words = {"table": worst["name"], "dead": f"{worst['dead']:,}", "percent": f"{percent:.0f}"}
    detail = "\n".join(f"{row['name']}: {row['dead']:,} of {row['live']:,} live" for row in rows)
    return Reading(level, words, percent, detail, subjects=(worst["name"],))


def _dead_percent(row: Mapping[str, Any]) -> float:
    dead, live = float(row["dead"]), float(row["live"])
    return 100 * dead / max(1.0, live + dead)


def _counters(context: Context, check: Check) -> Reading:
    rows = context.ask(_COUNTERS.format(floor=check.warning, looked_at=_COUNTERS_READ))
    near = [row for row in rows if row["is_open"]]
    if not near:
        if rows:
            raise CannotCheck(
                "the console's database user may not read all counters",
                _grant_reading(context),
                "\n".join(row["name"] for row in rows),
            )
        return Reading(Level.GOOD, {}, 0)
    worst = near[0]
    percent = float(worst["percent"])
    words = {"table": worst["name"], "left": f"{max(0, int(worst['left_over'])):,}"}
    detail = "\n".join(f"{r['name']}: {r['used']:,} of {r['type_max']:,}" for r in near)
    return Reading(check.judge(percent), words, percent, detail)


def _grant_reading(context: Context) -> str:
    role = context.facts["role"]
    if context.facts["major"] >= 14:
        return f"As the server's administrator, run: GRANT pg_read_all_data TO {role};"
    return f"For each schema, run: GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role};"


def _checksums(context: Context, check: Check) -> Reading:
    row = context.ask(_CHECKSUMS)[0]
    if not row["is_on"]:
        return Reading(
            Level.INFO,
            sentence="This server does not check what its disk gives back.",
            fix="Whoever runs the server can switch it on while it is stopped: "
            "pg_checksums --enable",
        )
    failures = row["failures"]
    words = {"times": many(failures, "time"), "databases": row["databases"]}
    detail = f"{failures} failures, last {row['last']}, in {row['databases']}" if failures else ""
    return Reading(check.judge(failures), words, failures, detail)


def _invalid(context: Context, check: Check) -> Reading:
    rows = context.ask(_INVALID)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    words = {
        "indexes": listed([row["name"] for row in rows]),
        "was": "was" if len(rows) == 1 else "were",
        "owner": rows[0]["owner"],
        "first": rows[0]["name"],
    }
    detail = "\n".join(f"{row['name']} of {row['owner']}" for row in rows)
    names = tuple(row["name"] for row in rows)
    return Reading(check.judge(len(rows)), words, len(rows), detail, subjects=names)


CHECKS: Final = (
    Check(
        id="postgresql.wraparound",
        title="Numbers for changes",
        measure=_wraparound,
        finding="Database {database} has used up {percent} % of the numbers that it gives to "
        "changes.",
        why="Clean-up frees them again. Where it cannot keep up until none are left, the "
        "database refuses to save anything.",
        fix="End very long work and forgotten copy connections first, then run in that "
        "database: VACUUM (FREEZE);",
        good="Clean-up keeps up; {percent} % of the numbers for changes are in use.",
        unit="% of 2,147,483,647",
        warning=50,
        critical=80,
        source="pganalyze 50/80, check_postgres 1.3 and 1.4 billion",
        remedy=("postgresql.freeze",),
    ),
    Check(
        id="postgresql.checksums",
        title="Damage on the disk",
        measure=_checksums,
        finding="The disk has given back damaged data {times} ({databases}).",
        why="Records may be lost or wrong, and the disk may be failing.",
        fix="Do not delete any backup. Run a test restore of the newest one, and have the disk "
        "replaced.",
        good="The disk has given back everything as it was written.",
        unit="failures",
        critical=1,
        source="check_pgactivity 1/1",
    ),
    Check(
        id="postgresql.counters",
        title="Counters near their end",
        measure=_counters,
        finding="Table {table} can take only {left} more records.",
        why="Each record gets a number. When the counter has reached its end, no record can be "
        "added.",
        fix="Show this to whoever makes the app: the column must become a bigint, which needs a "
        "pause in the work.",
        good="No counter of the 500 largest tables is near its end.",
        unit="% of the counter",
        warning=75,
        critical=90,
        source="PgHero 90, check_postgres 85/95",
    ),
    Check(
        id="postgresql.dead_rows",
        title="Clean-up",
        measure=_dead_rows,
        finding="Table {table} still carries {dead} deleted records ({percent} %).",
        why="They take up room and slow down every search in it.",
        fix="Run: VACUUM (ANALYZE) {table}; (nobody has to wait for it)",
        good="Deleted records are cleaned up in time.",
        unit="% of the table",
        warning=10,
        critical=20,
        floor="10,000 deleted records",
        quiet_below=10_000,
        source="Prometheus alerts 10,000 and 10 %, pganalyze 20 %; act now only when the last "
        "clean-up is a day old",
        remedy=("postgresql.vacuum",),
    ),
    Check(
        id="postgresql.invalid_index",
        title="Half-built indexes",
        measure=_invalid,
        finding="{indexes} {was} left half-built.",
        why="An index is a sorted list that makes searching fast. A half-built one costs time at "
        "every change and helps no search, and one that should keep out duplicates does not.",
        fix="Show this to whoever makes the app. It can be built again with: "
        "REINDEX INDEX CONCURRENTLY {first};",
        good="All indexes are complete.",
        unit="indexes",
        warning=1,
        source="PgHero, pganalyze",
        remedy=("postgresql.reindex",),
    ),
)

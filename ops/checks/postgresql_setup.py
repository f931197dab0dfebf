"""How a PostgreSQL server is set up, and what the console's own user may do there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from ops.checks.base import Check, Context, Level, Reading
from ops.checks.words import listed, many

_LAST_REPAIRS: Final = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
"""postgresql.org/support/versioning; every version is repaired for five years."""

_SETTINGS: Final = """
SELECT name, setting FROM pg_settings
WHERE (name, setting) IN (('fsync', 'off'), ('full_page_writes', 'off'), ('autovacuum', 'off'),
                          ('track_counts', 'off'), ('zero_damaged_pages', 'on'),
                          ('ignore_checksum_failure', 'on'))
ORDER BY name
"""
_UNSAFE: Final = ("fsync", "full_page_writes")

_UNREADABLE: Final = """
SELECT format('%I.%I', n.nspname, c.relname) AS name, count(*) OVER () AS total
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S', 'm') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT (has_schema_privilege(n.oid, 'USAGE')
           AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                    ELSE has_table_privilege(c.oid, 'SELECT') END)
ORDER BY 1 LIMIT 10
"""

_ROW_SECURITY: Final = """
SELECT c.oid::regclass::text AS name, count(*) OVER () AS total
FROM pg_class c
WHERE c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE'))
  AND NOT EXISTS (SELECT 1 FROM pg_roles r
                  WHERE r.rolname = current_user AND (r.rolsuper OR r.rolbypassrls))
ORDER BY 1 LIMIT 10
"""


def _answers(context: Context, check: Check) -> Reading:
    milliseconds = context.facts["answer_ms"]
    words = {"time": f"{milliseconds:,.0f}"}
    return Reading(check.judge(milliseconds), words, milliseconds, "connecting and one question")


def _version(context: Context, check: Check) -> Reading:
    major = context.facts["major"]
    detail = f"server {context.facts['version']}"
    if major > max(_LAST_REPAIRS):
        return Reading(
            Level.INFO,
            {"major": major},
            detail=detail,
            sentence="PostgreSQL {major} is newer than this console knows.",
            fix="Look for a newer version of the console.",
        )
    ends = _LAST_REPAIRS.get(major, min(_LAST_REPAIRS.values()))
    days = (date.today() - ends).days
    words = {"major": major, "date": f"{ends:%d %B %Y}", "get": "get" if days > 0 else "will get"}
    return Reading(check.judge(days), words, days, f"{detail}; repaired until {ends}")


def _settings(context: Context, check: Check) -> Reading:
    rows = context.ask(_SETTINGS)
    names = [row["name"] for row in rows]
    if not names:
        return Reading(Level.GOOD, {}, 0)
    unsafe = [name for name in names if name in _UNSAFE]
    detail = "\n".join(f"{row['name']} = {row['setting']}" for row in rows)
    words = {"names": listed(names, shown=6), "first": (unsafe or names)[0]}
    if unsafe:
        return Reading(Level.NOW, words, len(names), detail)
    return Reading(
        Level.SOON,
        words,
        len(names),
        detail,
        sentence="A safety net of the server is not as it should be ({names}).",
    )


def _reads_everything(context: Context, check: Check) -> Reading:
    role, major = context.facts["role"], context.facts["major"]
    if context.facts["is_superuser"]:
        return Reading(Level.GOOD, {}, 0)
    closed, filtered = context.ask(_UNREADABLE), context.ask(_ROW_SECURITY)
    if closed:
        words = {
            "things": many(closed[0]["total"], "table or counter", "tables or counters"),
            "names": listed([row["name"] for row in closed]),
            "command": f"GRANT pg_read_all_data TO {role};"
            if major >= 14
            else "GRANT USAGE ON SCHEMA … and GRANT SELECT ON ALL TABLES, ALL SEQUENCES IN "
            f"SCHEMA … TO {role};",
        }
        detail = "\n".join(row["name"] for row in closed)
        return Reading(Level.NOW, words, closed[0]["total"], detail)
    if filtered:
        words = {
            "names": listed([row["name"] for row in filtered]),
            "command": f"ALTER ROLE {role} BYPASSRLS;",
        }
        return Reading(
            Level.NOW,
            words,
            filtered[0]["total"],
            "\n".join(row["name"] for row in filtered),
            sentence="The database hides some records of {names} from the console's user, so "
            "no complete backup can be made.",
        )
    return Reading(Level.GOOD, {}, 0)


_OWNER: Final = """
SELECT quote_ident(datname) AS database, quote_ident(rolname) AS owner, rolsuper AS is_superuser
FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE datname = current_database()
"""


def _superuser(context: Context, check: Check) -> Reading:
    if not context.facts["is_superuser"]:
        return Reading(Level.GOOD, {})
    (row,) = context.ask(_OWNER)
    words = {"role": context.facts["role"], "database": row["database"], "owning": _owning(row)}
    return Reading(Level.INFO, words)


def _owning(row: Mapping[str, Any]) -> str:
    """How another user gets the rights of the owner."""
    if not row["is_superuser"]:
        return f"GRANT {row['owner']} TO ops_console;"
    return (
        f"ALTER DATABASE {row['database']} OWNER TO ops_console; and for each table in it "
        "ALTER TABLE … OWNER TO ops_console;"
    )


ANSWERS: Final = Check(
    id="postgresql.answers",
    title="The database answers",
    measure=_answers,
    finding="The database takes {time} ms to answer; the app may feel slow.",
    why="An app whose database does not answer cannot work.",
    fix="Check that the server runs, that its machine is not overloaded, and the network "
    "between here and there.",
    good="The database answers in {time} ms.",
    unit="ms",
    warning=500,
    source="own",
)

CHECKS: Final = (
    Check(
        id="postgresql.settings",
        title="Safety settings",
        measure=_settings,
        finding="Safety was switched off for speed ({names}): a power cut may destroy the data.",
        why="The server then no longer makes sure that what was saved is on the disk, or that "
        "clean-up happens.",
        fix="Whoever runs the server can undo it, one setting at a time: "
        "ALTER SYSTEM RESET {first}; SELECT pg_reload_conf();",
        good="No safety setting is switched off.",
        source="pganalyze fsync critical",
    ),
    Check(
        id="postgresql.reads_everything",
        title="Complete backups",
        measure=_reads_everything,
        finding="The console's user may not read {things} ({names}), so no complete backup can "
        "be made.",
        why="What cannot be read cannot be backed up.",
        fix="As the server's administrator, run: {command}",
        good="The console's user may read everything, so backups are complete.",
        source="Databasus: silent gaps as the reason for test restores",
    ),
    Check(
        id="postgresql.version",
        title="Version",
        measure=_version,
        finding="PostgreSQL {major} {get} no more repairs after {date}.",
        why="Faults and security holes that are found later stay open.",
        fix="Plan the step to a newer version: make a backup, restore it on the newer server, "
        "try the app there.",
        good="PostgreSQL {major} gets repairs until {date}.",
        unit="days after the last repair",
        warning=-183,
        critical=1,
        source="postgresql.org, five years of repairs",
    ),
    Check(
        id="postgresql.superuser",
        title="All-powerful user",
        measure=_superuser,
        finding="The console logs in as {role}, who may do anything on this server.",
        why="A mistake, or a stolen password, then reaches every database of the server; and code "
        "that others wrote into the database runs with the same power when it is backed up, "
        "restored or counted.",
        fix="Give the console an ordinary user. As the server's administrator, run: "
        "CREATE ROLE ops_console LOGIN CREATEDB CREATEROLE PASSWORD '…'; "
        "GRANT pg_monitor, pg_signal_backend TO ops_console; {owning} "
        "Then put that user and password into the database's address in the settings.",
        good="The console's user has limited rights.",
        source="advice, no danger by itself (own)",
    ),
)

"""How a PostgreSQL server is set up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading, Versions
from ops.checks.postgresql_access import READS_EVERYTHING, SUPERUSER, TOOL
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

_PENDING: Final = "SELECT name FROM pg_settings WHERE pending_restart ORDER BY name"

_MISTAKES: Final = """
SELECT regexp_replace(sourcefile, '^.*/', '') AS file, sourceline AS line, name, error
FROM pg_file_settings f WHERE error IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM pg_settings s WHERE s.name = f.name AND s.pending_restart)
ORDER BY 1, 2 LIMIT 10
"""
"""What waits for a restart is no mistake; that is asked for by itself."""

_DOORS: Final = """
SELECT line_number AS line, type AS kind, database::text AS databases, user_name::text AS users,
       coalesce(address, '') AS address, auth_method AS method
FROM pg_hba_file_rules
WHERE auth_method IN ('trust', 'password') AND type <> 'local'
  AND (type <> 'hostssl' OR auth_method = 'trust')
  AND coalesce(address, '') NOT IN ('127.0.0.1', '::1', 'localhost', 'samehost')
ORDER BY auth_method DESC, 1 LIMIT 10
"""
"""A password that is sent inside TLS is sent unreadably."""

_SORTING: Final = """
SELECT 'database' AS name, datcollversion AS then,
       pg_database_collation_actual_version(oid) AS present
FROM pg_database WHERE datname = current_database()
  AND datcollversion <> pg_database_collation_actual_version(oid)
UNION ALL
SELECT quote_ident(c.collname), c.collversion, pg_collation_actual_version(c.oid)
FROM pg_collation c
WHERE c.collversion <> pg_collation_actual_version(c.oid)
  AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attcollation = c.oid AND a.attrelid >= 16384)
"""


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
        return Reading(Level.NOW, words, len(names), detail, subjects=tuple(names))
    return Reading(
        Level.SOON,
        words,
        len(names),
        detail,
        subjects=tuple(names),
        sentence="A safety net of the server is not as it should be ({names}).",
    )


def _read_only(context: Context, check: Check) -> Reading:
    if context.facts["is_standby"]:
        return Reading(
            Level.INFO,
            sentence="This is a stand-in copy of another server; nothing can be saved here.",
            fix="Give the console the address of the main server, to look after what is in use.",
        )
    is_on = context.ask("SELECT current_setting('default_transaction_read_only') AS v")[0]["v"]
    return Reading(Level.SOON if is_on == "on" else Level.GOOD, detail=f"read only: {is_on}")


def _waiting(context: Context, check: Check) -> Reading:
    names = [row["name"] for row in context.ask(_PENDING)]
    words = {"names": listed(names, shown=6), "have": "has" if len(names) == 1 else "have"}
    level = Level.INFO if names else Level.GOOD
    return Reading(level, words, len(names), "\n".join(names))


def _mistakes(context: Context, check: Check) -> Reading:
    rows = _granted(context, _MISTAKES, "pg_file_settings", "pg_show_all_file_settings()")
    words = {
        "mistakes": many(len(rows), "mistake"),
        "name": rows[0]["name"] if rows else "",
        "place": f"{rows[0]['file']}, line {rows[0]['line']}" if rows else "",
    }
    detail = "\n".join(f"{row['file']}:{row['line']} {row['name']}: {row['error']}" for row in rows)
    return Reading(check.judge(len(rows)), words, len(rows), detail)


def _open_door(context: Context, check: Check) -> Reading:
    rows = _granted(context, _DOORS, "pg_hba_file_rules", "pg_hba_file_rules()")
    words = {"line": rows[0]["line"] if rows else "", "method": rows[0]["method"] if rows else ""}
    detail = "\n".join(
        f"line {row['line']}: {row['kind']} {row['databases']} {row['users']} {row['address']} "
        f"{row['method']}"
        for row in rows
    )
    if rows and all(row["method"] == "password" for row in rows):
        return Reading(
            Level.SOON,
            words,
            len(rows),
            detail,
            sentence="From other machines, passwords are sent to this server readably.",
            fix="Whoever runs the server can write scram-sha-256 instead of password in line "
            "{line} of pg_hba.conf.",
        )
    return Reading(check.judge(len(rows)), words, len(rows), detail)


def _granted(context: Context, query: str, view: str, function: str) -> list[Mapping[str, Any]]:
    """Ask what only administrators may see, and name the grants where it is refused."""
    try:
        return context.ask(query)
    except CannotCheck as cannot:
        role = context.facts["role"]
        hint = (
            "As the server's administrator, run in this database: "
            f"GRANT SELECT ON {view} TO {role}; GRANT EXECUTE ON FUNCTION {function} TO {role};"
        )
        raise CannotCheck(cannot.reason, hint, cannot.detail) from cannot


def _sorting(context: Context, check: Check) -> Reading:
    rows = context.ask(_SORTING)
    detail = "\n".join(f"{r['name']}: {r['then']} then, {r['present']} today" for r in rows)
    names = tuple(str(row["name"]) for row in rows)
    return Reading(check.judge(len(rows)), {}, len(rows), detail, subjects=names)


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
        remedy=("postgresql.safe_setting",),
    ),
    READS_EVERYTHING,
    TOOL,
    Check(
        id="postgresql.sorting",
        title="Rules of sorting",
        measure=_sorting,
        finding="The operating system has changed its rules of sorting since this database was "
        "made: some searches may miss records.",
        why="Indexes of texts are in the order of the former rules, and duplicates may slip in.",
        fix="Have the indexes built anew, then the new rules noted: REINDEX DATABASE "
        "CONCURRENTLY …; ALTER DATABASE … REFRESH COLLATION VERSION;",
        good="The rules of sorting have not changed.",
        unit="sorting rules",
        warning=1,
        source="PostgreSQL's manual on collation versions; pgEdge",
        versions=Versions("15"),
        remedy=("postgresql.renew_sorting",),
    ),
    Check(
        id="postgresql.open_door",
        title="Who is let in",
        measure=_open_door,
        finding="This server lets in anybody from other machines, without a password.",
        why="Whoever reaches its address can read, change and delete everything.",
        fix="Whoever runs the server can take out line {line} of pg_hba.conf, or write "
        "scram-sha-256 instead of {method} there, and reload it.",
        good="From other machines, nobody gets in without a password.",
        unit="lines of pg_hba.conf",
        critical=1,
        source="pgEdge: trust from outside is critical",
        needs="SELECT on pg_hba_file_rules and EXECUTE on pg_hba_file_rules()",
    ),
    Check(
        id="postgresql.config_mistakes",
        title="Mistakes in the settings",
        measure=_mistakes,
        finding="The server's settings hold {mistakes} ({name}, {place}).",
        why="The server goes on with the former value, but may refuse to start the next time.",
        fix="Whoever runs the server can correct that line.",
        good="The files of the server's settings hold no mistake.",
        unit="mistakes",
        warning=1,
        source="pg_file_settings, any error",
        needs="SELECT on pg_file_settings and EXECUTE on pg_show_all_file_settings()",
    ),
    Check(
        id="postgresql.read_only",
        title="Saving",
        measure=_read_only,
        finding="The database is set to refuse all changes.",
        why="The app cannot save anything.",
        fix="If nobody meant it so, whoever runs the server can run: "
        "ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf(); and look at "
        "the same setting of the database and of its users.",
        good="The database takes changes.",
        source="own",
    ),
    Check(
        id="postgresql.pending_restart",
        title="Settings that wait",
        measure=_waiting,
        finding="{names} {have} been changed and will hold only after a restart.",
        why="The server does not work yet as whoever changed it expects.",
        fix="Restart the server at a quiet time, or take the change back.",
        good="No setting waits for a restart.",
        unit="settings",
        source="pg_settings.pending_restart; advice",
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
    SUPERUSER,
)

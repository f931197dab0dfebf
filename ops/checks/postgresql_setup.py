"""How a PostgreSQL server is set up, and what the console's own user may do there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading, Versions
from ops.checks.words import listed, many
from ops.dialects.postgresql.tools import tools_for
from ops.errors import PreflightRefused
from ops.target import redact

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
FROM pg_file_settings WHERE error IS NOT NULL AND error <> 'setting could not be applied'
ORDER BY 1, 2 LIMIT 10
"""
"""What could not be applied waits for a restart, which is asked for by itself."""

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
        return Reading(Level.NOW, words, len(names), detail, subjects=tuple(names))
    return Reading(
        Level.SOON,
        words,
        len(names),
        detail,
        subjects=tuple(names),
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


def _tool(context: Context, check: Check) -> Reading:
    try:
        tools = tools_for(context.facts["major"])
    except PreflightRefused as refused:
        detail = redact(refused.detail)
        return Reading(
            Level.NOW, {"major": context.facts["major"]}, detail=detail, fix=_plain(refused.hint)
        )
    return Reading(Level.GOOD, {"version": tools.version}, detail=str(tools.folder))


def _plain(text: str) -> str:
    """Text that is no pattern with placeholders."""
    return text.replace("{", "{{").replace("}", "}}")


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
        remedy=("postgresql.safe_setting",),
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
        id="postgresql.tool",
        title="Programs for backups",
        measure=_tool,
        finding="No backup can be made: the program for it does not fit PostgreSQL {major}.",
        why="A program that is older than the server refuses to work with it.",
        fix="Install the client programs of the server's version.",
        good="The program for backups ({version}) fits this server.",
        source="PostgreSQL's manual on pg_dump: it refuses a newer server",
    ),
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

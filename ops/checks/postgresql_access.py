"""What the console can do at a PostgreSQL server, and with which rights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ops.checks.base import Check, Context, Level, Reading
from ops.checks.words import listed, many
from ops.dialects.postgresql.tools import tools_for
from ops.errors import PreflightRefused
from ops.target import redact

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

_OWNER: Final = """
SELECT quote_ident(datname) AS database, quote_ident(rolname) AS owner, rolsuper AS is_superuser
FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE datname = current_database()
"""


def _answers(context: Context, check: Check) -> Reading:
    milliseconds = context.facts["answer_ms"]
    words = {"time": f"{milliseconds:,.0f}"}
    return Reading(check.judge(milliseconds), words, milliseconds, "connecting and one question")


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

READS_EVERYTHING: Final = Check(
    id="postgresql.reads_everything",
    title="Complete backups",
    measure=_reads_everything,
    finding="The console's user may not read {things} ({names}), so no complete backup can "
    "be made.",
    why="What cannot be read cannot be backed up.",
    fix="As the server's administrator, run: {command}",
    good="The console's user may read everything, so backups are complete.",
    source="Databasus: silent gaps as the reason for test restores",
)

TOOL: Final = Check(
    id="postgresql.tool",
    title="Programs for backups",
    measure=_tool,
    finding="No backup can be made: the program for it does not fit PostgreSQL {major}.",
    why="A program that is older than the server refuses to work with it.",
    fix="Install the client programs of the server's version.",
    good="The program for backups ({version}) fits this server.",
    source="PostgreSQL's manual on pg_dump: it refuses a newer server",
)

SUPERUSER: Final = Check(
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
)

"""Fixes for a whole PostgreSQL database, and for its server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from ops.dialects.postgresql.connect import connected
from ops.dialects.postgresql.names import run_plain
from ops.errors import Refused
from ops.fixes.base import Fix, Kind, Obstacle
from ops.fixes.postgresql_work import run_long, working
from ops.progress import Progress

_DATABASE: Final = """
SELECT quote_ident(current_database()) AS name, quote_ident(current_user) AS me,
       pg_has_role(datdba, 'USAGE') AS owns, quote_ident(pg_get_userbyid(datdba)) AS owner,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       (SELECT rolreplication FROM pg_roles WHERE rolname = current_user) AS replicates
FROM pg_database WHERE datname = current_database()
"""

_SAFE_SETTINGS: Final = {
    **dict.fromkeys(("fsync", "full_page_writes", "autovacuum", "track_counts"), "on"),
    **dict.fromkeys(("zero_damaged_pages", "ignore_checksum_failure"), "off"),
}


def _database(engine: Engine) -> Mapping[str, Any]:
    with connected(engine) as connection:
        return dict(connection.exec_driver_sql(_DATABASE).mappings().one())


def _owns_database(engine: Engine, _subject: str) -> Obstacle | None:
    found = _database(engine)
    if found["owns"]:
        return None
    return Obstacle(
        "Only the owner of the database may do this, and the console's user is not.",
        f"As the server's administrator, run: GRANT {found['owner']} TO {found['me']};",
    )


def _is_superuser(engine: Engine, _subject: str) -> Obstacle | None:
    if _database(engine)["is_superuser"]:
        return None
    return Obstacle(
        "Only the server's administrator may change its settings.",
        "Give whoever runs the server the command that is shown.",
    )


def _freeze(engine: Engine, _subject: str, progress: Progress) -> str:
    with working(engine) as connection:
        run_long(connection, "VACUUM (FREEZE, SKIP_LOCKED)", progress, "Cleaning up all tables")
    return "Clean-up has gone through all tables of this database that were not in use."


def _sorting_statements(engine: Engine) -> tuple[str, ...]:
    name = _database(engine)["name"]
    return (
        f"REINDEX DATABASE CONCURRENTLY {name}",
        f"ALTER DATABASE {name} REFRESH COLLATION VERSION",
    )


def _sorting_command(engine: Engine, _subject: str) -> str:
    return "\n".join(f"{statement};" for statement in _sorting_statements(engine))


def _renew_sorting(engine: Engine, _subject: str, progress: Progress) -> str:
    statements = _sorting_statements(engine)
    with working(engine) as connection:
        for statement in statements:
            run_long(connection, statement, progress, "Building all indexes anew")
    return "All indexes follow the sorting rules of the operating system again."


def _setting_command(_engine: Engine, subject: str) -> str:
    if subject not in _SAFE_SETTINGS:
        raise Refused(f"{subject!r} is not a setting that the console changes.")
    return f"ALTER SYSTEM SET {subject} = {_SAFE_SETTINGS[subject]};\nSELECT pg_reload_conf();"


def _make_safe(engine: Engine, subject: str, progress: Progress) -> str:
    command = _setting_command(engine, subject)
    progress.report(0, 1, "Setting")
    with working(engine) as connection:
        for statement in command.splitlines():
            run_plain(connection, statement)
    return f"{subject} is {_SAFE_SETTINGS[subject]}."


def _found(query: str, gone: str) -> Callable[[Connection, str], Mapping[str, Any]]:
    """A look-up of one thing by its name. Raises Refused with `gone` where there is none."""
    asked = text(query)

    def find(connection: Connection, subject: str) -> Mapping[str, Any]:
        row = connection.execute(asked, {"subject": subject}).mappings().one_or_none()
        if row is None:
            raise Refused(gone.format(subject), "Look again.")
        return dict(row)

    return find


_slot = _found(
    "SELECT format('SELECT pg_drop_replication_slot(%L)', slot_name) AS command, active"
    " FROM pg_replication_slots WHERE slot_name = :subject AND NOT temporary",
    "There is no copy connection {!r} any more.",
)
_prepared = _found(
    "SELECT format('ROLLBACK PREPARED %L', gid) AS command, owner::text AS owner,"
    " quote_ident(owner::text) AS quoted, quote_ident(current_user) AS me,"
    " owner = current_user OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS may"
    " FROM pg_prepared_xacts WHERE gid = :subject AND database = current_database()",
    "There is no half-finished change {!r} in this database any more.",
)
_extension = _found(
    "SELECT format('ALTER EXTENSION %I UPDATE', extname) AS command, extname AS name,"
    " pg_has_role(extowner, 'USAGE') AS may, quote_ident(pg_get_userbyid(extowner)) AS quoted,"
    " quote_ident(current_user) AS me FROM pg_extension WHERE extname = :subject",
    "The extension {!r} is no longer there.",
)


def _may_drop_slot(engine: Engine, subject: str) -> Obstacle | None:
    with connected(engine) as connection:
        if _slot(connection, subject)["active"]:
            return Obstacle(
                f"Somebody is fetching from the copy connection {subject} at this moment.",
                "Stop the other side first.",
            )
    found = _database(engine)
    if found["is_superuser"] or found["replicates"]:
        return None
    return Obstacle(
        "The console's database user may not give up copy connections.",
        f"As the server's administrator, run: ALTER ROLE {found['me']} REPLICATION;",
    )


def _owner_may(
    find: Callable[[Connection, str], Mapping[str, Any]],
) -> Callable[[Engine, str], Obstacle | None]:
    def may(engine: Engine, subject: str) -> Obstacle | None:
        with connected(engine) as connection:
            found = find(connection, subject)
        if found["may"]:
            return None
        return Obstacle(
            f"Only {found['quoted']} or the server's administrator may do this.",
            f"As the server's administrator, run: GRANT {found['quoted']} TO {found['me']}; "
            "or run the command that is shown.",
        )

    return may


def _told(find: Callable[[Connection, str], Mapping[str, Any]]) -> Callable[[Engine, str], str]:
    def command(engine: Engine, subject: str) -> str:
        with connected(engine) as connection:
            return str(find(connection, subject)["command"]) + ";"

    return command


def _done(
    find: Callable[[Connection, str], Mapping[str, Any]], said: str
) -> Callable[[Engine, str, Progress], str]:
    def run(engine: Engine, subject: str, progress: Progress) -> str:
        with working(engine) as connection:
            run_long(connection, str(find(connection, subject)["command"]), progress, "Working")
        return said.format(subject)

    return run


def _may_reset_statements(engine: Engine, _subject: str) -> Obstacle | None:
    with connected(engine) as connection:
        row = connection.execute(text(_RESET_RIGHT)).mappings().one_or_none()
    if row is None:
        return Obstacle("The server does not collect figures about statements.")
    if row["may"]:
        return None
    return Obstacle(
        "The console's database user may not start these figures anew.",
        f"As the server's administrator, run: GRANT EXECUTE ON FUNCTION {row['function']} "
        f"TO {row['me']};",
    )


_RESET_RIGHT: Final = """
SELECT p.oid::regprocedure::text AS function, quote_ident(current_user) AS me,
       format('SELECT %I.pg_stat_statements_reset(%s)', n.nspname,
              (SELECT string_agg('''0''::' || format_type(kind, NULL), ', ' ORDER BY place)
               FROM unnest(p.proargtypes) WITH ORDINALITY AS a (kind, place))) AS command,
       has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE') AS may
FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
  AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
JOIN pg_proc p ON p.oid = d.objid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE e.extname = 'pg_stat_statements' AND p.proname = 'pg_stat_statements_reset'
"""
"""The extension's own function, called with every argument (zeros, for all): whoever may create
in its schema could else have put one without arguments beside it, which ours would run."""


def _reset_statements(engine: Engine, _subject: str, progress: Progress) -> str:
    progress.report(0, 1, "Starting anew")
    with working(engine) as connection:
        command = connection.execute(text(_RESET_RIGHT)).mappings().one()["command"]
        run_plain(connection, command)
    return "The figures about statements start anew."


FIXES: Final[tuple[Fix[Engine], ...]] = (
    Fix(
        id="postgresql.freeze",
        title="Clean up the whole database",
        what="The server goes through all tables of this database and frees numbers that it "
        "gives to changes. Tables that are locked just then are left out.",
        kind=Kind.GUIDED,
        locks="Reading and saving go on, but the disk is busy: about a minute for each 10 GB.",
        command=lambda _engine, _subject: "VACUUM (FREEZE, SKIP_LOCKED);",
        may=_owns_database,
        run=_freeze,
    ),
    Fix(
        id="postgresql.renew_sorting",
        title="Build all indexes anew",
        what="Every index of this database is built again by today's sorting rules, and the "
        "server notes which rules they are.",
        kind=Kind.GUIDED,
        locks="Reading and saving go on, but the disk is busy: about a minute for each GB of "
        "indexes.",
        command=_sorting_command,
        may=_owns_database,
        run=_renew_sorting,
    ),
    Fix(
        id="postgresql.drop_slot",
        title="Give up the copy connection",
        what="The server no longer keeps changes for the other side. If a stand-in server still "
        "needs them, it has to be set up anew.",
        kind=Kind.GUIDED,
        locks="Nobody has to wait.",
        command=_told(_slot),
        may=_may_drop_slot,
        run=_done(_slot, "The copy connection {} is gone."),
        subject="copy connection",
        beside_work=True,
    ),
    Fix(
        id="postgresql.rollback_prepared",
        title="Take back the half-finished change",
        what="The change that was begun and never finished is taken back, as if it had not "
        "been. Ask whoever makes the app whether it should be finished instead.",
        kind=Kind.GUIDED,
        locks="Nobody has to wait; what it had locked is free afterwards.",
        command=_told(_prepared),
        may=_owner_may(_prepared),
        run=_done(_prepared, "The change {} was taken back."),
        subject="change",
    ),
    Fix(
        id="postgresql.update_extension",
        title="Bring the extension up to date",
        what="The parts of the extension that live in this database are brought to the version "
        "that is installed on the server.",
        kind=Kind.GUIDED,
        locks="What uses the extension may wait for some seconds.",
        command=_told(_extension),
        may=_owner_may(_extension),
        run=_done(_extension, "The extension {} is up to date."),
        subject="extension",
        wants_backup=True,
    ),
    Fix(
        id="postgresql.safe_setting",
        title="Switch the safety back on",
        what="The setting gets its safe value, and the server reads its settings again.",
        kind=Kind.GUIDED,
        locks="Nobody has to wait. Saving may get slower, because it gets safe.",
        command=_setting_command,
        may=_is_superuser,
        run=_make_safe,
        subject="setting",
    ),
    Fix(
        id="postgresql.reset_statements",
        title="Start these figures anew",
        what="The figures about statements are set to zero. Nothing else is changed.",
        kind=Kind.ONE_CLICK,
        locks="Nobody has to wait.",
        command=lambda _engine, _subject: "SELECT pg_stat_statements_reset();",
        may=_may_reset_statements,
        run=_reset_statements,
        beside_work=True,
    ),
)

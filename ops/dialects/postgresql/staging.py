"""Bringing an archive to life in a database beside the live one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from ops.archive.manifest import Manifest, TableRows
from ops.dialects.base import Notice, NoticeLevel, Replacement
from ops.dialects.postgresql.backup import count_tables, explained, server_major
from ops.dialects.postgresql.connect import (
    APPLICATION,
    ToolAccess,
    connected,
    database_of,
    maintenance,
)
from ops.dialects.postgresql.names import beside, oid_of, quoted, run_plain
from ops.dialects.postgresql.tools import ClientTools, tools_for, tools_that_read
from ops.errors import BadArchive, OpsError, PreflightRefused, ToolFailed
from ops.journal import Journal, Step
from ops.programs import run
from ops.progress import SILENT, Progress

_LIVE = """
SELECT d.oid::bigint AS oid, pg_encoding_to_char(encoding) AS encoding, datcollate, datctype,
       pg_get_userbyid(datdba) AS owner,
       CASE WHEN dattablespace <> (SELECT dattablespace FROM pg_database
                                   WHERE datname = 'template0')
            THEN spcname END AS tablespace,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       to_jsonb(d) ->> 'daticurules' AS icu_rules
FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE datname = :name
"""
"""to_jsonb: the locale columns differ between the versions 13 to 18."""

_RIGHTS = """
SELECT r.rolsuper OR r.rolcreatedb AS may_create, r.rolsuper AS superuser,
       r.rolsuper OR pg_has_role(d.datdba, 'USAGE') AS owns,
       r.rolsuper OR pg_has_role('pg_signal_backend', 'USAGE') AS may_end_sessions,
       quote_ident(r.rolname) AS role, quote_ident(d.datname) AS database,
       quote_ident(pg_get_userbyid(d.datdba)) AS owner,
       (SELECT count(*) FROM pg_prepared_xacts p WHERE p.database = d.datname) AS prepared,
       (SELECT count(*) FROM pg_replication_slots s WHERE s.database = d.datname) AS slots
FROM pg_roles r, pg_database d
WHERE r.rolname = current_user AND d.datname = current_database()
"""

_OTHERS_SETTINGS = """
SELECT quote_ident(pg_get_userbyid(s.setrole))
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, pg_roles me
WHERE d.datname = current_database() AND me.rolname = current_user
  AND NOT me.rolsuper AND s.setrole NOT IN (0, me.oid)
  AND NOT (me.rolcreaterole AND (current_setting('server_version_num')::int < 160000
           OR EXISTS (SELECT 1 FROM pg_auth_members m WHERE m.roleid = s.setrole
                      AND m.member = me.oid AND m.admin_option)))
"""
"""Roles whose settings for this database we may not set again (ALTER ROLE, manual)."""

_MISSING_EXTENSIONS = """
SELECT name FROM unnest(string_to_array(:wanted, ',')) AS name
WHERE name <> '' AND name NOT IN (SELECT e.name FROM pg_available_extensions e)
"""


def application_of(journal: Journal) -> str:
    """The name under which this restore's sessions show on the server."""
    return f"{APPLICATION} {journal.id}"


def archive_major(manifest: Manifest) -> int:
    """The major version of the pg_dump that made the archive; 0 where it does not say."""
    found = re.search(r"(\d+)", manifest.database.tool) if manifest.database else None
    return int(found[1]) if found else 0


def notices(engine: Engine, manifest: Manifest, *, foreign: bool) -> list[Notice]:
    """Rights, tools, leftovers that forbid a rename, extensions that are missing."""
    found = []
    with connected(engine) as connection:
        try:
            tools_for(server_major(connection), archive_major(manifest))
        except PreflightRefused as refusal:
            found.append(Notice(NoticeLevel.REFUSE, refusal.message, refusal.hint))
        found += _rights(connection, foreign=foreign)
        wanted = str(manifest.database.details.get("extensions", "")) if manifest.database else ""
        missing = list(connection.execute(text(_MISSING_EXTENSIONS), {"wanted": wanted}).scalars())
        if missing:
            message = f"The server lacks extensions that the backup needs: {', '.join(missing)}."
            hint = "Ask whoever runs the server to install them."
            found.append(Notice(NoticeLevel.REFUSE, message, hint))
        found += _room(connection)
    return found


def _rights(connection: Connection, *, foreign: bool) -> list[Notice]:
    row = connection.execute(text(_RIGHTS)).mappings().one()
    found = []
    if foreign and row["superuser"]:
        message = (
            "This backup was not made by this console, and commands in it would run with the "
            "rights of the server's administrator, whom the console signs in as."
        )
        hint = "Give the console a user of its own that owns the database and is no superuser."
        found.append(Notice(NoticeLevel.REFUSE, message, hint))
    elif foreign:
        message = (
            "This backup was not made by this console. Commands in it may do whatever the "
            "console's user may do, to the database in use as well."
        )
        found.append(Notice(NoticeLevel.WARN, message, "Go on only if you trust its maker."))
    if not row["may_create"]:
        message = "The console's user may not create the database in which a backup is checked."
        hint = f"As the server's administrator, run: ALTER ROLE {row['role']} CREATEDB;"
        found.append(Notice(NoticeLevel.REFUSE, message, hint))
    if not row["owns"]:
        message = (
            "The console's user does not own the database, so it may not put another in its place."
        )
        hint = f"As the server's administrator, run: GRANT {row['owner']} TO {row['role']};"
        found.append(Notice(NoticeLevel.REFUSE, message, hint))
    if row["prepared"]:
        message = "The database has unfinished two-step changes (prepared transactions)."
        hint = "Finish them with COMMIT PREPARED or ROLLBACK PREPARED."
        found.append(Notice(NoticeLevel.REFUSE, message, hint))
    if row["slots"]:
        message = (
            f"{row['slots']} replication slot(s) belong to the database as it is now; "
            "they stay with it and will not follow the restored one."
        )
        found.append(Notice(NoticeLevel.WARN, message, "Set them up anew after the restore."))
    others = list(connection.execute(text(_OTHERS_SETTINGS)).scalars())
    if others:
        message = (
            f"The database has settings of its own for {', '.join(others)}, which the console's "
            "user may not carry over to the restored one."
        )
        hint = (
            "As the server's administrator, write them down (\\drds in psql), remove them with "
            f"ALTER ROLE {others[0]} IN DATABASE {row['database']} RESET ALL; and set them again "
            "after the restore."
        )
        found.append(Notice(NoticeLevel.REFUSE, message, hint))
    if not row["may_end_sessions"]:
        message = "The console's user may end only its own connections to the database."
        hint = (
            "Stop the programs that use the database first, or run: "
            f"GRANT pg_signal_backend TO {row['role']};"
        )
        found.append(Notice(NoticeLevel.WARN, message, hint))
    return found


def _room(connection: Connection) -> list[Notice]:
    """Free disk, where the server's folder is on this machine and we may know it."""
    query = text(
        "SELECT current_setting('data_directory', true), pg_database_size(current_database())"
        " WHERE pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')"
    )
    row = connection.execute(query).one_or_none()
    if row is None or not row[0] or not os.access(row[0], os.R_OK):
        message = "Whether the server has room for a second copy could not be checked."
        hint = "It needs about twice the database's size free."
        return [Notice(NoticeLevel.INFO, message, hint)]
    free, need = shutil.disk_usage(row[0]).free, int(row[1] * 2.1)
    if free >= need:
        return []
    message = (
        f"The server's disk is too full to restore safely: {need:,} bytes are needed, "
        f"{free:,} are free."
    )
    return [Notice(NoticeLevel.REFUSE, message, "Make room on the server's disk.")]


def stage(
    engine: Engine, dump: Path, manifest: Manifest, journal: Journal, progress: Progress
) -> Replacement:
    """Create the staging database like the live one and restore into it."""
    live, application = database_of(engine), application_of(journal)
    with maintenance(engine, application=application) as connection:
        tools = tools_for(server_major(connection), archive_major(manifest))
        owners, notes = _owners(connection, tools, dump, manifest)
        like = dict(connection.execute(text(_LIVE), {"name": live}).mappings().one())
        staged = beside(live, "restore")
        journal.advance(Step.STAGING, live=live, live_oid=int(like["oid"]), staged=staged)
        run_plain(connection, _create_statement(staged, like, server_major(connection)))
        oid = oid_of(connection, staged) or 0
        journal.advance(Step.STAGING, staged_oid=oid)
    expected = _expected_bytes(manifest, dump)
    with (
        ToolAccess(engine, staged, dump.parent, application=application) as access,
        maintenance(engine) as watcher,
    ):
        watch = _size_watch(watcher, staged, expected, progress)
        _run_pg_restore(tools, dump, owners, access, watch)
    with connected(engine, staged) as connection:
        run_plain(connection, "ANALYZE")
        size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar()
    return Replacement(staged, int(size or 0), {"oid": oid}, tuple(notes))


def _create_statement(name: str, like: dict[str, object], major: int) -> str:
    def literal(value: object) -> str:
        return "'" + str(value).replace("'", "''") + "'"

    parts = [
        f"CREATE DATABASE {quoted(name)} TEMPLATE template0",
        f"OWNER {quoted(str(like['owner']))}",
        f"ENCODING {literal(like['encoding'])}",
        f"LC_COLLATE {literal(like['datcollate'])}",
        f"LC_CTYPE {literal(like['datctype'])}",
    ]
    if like["tablespace"]:
        parts.append(f"TABLESPACE {quoted(str(like['tablespace']))}")
    provider = {"c": "libc", "i": "icu", "b": "builtin", "d": "libc"}[str(like["provider"])]
    if major >= 15:
        parts.append(f"LOCALE_PROVIDER {provider}")
    if like["locale"] and provider in ("icu", "builtin"):
        parts.append(f"{provider.upper()}_LOCALE {literal(like['locale'])}")
    if like["icu_rules"]:
        parts.append(f"ICU_RULES {literal(like['icu_rules'])}")
    return " ".join(parts)


def _owners(
    connection: Connection, tools: ClientTools, dump: Path, manifest: Manifest
) -> tuple[list[str], list[str]]:
    """Options and notes where users that the archive names are not known to this server.

    Raises BadArchive when pg_restore cannot read the table of contents.
    """
    listed = subprocess.run(
        [tools.pg_restore, "--list", dump], capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        raise _unreadable(listed.stderr.strip())
    entries = [line for line in listed.stdout.splitlines() if re.match(r"\d+;", line)]
    known = list(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
    # A line ends with its owner, whose name may hold spaces, or with none.
    ends = (" ", *(f" {role}" for role in known))
    owners = {line.rsplit(" ", 1)[1] for line in entries if not line.endswith(ends)}
    missing = sorted(owners | (_named_roles(manifest) - set(known)))
    if not missing:
        return [], []
    note = (
        f"The backup names users unknown to this server ({', '.join(missing)}). Here everything "
        "belongs to the console's user, and grants to others were left out."
    )
    return ["--no-owner", "--no-privileges"], [note]


def _unreadable(detail: str) -> BadArchive:
    return BadArchive(
        "The database inside this backup is damaged or not a PostgreSQL dump.",
        "Use another copy of the backup.",
        detail=detail[:500],
    )


def _named_roles(manifest: Manifest) -> set[str]:
    """The roles that the manifest names; none where it does not, or not in our way."""
    told = manifest.database.details.get("roles", "[]") if manifest.database else "[]"
    try:
        roles = json.loads(str(told))
    except (ValueError, RecursionError):
        return set()
    return {str(role) for role in roles} if isinstance(roles, list) else set()


def _expected_bytes(manifest: Manifest, dump: Path) -> int:
    told = manifest.database.details.get("database_bytes") if manifest.database else None
    return told if isinstance(told, int) and told else dump.stat().st_size * 5


def _run_pg_restore(
    tools: ClientTools,
    dump: Path,
    options: list[str],
    access: ToolAccess,
    watch: Callable[[], None],
) -> None:
    command: list[str | Path] = [
        tools.pg_restore,
        "--exit-on-error",
        "--no-password",
        f"--jobs={min(4, os.cpu_count() or 1)}",
        *options,
        f"--dbname={access.conninfo}",
        dump,
    ]
    try:
        run(command, env=access.env, watch=watch)
    except ToolFailed as failed:
        raise _restore_failed(failed) from failed


def _size_watch(
    watcher: Connection, staged: str, expected: int, progress: Progress
) -> Callable[[], None]:
    query = text("SELECT pg_database_size(oid) FROM pg_database WHERE datname = :name")

    def watch() -> None:
        size = watcher.execute(query, {"name": staged}).scalar() or 0
        progress.report(
            min(int(size), expected * 0.99), expected, "Restoring beside the live database"
        )

    return watch


def _restore_failed(failed: ToolFailed) -> OpsError:
    told = explained(failed)
    if told.hint:
        return told
    return ToolFailed(
        "The backup could not be brought back: PostgreSQL refused a part of it. ",
        "The details name the part. A missing right or extension can be granted or "
        "installed; else use another backup.",
        failed.detail,
    )


def count_rows(engine: Engine, staged: Replacement, *, checksums: bool) -> tuple[TableRows, ...]:
    """The exact rows of every table of the staged database."""
    with connected(engine, staged.location, autocommit=False) as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        return count_tables(connection, SILENT, checksums=checksums)


def check_dump(dump: Path, manifest: Manifest, progress: Progress) -> None:
    """Let pg_restore read all of it: in 100 of 100 it noticed a truncation, `--list` in 0."""
    tools = tools_that_read(archive_major(manifest))
    command: list[str | Path] = [tools.pg_restore, f"--file={os.devnull}", dump]

    def watch() -> None:
        progress.report(0, 1, "Reading the database inside the backup")

    watch()
    try:
        run(command, env={**os.environ, "LC_ALL": "C"}, watch=watch)
    except ToolFailed as failed:
        raise _unreadable(failed.detail) from failed


def drop(engine: Engine, name: str) -> None:
    """Drop a staging database or an undo point, never anything else."""
    if not re.search(r"__(restore|before|undone)_\d{8}_\d{6}_[0-9a-f]{4}$", name):
        raise ValueError(f"{name!r} is not a database that a restore made")
    with maintenance(engine) as connection:
        if oid_of(connection, name) is not None:
            run_plain(connection, f"DROP DATABASE {quoted(name)} WITH (FORCE)")

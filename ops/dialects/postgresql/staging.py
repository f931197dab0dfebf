"""Bringing an archive to life in a database beside the live one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from ops.archive.manifest import Manifest, TableRows
from ops.cores import usable_cores
from ops.dialects.base import Replacement
from ops.dialects.postgresql import guest
from ops.dialects.postgresql.backup import count_tables, explained, server_major
from ops.dialects.postgresql.connect import ToolAccess, connected, database_of, maintenance
from ops.dialects.postgresql.contents import (
    archive_major,
    damaged,
    entries_of,
    needs_zstd,
    owner_options,
)
from ops.dialects.postgresql.names import beside, oid_of, quoted, run_plain
from ops.dialects.postgresql.sessions import application_of
from ops.dialects.postgresql.tools import ClientTools, tools_for, tools_that_read
from ops.errors import OpsError, ToolFailed
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

_MOST_JOBS = 4
_SIZE = "SELECT pg_database_size(oid) FROM pg_database WHERE datname = :name"


def stage(
    engine: Engine,
    dump: Path,
    manifest: Manifest,
    journal: Journal,
    progress: Progress,
    *,
    foreign: bool,
) -> Replacement:
    """Create the staging database like the live one and restore into it; a `foreign` archive
    by a login of its own, where the console's user may make one."""
    live, application = database_of(engine), application_of(journal)
    with maintenance(engine, application=application) as connection:
        major, zstd = archive_major(manifest), needs_zstd(manifest)
        tools = tools_for(server_major(connection), major, zstd=zstd)
        entries = entries_of(tools, dump)
        like = dict(connection.execute(text(_LIVE), {"name": live}).mappings().one())
        owner, login = str(like["owner"]), ""
        if foreign and guest.may_be_made(connection):
            options, notes = _left_out(owner)
            login = guest.new_name()
        else:
            options, notes = owner_options(connection, entries, manifest)
        staged = beside(live, "restore")
        facts: dict[str, str | int] = {"live": live, "live_oid": int(like["oid"])}
        journal.advance(Step.STAGING, **facts, staged=staged, guest=login)
        run_plain(connection, _create_statement(staged, like, server_major(connection)))
        oid = oid_of(connection, staged) or 0
        journal.advance(Step.STAGING, staged_oid=oid)
    expected = _expected_bytes(manifest, dump)
    with maintenance(engine) as watcher:
        watch = _size_watch(watcher, staged, expected, progress)
        tables = None
        if login:
            own = guest.make(engine, staged, owner, login)
            _fill(own, staged, application, tools, dump, options, watch)
            tables = count_rows(own, Replacement(staged), checksums=manifest.has_checksums)
            guest.hand_over(engine, staged, owner, login)
        else:
            _fill(engine, staged, application, tools, dump, options, watch)
        size = watcher.execute(text(_SIZE), {"name": staged}).scalar()
    return Replacement(staged, int(size or 0), {"oid": oid}, tuple(notes), tables)


def _left_out(owner: str) -> tuple[list[str], list[str]]:
    """Options and notes for an archive whose owners and grants mean nothing here."""
    note = (
        "The backup was not made by this console, so what it says about owners and grants was "
        f"left out: everything belongs to {owner}. Grants to others must be given anew."
    )
    return ["--no-owner", "--no-privileges"], [note]


def _fill(
    engine: Engine,
    staged: str,
    application: str,
    tools: ClientTools,
    dump: Path,
    options: list[str],
    watch: Callable[[], None],
) -> None:
    """Restore into the staging database as whom the engine signs in."""
    with ToolAccess(engine, staged, dump.parent, application=application) as access:
        _run_pg_restore(tools, dump, options, access, watch)
    with connected(engine, staged, application=application) as connection:
        run_plain(connection, "ANALYZE")


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
        f"--jobs={min(_MOST_JOBS, usable_cores())}",
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
    def watch() -> None:
        size = watcher.execute(text(_SIZE), {"name": staged}).scalar() or 0
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
    tools = tools_that_read(archive_major(manifest), zstd=needs_zstd(manifest))
    command: list[str | Path] = [tools.pg_restore, f"--file={os.devnull}", dump]

    def watch() -> None:
        progress.report(0, 1, "Reading the database inside the backup")

    watch()
    try:
        run(command, env={**os.environ, "LC_ALL": "C"}, watch=watch)
    except ToolFailed as failed:
        raise damaged(failed.detail) from failed


def drop_staged(engine: Engine, journal: Journal) -> None:
    """Drop what a restore has made on the server until now, the login of its own as well."""
    if "staged" in journal.facts:
        drop(engine, str(journal.facts["staged"]))
    if journal.facts.get("guest"):
        guest.drop(engine, str(journal.facts["guest"]))


def drop(engine: Engine, name: str) -> None:
    """Drop a staging database or an undo point, never anything else."""
    if not re.search(r"__(restore|before|undone)_\d{8}_\d{6}_[0-9a-f]{4}$", name):
        raise ValueError(f"{name!r} is not a database that a restore made")
    with maintenance(engine) as connection:
        if oid_of(connection, name) is not None:
            run_plain(connection, f"DROP DATABASE {quoted(name)} WITH (FORCE)")

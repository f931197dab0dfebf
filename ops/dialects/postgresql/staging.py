"""Bringing an archive to life in a database beside the live one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, text

from ops.archive.manifest import Manifest
from ops.cores import usable_cores
from ops.dialects.base import Replacement
from ops.dialects.postgresql import guest
from ops.dialects.postgresql.analyze import analyze_and_count
from ops.dialects.postgresql.backup import explained, server_major
from ops.dialects.postgresql.connect import ToolAccess, connected, database_of, maintenance
from ops.dialects.postgresql.contents import (
    archive_major,
    entries_of,
    needs_zstd,
    owner_options,
    within_reach,
    write_listing,
)
from ops.dialects.postgresql.growth import Growth, Limit, expected_bytes
from ops.dialects.postgresql.names import beside, is_ours, oid_of, quoted, run_plain
from ops.dialects.postgresql.reading import memory_limit, read_through, unreadable
from ops.dialects.postgresql.sessions import application_of
from ops.dialects.postgresql.tools import ClientTools, tools_for, tools_that_read
from ops.errors import OpsError, ToolCrashed, ToolFailed, Unavailable
from ops.journal import Journal, Step
from ops.programs import bytes_read, run
from ops.progress import Progress

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


_MOST_JOBS: Final = 4
_FILLED: Final = 0.85
"""The share of the time after which all is in the staging database, and is counted."""


@dataclass(frozen=True)
class _Plan:
    """What is brought to life where, by which tools; `login` is that of a guest, if it needs
    one, and `like` describes the live database."""

    staged: str
    login: str
    like: dict[str, object]
    tools: ClientTools
    entries: list[str]
    options: list[str]
    notes: list[str]


def stage(
    engine: Engine,
    dump: Path,
    manifest: Manifest,
    journal: Journal,
    progress: Progress,
    *,
    foreign: bool,
) -> Replacement:
    """Create the staging database like the live one, restore into it, count it; a `foreign`
    archive by a login of its own, where the console's user may make one.

    What a guest has brought to life stays its own until the swap. An archive of this console's
    is brought to life by the console's user, even if that is a superuser, because only so do
    owners and grants come back: the code in it is that of the live database, which the same
    user meets there with every backup.
    """
    application = application_of(journal)
    with maintenance(engine, application=application) as connection:
        plan = _planned(connection, database_of(engine), dump, manifest, foreign=foreign)
        oid = _create(connection, plan, journal)
    with maintenance(engine) as watcher:
        limit = Limit.of(watcher, plan.staged, manifest, dump) if foreign else None
        by = guest.make(engine, plan.staged, plan.login) if plan.login else engine
        _choose(by, plan, dump)
        growth = Growth(watcher, plan.staged, progress, limit)
        watch = partial(_watch_filling, growth, expected_bytes(manifest, dump))
        _fill(by, plan, application, dump, watch)
        counting = growth.within(_FILLED, 1)
        with guest.seeing_all(by, plan.staged) if plan.login else nullcontext():
            tables = analyze_and_count(by, plan.staged, application, counting, manifest)
        size = growth.checked_size()
    facts: dict[str, str | int] = {"oid": oid, "guest": plan.login}
    return Replacement(plan.staged, size, facts, tuple(plan.notes), tables)


def _planned(
    connection: Connection, live: str, dump: Path, manifest: Manifest, *, foreign: bool
) -> _Plan:
    zstd = needs_zstd(manifest)
    tools = tools_for(server_major(connection), archive_major(manifest), zstd=zstd)
    entries = entries_of(tools, dump)
    like = dict(connection.execute(text(_LIVE), {"name": live}).mappings().one())
    if foreign and guest.may_be_made(connection):
        login, (options, notes) = guest.new_name(), _left_out(str(like["owner"]))
    else:
        login, (options, notes) = "", owner_options(connection, entries, manifest, live)
    if any(" SUBSCRIPTION - " in entry for entry in entries):
        notes = [*notes, _SUBSCRIPTIONS_LEFT_OUT]
    return _Plan(
        beside(live, "restore"), login, {**like, "name": live}, tools, entries, options, notes
    )


_SUBSCRIPTIONS_LEFT_OUT: Final = (
    "Subscriptions to other servers were left out: two databases must not take the same changes. "
    "Set them up anew (CREATE SUBSCRIPTION) where they are still wanted."
)


def _choose(by: Engine, plan: _Plan, dump: Path) -> None:
    """Leave out what `by` may not bring back, and note it."""
    with connected(by, plan.staged, autocommit=False) as connection:
        chosen, notes = within_reach(connection, plan.entries)
    if chosen != plan.entries:
        listing = dump.with_suffix(".list")
        write_listing(chosen, listing)
        plan.options.append(f"--use-list={listing}")
    plan.notes.extend(notes)


def _create(connection: Connection, plan: _Plan, journal: Journal) -> int:
    """Make the empty staging database, which only its owner may enter; its oid."""
    like = plan.like
    facts: dict[str, str | int] = {"live": str(like["name"]), "live_oid": int(str(like["oid"]))}
    journal.advance(Step.STAGING, **facts, staged=plan.staged, guest=plan.login)
    run_plain(connection, _create_statement(plan.staged, like, server_major(connection)))
    run_plain(connection, f"REVOKE ALL ON DATABASE {quoted(plan.staged)} FROM PUBLIC")
    oid = oid_of(connection, plan.staged) or 0
    journal.advance(Step.STAGING, staged_oid=oid)
    return oid


def _left_out(owner: str) -> tuple[list[str], list[str]]:
    """Options and notes for an archive whose owners and grants mean nothing here."""
    note = (
        "The backup was not made by this console, so what it says about owners and grants was "
        f"left out: everything belongs to {owner}. Grants to others must be given anew."
    )
    return ["--no-owner", "--no-privileges"], [note]


def _fill(
    engine: Engine, plan: _Plan, application: str, dump: Path, watch: Callable[[], None]
) -> None:
    """Restore into the staging database as whom the engine signs in."""
    with ToolAccess(engine, plan.staged, dump.parent, application=application) as access:
        command: list[str | Path] = [
            plan.tools.pg_restore,
            "--exit-on-error",
            "--no-password",
            "--no-subscriptions",
            f"--jobs={min(_MOST_JOBS, usable_cores())}",
            *plan.options,
            f"--dbname={access.conninfo}",
            dump,
        ]
        try:
            watch()  # also where it is over before the first look
            run(command, env=access.env, watch=watch, limits=memory_limit())
        except ToolFailed as failed:
            raise _restore_failed(failed) from failed


def _watch_filling(growth: Growth, expected: int) -> None:
    """Report how much of the `expected` bytes is there. Raises BadArchive, Cancelled."""
    size = min(growth.checked_size(), expected * 0.99)
    growth.within(0, _FILLED).report(size, expected, "Restoring beside the live database")


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


_OF_THE_SERVER: Final = (
    "server closed the connection unexpectedly",
    "the database system is",
    "No space left on device",
    "terminating connection due to administrator command",
)
"""What pg_restore prints when the server ends or its disk is full, as far as they speak English; in
another language only a server that is gone is told from a bad archive."""


def _is_of_the_server(detail: str) -> bool:
    """Asked of what pg_restore says itself: commands and rows of the archive prove nothing."""
    lines = [line for line in detail.splitlines() if line.startswith("pg_restore:")]
    said = re.sub(r'"[^"]*"', "", "\n".join(lines))
    return any(sign in said for sign in _OF_THE_SERVER)


def _restore_failed(failed: ToolFailed) -> OpsError:
    if _is_of_the_server(failed.detail):
        return Unavailable(
            "The database server broke off the work while the backup was being brought back.",
            "Try again when the server is up and its disk has room. If it breaks off each time, "
            "use another backup.",
            failed.detail,
        )
    told = explained(failed)
    if told.hint:
        return told
    if isinstance(failed, ToolCrashed):
        return unreadable(failed.detail)
    return ToolFailed(
        "The backup could not be brought back: PostgreSQL refused a part of it.",
        "The details name the part. A missing right or extension can be granted or "
        "installed; else use another backup.",
        failed.detail,
    )


def check_dump(dump: Path, manifest: Manifest, progress: Progress) -> None:
    """Let pg_restore read all of it: in 100 of 100 it noticed a truncation, `--list` in 0."""
    tools = tools_that_read(archive_major(manifest), zstd=needs_zstd(manifest))

    size = max(1, dump.stat().st_size)

    def watch() -> None:
        read = min(bytes_read(), size * 0.99)
        progress.report(read, size, "Reading the database inside the backup")

    watch()
    read_through(tools, dump, f"--file={os.devnull}", watch=watch)


def drop_staged(engine: Engine, journal: Journal) -> None:
    """Drop what a restore has made on the server until now, the login of its own as well."""
    if "staged" in journal.facts:
        drop(engine, str(journal.facts["staged"]))
    if journal.facts.get("guest"):
        guest.drop(engine, str(journal.facts["guest"]))


def drop(engine: Engine, name: str) -> None:
    """Drop a staging database or an undo point, never anything else."""
    if not is_ours(name):
        raise ValueError(f"{name!r} is not a database that a restore made")
    with maintenance(engine) as connection:
        if oid_of(connection, name) is not None:
            run_plain(connection, f"DROP DATABASE {quoted(name)} WITH (FORCE)")

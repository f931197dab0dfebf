"""Putting an archive in place where no second database may be made: in one transaction.

All tables are locked, the locked state is saved by pg_dump at a snapshot of this very
transaction, then everything is dropped, brought back from the archive, counted, committed.
Measured over 40 kills: as before or the archive, nothing in between, no acknowledged commit
lost. A script piped into psql was in between after 8 of 30; here nobody but us can commit.

A file stands where elsewhere a database's name does: `Replacement.location` is absolute.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, text

from ops.archive.manifest import Manifest, TableRows
from ops.datafolder import replace_durably
from ops.dialects.base import Replacement
from ops.dialects.postgresql.backup import run_pg_dump, server_major
from ops.dialects.postgresql.body import body_of
from ops.dialects.postgresql.connect import connected, database_of
from ops.dialects.postgresql.contents import (
    archive_major,
    entries_of,
    for_administrators,
    needs_zstd,
    owner_options,
    shown,
)
from ops.dialects.postgresql.counting import count_tables
from ops.dialects.postgresql.large_objects import END_OTHERS, refuse_if_others_stay
from ops.dialects.postgresql.names import oid_of, run_plain
from ops.dialects.postgresql.sessions import application_of, attended, end_leftovers, repeated
from ops.dialects.postgresql.tools import ClientTools, tools_for
from ops.dialects.postgresql.wipe import kept_schemas, lock_all_tables, refuse_if_changed, wipe
from ops.errors import MismatchFound, NeedsHuman, PreflightRefused
from ops.journal import Journal, Step
from ops.progress import Progress

_MAY_CREATE: Final = "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"

_END_BLOCKERS: Final = """
SELECT pg_terminate_backend(theirs.pid)
FROM pg_stat_activity ours, unnest(pg_blocking_pids(ours.pid)) AS blocking(pid)
JOIN pg_stat_activity theirs USING (pid)
WHERE ours.application_name = :application AND theirs.application_name <> :application
"""
"""Whoever holds a lock that we or our pg_dump wait for. What the role may not end, the
lock_timeout ends the restore for."""

_SNAPSHOT: Final = """
SELECT pg_export_snapshot(), pg_current_snapshot()::text,
       pg_database_size(current_database())
"""

_MAKE_DURABLE: Final = "SELECT pg_logical_emit_message(true, 'ops-console', '')"
"""A small commit of another session flushes the log up to here, and with it the number of our
transaction: after a crash the server would otherwise give the number to somebody else's."""

_OUTCOME: Final = """
SELECT CASE WHEN CAST(CAST(:xid AS text) AS xid8) < pg_snapshot_xmax(pg_current_snapshot())
            THEN pg_xact_status(CAST(CAST(:xid AS text) AS xid8)) END
"""

Result = TypeVar("Result")


def is_file(replacement: Replacement) -> bool:
    """Whether it is a dump to put in place, and not a database."""
    return Path(replacement.location).is_absolute()


def is_needed(engine: Engine) -> bool:
    """Whether the console's user may not create databases. Raises Unavailable."""
    with connected(engine) as connection:
        return not connection.execute(text(_MAY_CREATE)).scalar()


def stage(
    engine: Engine, dump: Path, manifest: Manifest, journal: Journal, progress: Progress
) -> Replacement:
    """Look whether the archive can be put in place, and count its rows; nothing is made.

    Raises BadArchive, PreflightRefused, Cancelled.
    """
    with connected(engine) as connection:
        major, zstd = archive_major(manifest), needs_zstd(manifest)
        tools = tools_for(server_major(connection), major, zstd=zstd)
        entries = entries_of(tools, dump)
        options, notes = owner_options(
            connection, entries, manifest, database_of(engine), in_place=True
        )
    unable = for_administrators(entries)
    if unable:
        raise PreflightRefused(
            "The backup holds what only the server's administrator may bring back: "
            f"{shown(unable[:5])}.",
            "Ask whoever runs the server to restore it with pg_restore.",
        )
    journal.advance(Step.STAGING, live=database_of(engine), options=" ".join(options))
    counted = body_of(tools, dump, dump.with_suffix(".list")).count(progress)
    tables = tuple(TableRows(name=name, rows=rows) for name, rows in sorted(counted.items()))
    facts: dict[str, str | int] = {"archive_major": major, "zstd": int(zstd)}
    return Replacement(str(dump), dump.stat().st_size, facts, tuple(notes), tables)


def swap(
    engine: Engine, replacement: Replacement, journal: Journal, progress: Progress
) -> Replacement:
    """Put the file in the place of all that the live database holds; the safety dump is the
    way back."""
    keep = Path(str(journal.facts["keep_in"])) / f"{journal.id}.pgdump"
    with connected(engine) as connection:
        oid = oid_of(connection, database_of(engine)) or 0
    journal.advance(Step.SWAPPING, live=database_of(engine), live_oid=oid, keep=str(keep))
    place = _Place(engine, replacement, journal, keep)
    place.work.mkdir(mode=0o700)
    application = application_of(journal)
    with (
        connected(engine, autocommit=False, application=application) as connection,
        connection.begin(),
        connected(engine, application=application) as helper,
        repeated(helper, _END_BLOCKERS, {"application": application}),
        connected(engine, application=application) as another,
        repeated(another, END_OTHERS, {}),
    ):
        place.save(connection, progress.within(0, 0.3))
        place.refill(connection, progress.within(0.3, 1))
        with connected(engine, application=application) as outside:
            refuse_if_others_stay(outside)  # for us the old large objects are gone already
        _note_transaction(engine, connection, journal)
    shutil.rmtree(place.work, ignore_errors=True)
    return Replacement(str(keep), keep.stat().st_size)


@dataclass(frozen=True)
class _Place:
    """One replacement on its way into the live database, in the caller's transaction."""

    engine: Engine
    replacement: Replacement
    journal: Journal
    keep: Path

    @property
    def work(self) -> Path:
        """A folder for the password file and half a safety dump."""
        return _work_beside(self.keep)

    def save(self, connection: Connection, progress: Progress) -> None:
        """Lock, dump the locked state, drop all. Raises Busy, ToolFailed, Cancelled."""
        application = application_of(self.journal)
        run_plain(connection, "SET LOCAL lock_timeout = '10s'")
        run_plain(connection, "SET LOCAL synchronous_commit = on")
        run_plain(connection, "SET LOCAL client_min_messages = warning")
        _watched(connection, lock_all_tables, progress, 0.05, "Waiting until nobody writes")
        refuse_if_others_stay(connection)
        snapshot, seen, size = connection.execute(text(_SNAPSHOT)).one()
        # Those that the undo will choose too, which knows nothing of the archive.
        tools, draft = tools_for(server_major(connection)), self.work / "safety.part"
        saving = progress.within(0.05, 0.9)
        saving.report(0, 1, "Saving the database as it is")
        run_pg_dump(
            self.engine,
            connection,
            tools,
            snapshot,
            draft,
            size,
            saving,
            application,
            compression="zstd" if tools.zstd else "gzip",
        )
        replace_durably(draft, self.keep)
        refuse_if_changed(connection, seen)
        refuse_if_others_stay(connection)
        _watched(connection, wipe, progress, 0.9, "Clearing the database")

    def refill(self, connection: Connection, progress: Progress) -> None:
        """Bring the file back, and count. Raises ToolFailed, MismatchFound, Cancelled."""
        body = body_of(
            self.tools(connection),
            Path(self.replacement.location),
            self.work / "contents.list",
            options=str(self.journal.facts.get("options", "")).split(),
            kept_schemas=kept_schemas(connection),
        )
        given = body.load(connection, progress.within(0, 0.8))
        counted = _counted(connection, progress.within(0.8, 0.9))
        if counted != given:
            raise MismatchFound(
                "The database did not take what the backup holds.",
                "Try again; if it happens again, look at the details.",
                f"given {given}, found {counted}",
            )
        _watched(connection, _analyze, progress, 0.9, "Telling the planner")
        progress.report(1, 1, "Putting the backup in place")

    def tools(self, connection: Connection) -> ClientTools:
        """What fits the server and reads the file."""
        facts = self.replacement.facts
        known, zstd = int(facts.get("archive_major", 0)), bool(facts.get("zstd"))
        return tools_for(server_major(connection), known, zstd=zstd)


def _work_beside(keep: Path) -> Path:
    return keep.with_suffix(".work")


def _watched(
    connection: Connection,
    work: Callable[[Connection], Result],
    progress: Progress,
    done: float,
    note: str,
) -> Result:
    """One long step on the server, reported and to be stopped at any moment."""

    def report() -> None:
        progress.report(done, 1, note)

    report()
    return attended(connection, lambda: work(connection), report)


def _counted(connection: Connection, progress: Progress) -> dict[str, int]:
    progress.report(0, 1, "Counting every row")
    return {table.name: table.rows for table in count_tables(connection, progress)}


def _analyze(connection: Connection) -> None:
    run_plain(connection, "ANALYZE")


def _note_transaction(engine: Engine, connection: Connection, journal: Journal) -> None:
    """Write down by what number the server knows the transaction that is about to commit."""
    xid = connection.execute(text("SELECT pg_current_xact_id()::text::numeric")).scalar()
    with connected(engine) as other:
        run_plain(other, "SET synchronous_commit = on")
        run_plain(other, _MAKE_DURABLE)
    journal.advance(Step.SWAPPING, xid=int(xid or 0))


def settle(engine: Engine, journal: Journal) -> None:
    """Decide by what became of the transaction, after ending what is left of our own work."""
    facts, keep = journal.facts, Path(str(journal.facts["keep"]))
    with connected(engine) as connection:
        end_leftovers(connection, application_of(journal))
        outcome = "aborted"
        if "xid" in facts:
            same = oid_of(connection, str(facts["live"])) == facts["live_oid"]
            query = text(_OUTCOME)
            told = connection.execute(query, {"xid": str(facts["xid"])}).scalar() if same else None
            outcome = str(told)
    if outcome == "committed":
        journal.keep_undo_file(keep)
        journal.advance(Step.DONE)
    elif outcome == "aborted":
        keep.unlink(missing_ok=True)
        journal.advance(Step.ROLLED_BACK)
    else:
        raise NeedsHuman(
            "A restore was interrupted in its last step, and the server does not know any more "
            "how it ended.",
            "Nothing was touched. Look whether the database is as before or as in the backup; "
            f"as it was before, it is kept in {keep}.",
            detail=f"transaction {facts.get('xid')}: {outcome}",
        )
    shutil.rmtree(_work_beside(keep), ignore_errors=True)


def discard(replacement: Replacement) -> None:
    """Delete a staged file or a safety dump, never anything else."""
    path = Path(replacement.location)
    is_safety = path.parent.parent.name == "undo" and path.suffix == ".pgdump"
    is_staged = path.parent.parent.parent.name == "work" and path.name == "staged.pgdump"
    if not (is_safety or is_staged):
        raise ValueError(f"{path} is not a file that a restore made")
    path.unlink(missing_ok=True)

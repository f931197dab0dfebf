"""Taking a snapshot: pg_dump and the row counts see the same moment.

pg_export_snapshot and --snapshot: 10 of 10 counts exact under load; counts from another
transaction 0 of 10.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, text

from ops.datafolder import disk_full
from ops.dialects.base import Notice, NoticeLevel, Sink, Snapshot, with_columns
from ops.dialects.postgresql import counting
from ops.dialects.postgresql.connect import APPLICATION, ToolAccess, connected
from ops.dialects.postgresql.counting import Overtaken
from ops.dialects.postgresql.readable import reading_notices
from ops.dialects.postgresql.rows import shapes
from ops.dialects.postgresql.tools import ClientTools, tools_for
from ops.errors import OpsError, PreflightRefused, ToolFailed
from ops.programs import run
from ops.progress import Progress

_OWN_DISK_FULL: Final = re.compile(
    r"pg_dump: error: could not .*(No space left on device|Disk quota exceeded)"
)
"""The server's own disk is told of in lines that begin otherwise."""
_COMPRESS: Final = {"zstd": "--compress=zstd:1", "gzip": "--compress=1", "none": "--compress=0"}
"""Every version knows the last two. Measured against the default, gzip 6: zstd 0.21 of its time,
gzip 1 0.37, none with ISA-L in the archive 0.25 to 0.33."""

_TRIES: Final = 6
_LONGEST_PAUSE_SECONDS: Final = 4
_TOOLS_WAIT_SECONDS: Final = 5
"""Short: whoever asks for a table between our lock and that of pg_dump waits for us, pg_dump for
that program, and all other readers of the table stand behind."""
_LOCKING: Final = re.compile(r"query was: LOCK TABLE|IN ACCESS SHARE MODE\s*\Z", re.IGNORECASE)
"""How it tells that a lock was not to be had; of a long list of tables only the end is kept."""

_ROOM_COMPRESSED: Final = 1.1
_ROOM_UNCOMPRESSED: Final = 1.6
"""Times the database's size, which counts its indexes as well: the dump, and the archive that is
made of it where the dump itself is not compressed."""

_COPIED: Final = """
SELECT p.relid::bigint, p.bytes_processed
FROM pg_stat_progress_copy p JOIN pg_stat_activity a USING (pid)
WHERE p.datname = current_database() AND a.application_name = :application
"""

_DETAILS: Final = """
SELECT pg_encoding_to_char(encoding) AS encoding, datcollate AS collation, datctype AS ctype,
       pg_database_size(oid) AS database_bytes,
       (SELECT coalesce(string_agg(extname, ',' ORDER BY extname), '')
        FROM pg_extension) AS extensions,
       (SELECT coalesce(json_agg(rolname ORDER BY rolname)::text, '[]') FROM pg_roles r
        WHERE EXISTS (SELECT 1 FROM pg_shdepend s
                      WHERE s.dbid = d.oid AND s.refclassid = 'pg_authid'::regclass
                        AND s.refobjid = r.oid)) AS roles
FROM pg_database d WHERE datname = current_database()
"""
"""`roles`: all that own something here, or are granted something, or named in a policy."""


def server_major(connection: Connection) -> int:
    """The server's major version, such as 16."""
    number = connection.execute(text("SELECT current_setting('server_version_num')::int")).scalar()
    return int(number or 0) // 10_000


def notices(engine: Engine, workspace: Path) -> list[Notice]:
    """Tools, rights and room."""
    found, room = [], _ROOM_UNCOMPRESSED
    with connected(engine) as connection:
        try:
            if tools_for(server_major(connection)).zstd:
                room = _ROOM_COMPRESSED
        except PreflightRefused as refusal:
            found.append(Notice(NoticeLevel.REFUSE, refusal.message, refusal.hint))
        found += reading_notices(connection)
        size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar()
    free, need = shutil.disk_usage(workspace).free, int(int(size or 0) * room)
    if free < need:
        message = (
            f"There is not enough room for a backup: it may need {need:,} bytes, {free:,} are free."
        )
        hint = "Delete old backups or make room on the disk."
        found.append(Notice(NoticeLevel.REFUSE, message, hint, is_about_room=True))
    return found


def dump(
    engine: Engine, workspace: Path, sink: Sink, progress: Progress, *, checksums: bool
) -> Snapshot:
    """Run pg_dump at an exported snapshot and count every table at the same one.

    It writes a file and no pipe: so the table of contents has the offsets by which pg_restore
    works with several jobs.
    """
    for again in range(_TRIES, 0, -1):
        try:
            return _dump(engine, workspace, sink, progress, checksums=checksums)
        except Overtaken:
            if again == 1:
                raise
        _pause(_TRIES - again, progress)
    raise AssertionError("the last try returns or raises")


def _pause(number: int, progress: Progress) -> None:
    """Before another try: a second, and longer each time. Raises Cancelled."""
    ends = time.monotonic() + min(2**number, _LONGEST_PAUSE_SECONDS)
    while time.monotonic() < ends:
        progress.report(0, 1, "Waiting for another program to finish changing a table")
        time.sleep(0.2)


def _dump(
    engine: Engine, workspace: Path, sink: Sink, progress: Progress, *, checksums: bool
) -> Snapshot:
    into, packing = workspace / "dump", progress.within(0.8, 1)
    with connected(engine, autocommit=False) as connection:
        found = counting.tables_of(connection)
        connection.rollback()
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        connection.execute(text("SET LOCAL row_security = off"))
        counting.keep_whole(connection, found, progress)
        taken_at, snapshot = connection.execute(
            text("SELECT clock_timestamp(), pg_export_snapshot()")
        ).one()
        counting.refuse_others(connection, found)
        details = dict(connection.execute(text(_DETAILS)).mappings().one())
        tools = tools_for(server_major(connection))
        version = connection.execute(text("SHOW server_version")).scalar()
        total = max(1, int(details["database_bytes"]))
        dumped = 0.5 if checksums else 0.75
        compression = "zstd" if tools.zstd else "none"
        details |= {"compression": compression, counting.COUNTED: counting.OWN_ROWS}
        copying = progress.within(0, dumped)
        run_pg_dump(
            engine, connection, tools, snapshot, into, total, copying, compression=compression
        )
        tables = counting.count_tables(
            connection, progress.within(dumped, 0.8), checksums=checksums
        )
        counting.refuse_renamed(connection)
        tables = with_columns(tables, shapes(connection))
    with into.open("rb", buffering=0) as stream:
        sink(stream, into.stat().st_size, compressed=tools.zstd, progress=packing)
    into.unlink()
    return Snapshot(
        _as_datetime(taken_at),
        tables,
        str(version).split()[0],
        f"pg_dump {tools.version}",
        details,
    )


def run_pg_dump(
    engine: Engine,
    holder: Connection,
    tools: ClientTools,
    snapshot: str,
    into: Path,
    total: int,
    progress: Progress,
    application: str = APPLICATION,
    *,
    compression: str,
) -> None:
    """Dump the database of `holder`, which holds the snapshot, to the file `into`; `total` is
    about how many bytes there are. Sessions show as `application`. `compression` is `zstd`,
    `gzip` or `none`.

    Raises ToolFailed, DiskFull, Cancelled, Overtaken.
    """
    info = holder.connection.driver_connection.info  # type: ignore[union-attr]
    database = str(info.dbname)
    with ToolAccess(
        engine,
        database,
        into.parent,
        server=(info.host, info.port),
        application=application,
    ) as access:
        command: list[str | Path] = [
            tools.pg_dump,
            "--format=custom",
            _COMPRESS[compression],
            "--no-password",
            f"--lock-wait-timeout={_TOOLS_WAIT_SECONDS}s",
            f"--snapshot={snapshot}",
            f"--file={into}",
            f"--dbname={access.conninfo}",
        ]
        with connected(engine) as watcher:
            try:
                watch = _copy_watch(watcher, total, progress, application)
                watch()  # also where it is over before the first look
                run(command, env=access.env, watch=watch)
            except ToolFailed as failed:
                if _OWN_DISK_FULL.search(failed.detail):
                    raise disk_full(failed.detail) from failed
                if _LOCKING.search(failed.detail) and "max_locks_per" not in failed.detail:
                    raise Overtaken(failed.detail) from failed
                raise explained(failed) from failed


def _copy_watch(
    watcher: Connection, total: int, progress: Progress, application: str
) -> Callable[[], None]:
    """Reports the bytes that COPY has moved so far, against the database's size."""
    seen: dict[int, int] = {}

    def watch() -> None:
        for relation, done in watcher.execute(text(_COPIED), {"application": application}):
            seen[relation] = max(done, seen.get(relation, 0))
        progress.report(min(sum(seen.values()), total * 0.99), total, "Copying the database")

    return watch


def explained(failed: ToolFailed) -> OpsError:
    """What a tool's failure means, where its text is known (LC_ALL=C: English)."""
    if "SSL support is not compiled in" in failed.detail:
        return ToolFailed(
            "The database wants an encrypted connection, and the installed pg_dump cannot "
            "make one.",
            "Install the system's PostgreSQL client package, or set OPS_PG_BIN to a folder "
            "with tools that know TLS.",
            failed.detail,
        )
    return ToolFailed(f"{failed.message}", failed.hint, failed.detail)


def _as_datetime(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"the server's clock gave {value!r}")
    return value

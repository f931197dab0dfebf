"""The body of a dump: the script that pg_restore makes of it, counted or carried out inside a
transaction of ours.

Large objects would COMMIT in the middle of the script; with --single-transaction it has one
BEGIN and one COMMIT, which are left out.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg2
from sqlalchemy import Connection

from ops.dialects.postgresql.contents import around_extensions, entries_of, write_listing
from ops.dialects.postgresql.names import run_plain
from ops.dialects.postgresql.reading import damaged, limits_for
from ops.dialects.postgresql.script import CopyBlock, encoding_of, parts_of, without_commands
from ops.dialects.postgresql.sessions import attended, driver_connection
from ops.dialects.postgresql.tools import ClientTools
from ops.errors import ToolFailed, Unavailable
from ops.programs import bare_environment, output_of
from ops.progress import Progress
from ops.target import redact

_COPY_BYTES: Final = 1 << 20
_REPORT_EVERY: Final = 8 << 20
_ROWS_BETWEEN_REPORTS: Final = 100_000
_DATA: Final = ("--section=data", "--single-transaction")
_CONNECTION_LOST: Final = ("57P", "08")
"""Classes of SQLSTATE: the server shuts down or ended our session; the line broke."""


@dataclass(frozen=True)
class Body:
    """What of `dump` is brought back: `listing` is a file with the chosen entries."""

    tools: ClientTools
    dump: Path
    options: tuple[str, ...]
    listing: Path

    def count(self, progress: Progress) -> dict[str, int]:
        """The rows of every table in the dump, which is read to its end; needs no server.

        Raises BadArchive, Cancelled.
        """
        counted: dict[str, int] = {}
        try:
            with self._printed(*_DATA) as stream:
                for part in parts_of(stream):
                    if isinstance(part, CopyBlock):
                        rows = 0
                        for rows, _ in enumerate(part.rows(), 1):
                            if rows % _ROWS_BETWEEN_REPORTS == 0:
                                progress.report(0, 1, f"Counting rows: {part.table}")
                        counted[part.table] = rows
        except ToolFailed as failed:
            raise damaged(failed.detail) from failed
        return counted

    def load(self, connection: Connection, progress: Progress) -> dict[str, int]:
        """Carry it out in the transaction of `connection`; the rows given to every table.

        Raises:
            ToolFailed, BadArchive, Unavailable, Cancelled: the transaction is lost.
        """
        session = driver_connection(connection)
        encoding = session.info.parameter_status("client_encoding")
        with _in_words():
            self._define(connection, "pre-data", progress.within(0, 0.1))
            with session.cursor() as cursor, self._printed(*_DATA) as stream:
                rows = self._fill(cursor, stream, progress.within(0.1, 0.7))
            self._define(connection, "post-data", progress.within(0.7, 1))
        # The script has set these for itself.
        run_plain(connection, f"SET client_encoding TO '{encoding}'")
        run_plain(connection, "SET search_path = pg_catalog, pg_temp")
        return rows

    def _define(self, connection: Connection, section: str, progress: Progress) -> None:
        """Tables, types and functions before the data; keys, indexes and triggers after it.

        The server splits the statements: whoever else did would have to know its grammar.
        """
        note = "Making tables" if section == "pre-data" else "Making indexes and keys"
        progress.report(0, 1, note)
        with self._printed(f"--section={section}") as stream:
            script = stream.read()
        cursor = driver_connection(connection).cursor()
        cursor.execute(f"SET client_encoding TO '{encoding_of(script)}'")

        def carry_out() -> None:
            cursor.execute(without_commands(script))

        attended(connection, carry_out, lambda: progress.report(0, 1, note))

    def _fill(self, cursor: Any, stream: io.BufferedIOBase, progress: Progress) -> dict[str, int]:
        meter = _Meter(progress, self.dump.stat().st_size * 5)
        rows = {}
        for part in parts_of(stream):
            if isinstance(part, CopyBlock):
                source = _Rows(part, meter)
                try:
                    cursor.copy_expert(part.statement, source, _COPY_BYTES)
                except psycopg2.Error:
                    if source.problem is not None:
                        raise source.problem from None  # the driver puts its own in its place
                    raise
                rows[part.table] = source.count
            else:
                meter.add(len(part))
                cursor.execute(part)
        return rows

    @contextmanager
    def _printed(self, *section: str) -> Iterator[io.BufferedIOBase]:
        command: list[str | Path] = [
            self.tools.pg_restore,
            *section,
            *self.options,
            f"--use-list={self.listing}",
            "--file=-",
            self.dump,
        ]
        limits = limits_for(self.dump)
        with output_of(command, env=bare_environment(), limits=limits) as stream:
            yield stream


def body_of(
    tools: ClientTools,
    dump: Path,
    listing: Path,
    *,
    options: Collection[str] = (),
    kept_schemas: Collection[str] = (),
) -> Body:
    """The body of `dump` without what stays in the database anyway; writes `listing`."""
    entries = around_extensions(entries_of(tools, dump), kept_schemas)
    write_listing(entries, listing)
    return Body(tools, dump, tuple(options), listing)


class _Meter:
    """Reports bytes given to the server, against about how many there will be."""

    def __init__(self, progress: Progress, expected: int) -> None:
        self._progress = progress
        self._expected = max(1, expected)
        self._done, self._told = 0, -_REPORT_EVERY

    def add(self, size: int) -> None:
        """Raises Cancelled."""
        self._done += size
        if self._done - self._told >= _REPORT_EVERY:
            self._told = self._done
            done = min(self._done, self._expected * 0.99)
            self._progress.report(done, self._expected, "Bringing the rows back")


class _Rows:
    """A COPY block as the file that the driver reads; `problem` is what stopped it."""

    def __init__(self, block: CopyBlock, meter: _Meter) -> None:
        self.count = 0
        self.problem: Exception | None = None
        self._rows = block.rows()
        self._meter = meter

    def read(self, size: int) -> bytes:
        """About `size` bytes, whole rows; nothing at the end of the rows."""
        lines, total = [], 0
        try:
            for line in self._rows:
                lines.append(line)
                total += len(line)
                if total >= size:
                    break
            self._meter.add(total)
        except Exception as problem:
            self.problem = problem
            raise
        self.count += len(lines)
        return b"".join(lines)


@contextmanager
def _in_words() -> Iterator[None]:
    """Errors of the driver as errors for people."""
    try:
        yield
    except psycopg2.Error as cause:
        code, detail = cause.pgcode or "08", redact(str(cause).strip())
        if code.startswith(_CONNECTION_LOST):
            raise Unavailable(
                "The connection to the database broke.", "Try again.", detail
            ) from cause
        raise ToolFailed(
            "The backup could not be brought back: PostgreSQL refused a part of it.",
            "The details name the part. A missing right or extension can be granted or "
            "installed; else use another backup.",
            detail,
        ) from cause

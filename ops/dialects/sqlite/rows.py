"""The rows of a SQLite file as hashes, read by `wary.py` in a process with limits."""

from __future__ import annotations

import json
import select
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from ops.dialects.base import RowSource, TableShape
from ops.dialects.sqlite import wary
from ops.dialects.sqlite.connect import cannot_open, in_words
from ops.dialects.sqlite.inspect import fault_of, refusal, wary_command
from ops.errors import OpsError, Unavailable
from ops.programs import bare_environment, started

_WATCH_SECONDS: Final = 0.5


class _Rows(RowSource):
    def __init__(
        self, process: subprocess.Popen[bytes], told: IO[bytes], path: Path, in_use: bool
    ) -> None:
        assert process.stdin
        assert process.stdout
        self._process = process
        self._ask = process.stdin
        self._answers = process.stdout
        self._told = told
        self._path = path
        self._in_use = in_use

    def tables(self) -> dict[str, TableShape]:
        self._request(None)
        line = self._answers.readline()
        if not line:
            raise self._broken()
        return as_shapes(json.loads(line))

    def marks(
        self, table: str, key: tuple[str, ...], columns: tuple[str, ...]
    ) -> Iterator[tuple[int, int]]:
        self._request({"table": table, "key": key, "columns": columns})
        self._await_answer()  # it sorts all rows before it tells the first
        while True:
            record = self._answers.read(wary.ROW.size)
            if len(record) < wary.ROW.size:
                raise self._broken()
            sign, row_key, row = wary.ROW.unpack(record)
            if sign == b"e":
                return
            yield row_key, row

    def _await_answer(self) -> None:
        while not select.select([self._answers], [], [], _WATCH_SECONDS)[0]:
            self.watch()

    def _request(self, asked: object) -> None:
        try:
            self._ask.write(json.dumps(asked).encode() + b"\n")
            self._ask.flush()
        except BrokenPipeError:
            raise self._broken() from None

    def _broken(self) -> OpsError:
        """Why the process has ended, which it says last."""
        self._process.kill()
        self._process.wait()
        self._told.seek(0)
        last = self._told.read().decode(errors="replace").strip().rpartition("\n")[2]
        try:
            answer = json.loads(last)
        except ValueError:
            answer = {"problem": last[-500:] or f"exit status {self._process.returncode}"}
        if "code" not in answer:
            return self._cut_off(str(answer["problem"]))
        if not self._in_use:
            return fault_of(self._path, answer)
        if not self._path.exists():
            return cannot_open(self._path)
        return in_words(self._path, answer["code"], answer["problem"])

    def _cut_off(self, detail: str) -> OpsError:
        if not self._in_use:
            return refusal(detail)
        return Unavailable(
            f"The database in use, {self._path.name}, could not be read to its end.",
            "Try again when the machine is less busy.",
            detail,
        )


def as_shapes(told: dict[str, Any]) -> dict[str, TableShape]:
    """What `wary.shapes` tells, as the contract has it."""
    return {name: TableShape(shape["columns"], tuple(shape["key"])) for name, shape in told.items()}


@contextmanager
def open_rows(path: Path, *, in_use: bool) -> Iterator[RowSource]:
    """`in_use` tells a live file from one that nobody writes. A live file in WAL mode is read
    as of one moment; in rollback mode each table is, for a longer look would keep writers out.

    Raises Busy or Unavailable about the live file, BadArchive about another one: damaged, or it
    ran into a limit.
    """
    state = "live" if in_use else "frozen"
    with tempfile.TemporaryFile() as told:
        command, pipe = wary_command("rows", path, state), subprocess.PIPE
        process = started(command, bare_environment(), pipe, told, input=pipe)
        try:
            yield _Rows(process, told, path, in_use)
        finally:
            process.kill()
            process.communicate()

"""The rows of a SQLite file as hashes, read by `wary.py` in a process with limits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops.dialects.base import RowSource, TableShape
from ops.dialects.sqlite import wary
from ops.dialects.sqlite.inspect import bare_environment, refusal


class _Rows(RowSource):
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        assert process.stdout
        self._process = process
        self._ask = process.stdin
        self._answers = process.stdout

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
        while True:
            record = self._answers.read(wary.ROW.size)
            if len(record) < wary.ROW.size:
                raise self._broken()
            sign, row_key, row = wary.ROW.unpack(record)
            if sign == b"e":
                return
            yield row_key, row

    def _request(self, asked: object) -> None:
        try:
            self._ask.write(json.dumps(asked).encode() + b"\n")
            self._ask.flush()
        except BrokenPipeError:
            raise self._broken() from None

    def _broken(self) -> Exception:
        self._process.kill()
        assert self._process.stderr
        return refusal(self._process.stderr.read().decode(errors="replace")[-500:])


def as_shapes(told: dict[str, Any]) -> dict[str, TableShape]:
    """What `wary.shapes` tells, as the contract has it."""
    return {name: TableShape(shape["columns"], tuple(shape["key"])) for name, shape in told.items()}


@contextmanager
def open_rows(path: Path, *, in_use: bool) -> Iterator[RowSource]:
    """`in_use` tells a live file from one that nobody writes. A live file in WAL mode is read
    as of one moment; in rollback mode each table is, for a longer look would keep writers out.

    Raises BadArchive when the file is damaged or runs into a limit.
    """
    state = "live" if in_use else "frozen"
    process = subprocess.Popen(
        [sys.executable, "-I", str(wary.__file__), "rows", str(path), state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=bare_environment(),
    )
    try:
        yield _Rows(process)
    finally:
        process.kill()
        process.communicate()

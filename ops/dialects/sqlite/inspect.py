"""Running `wary.py` on a file that may be hostile, in a process of its own."""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops.dialects.sqlite import wary
from ops.dialects.sqlite.connect import in_words
from ops.errors import BadArchive, OpsError, ToolFailed
from ops.programs import bare_environment, bytes_read, run
from ops.progress import Progress

_OF_THIS_MACHINE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_CUT_OFF = sqlite3.SQLITE_IOERR_SHORT_READ


def inspect(
    verb: str, path: Path, *arguments: str, watch: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The answer of one verb of `wary` about `path`. What `watch` raises, such as Cancelled, ends
    it within a second.

    Raises:
        BadArchive: not a sound SQLite database, or it ran into a limit.
        ToolFailed: it could not be started.
        OpsError: the disk is full or does not answer.
    """
    with tempfile.TemporaryFile() as output:
        try:
            run(
                wary_command(verb, path, *arguments),
                env=bare_environment(),
                watch=watch,
                seconds=wary.deadline_seconds(path) + 30,
                output=output,
            )
        except ToolFailed as failed:
            if failed.__cause__ is not None:
                raise
            raise refusal(failed.detail) from None
        output.seek(0)
        answer: dict[str, Any] = json.load(output)
    if "problem" in answer:
        raise fault_of(path, answer)
    return answer


def reading_of(path: Path, progress: Progress, note: str) -> Callable[[], None]:
    """A watch that reports how much of the file the program has read. Raises Cancelled."""
    size = path.stat().st_size

    def watch() -> None:
        progress.report(min(bytes_read(), size * 0.99), size, note)

    return watch


def wary_command(verb: str, path: Path, *arguments: str) -> list[str | Path]:
    """How `wary.py` is started."""
    return [sys.executable, "-I", str(wary.__file__), verb, path, *arguments]


def fault_of(path: Path, answer: dict[str, Any]) -> OpsError:
    """The error for a problem that `wary` tells of a file from an archive."""
    code = answer.get("code", 0)
    if code & 0xFF in _OF_THIS_MACHINE and code != _CUT_OFF:
        return in_words(path, code, answer["problem"])
    if "decode to UTF-8" in answer["problem"]:
        return in_words(path, 0, answer["problem"])
    return refusal(answer["problem"])


def refusal(detail: str) -> BadArchive:
    """A file in which SQLite found damage, or which ran into a limit."""
    return BadArchive(
        "The database inside this backup is damaged or not a SQLite database.",
        "Use another copy of the backup.",
        detail=detail[:500],
    )

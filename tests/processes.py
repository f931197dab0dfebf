"""The console's work in processes of their own, which tests kill."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ops import (
    DataFolder,
    OpsError,
    Target,
    create_backup,
    prove_archive,
    restore_backup,
    undo_restore,
)
from tests.databases import WRITE_PAIR

# A server that has imported everything forks in milliseconds; a fork of the tests themselves
# would take their threads and connections along.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def started(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """`work` under way in another process."""
    process = _CONTEXT.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def back_up(url: str, root: Path) -> None:
    """A backup of the target `live`."""
    create_backup(Target.parse("live", url), DataFolder(root))


def restore(url: str, root: Path, archive: Path, trust_foreign: bool = False) -> None:
    """A restore of the target `live`."""
    target, folder = Target.parse("live", url), DataFolder(root)
    with suppress(OpsError):  # the databases tell what came of it
        restore_backup(target, archive, folder, trust_foreign=trust_foreign)


def prove(url: str, root: Path, archive: Path) -> None:
    """A test restore for the target `live`."""
    with suppress(OpsError):
        prove_archive(Target.parse("live", url), archive, DataFolder(root))


def undo(url: str, root: Path) -> None:
    """An undo of the target `live`'s newest restore."""
    with suppress(OpsError):
        undo_restore(Target.parse("live", url), DataFolder(root))


def write_pairs(path: Path) -> None:
    """A program that commits to a SQLite file all the time, until it is killed."""
    while True:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.executescript(WRITE_PAIR)


def read_marks(path: Path, log: Path) -> None:
    """A program that reads a SQLite file all the time and writes down what it saw."""
    query = "SELECT min(mark), max(mark), count(*) FROM marked"
    with log.open("w", buffering=1, encoding="utf-8") as file:
        while True:
            with closing(sqlite3.connect(path, timeout=30)) as connection:
                first, last, count = connection.execute(query).fetchone()
            print(first, last, count, file=file)

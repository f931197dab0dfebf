"""The console's work in processes of their own, which tests kill."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ops import DataFolder, OpsError, Target, create_backup, restore_backup, undo_restore

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


def restore(url: str, root: Path, archive: Path) -> None:
    """A restore of the target `live`."""
    with suppress(OpsError):  # the databases tell what came of it
        restore_backup(Target.parse("live", url), archive, DataFolder(root))


def undo(url: str, root: Path) -> None:
    """An undo of the target `live`'s newest restore."""
    with suppress(OpsError):
        undo_restore(Target.parse("live", url), DataFolder(root))

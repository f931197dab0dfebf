"""The console's work in processes of their own, which tests kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from ops import DataFolder, OpsError, Target, create_backup, restore_backup

# A server that has imported everything forks in milliseconds; a fork of the tests themselves
# would take their threads and connections along.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__, "tests.clients"])


def started(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """`work` under way in another process, which leads a group of its own."""
    process = _CONTEXT.Process(target=_lead, args=(work, *arguments), daemon=True)
    process.start()
    return process


def _lead(work: Callable[..., None], *arguments: Any) -> None:
    os.setsid()
    work(*arguments)


def of_job(job_id: str) -> psutil.Process:
    """The process of a job that was just started; until it runs its program it looks like us."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] and process.info["cmdline"][-1] == job_id:
                return process
    raise AssertionError(f"no process of job {job_id}")


def kill_group(leader: int) -> None:
    """SIGKILL to a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def back_up(url: str, root: Path) -> None:
    """A backup of the target `live`."""
    create_backup(Target.parse("live", url), DataFolder(root))


def restore(url: str, root: Path, archive: Path, trust_foreign: bool = False) -> None:
    """A restore of the target `live`."""
    target, folder = Target.parse("live", url), DataFolder(root)
    with suppress(OpsError):  # the databases tell what came of it
        restore_backup(target, archive, folder, trust_foreign=trust_foreign)

"""A disk of a few megabytes, to be filled up in the middle of some work."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_BLOCK: Final = 64 << 10


class SmallDisk(ABC):
    """`path` is a folder of it."""

    path: Path
    tells_room: bool
    """Whether a program that asks how much room there is hears of it."""

    @abstractmethod
    def fill(self, leaving: int) -> None:
        """Leave room for about so many bytes."""

    @abstractmethod
    def empty(self) -> None:
        """Make room again, as a person would after the console has complained."""


class _MemoryDisk(SmallDisk):
    """A file system of its own."""

    tells_room = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, leaving: int) -> None:
        wanted = shutil.disk_usage(self.path).free - leaving
        with self._filler.open("wb") as file:
            for _ in range(wanted // _BLOCK):
                file.write(bytes(_BLOCK))

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)


class _LimitedFiles(SmallDisk):
    """Where nothing may be mounted: a limit on how large any file may become.

    It holds for this process and for what it starts, and Python ignores the signal that comes
    with it: a write fails, as on a full disk.
    """

    tells_room = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, leaving: int) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (leaving, hard))

    def empty(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A disk at the new folder `path`, for as long as the `with` block runs."""
    path.mkdir()
    size = f"size={megabytes}m,mode=0755"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)]
    is_mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    disk = _MemoryDisk(path) if is_mounted else _LimitedFiles(path)
    try:
        yield disk
    finally:
        disk.empty()
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=True)

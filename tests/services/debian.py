"""Debian's own packages, where the machine is a Debian."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.attempts import Attempts

# Another apt may be at work on the same machine: wait for it.
_WAIT = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]


def is_root() -> bool:
    """Whether we may do everything, and servers have to run as somebody else."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def has_apt() -> bool:
    """Whether packages can be fetched and unpacked here, be it without root."""
    return all(shutil.which(tool) for tool in ("apt-get", "dpkg-deb"))


def can_install() -> bool:
    """Whether we may install packages. Ubuntu's chromium is a stub for snap: no use here."""
    release = Path("/etc/os-release")
    is_debian = release.exists() and "ID=debian" in release.read_text().splitlines()
    return is_debian and has_apt() and is_root()


def environment() -> dict[str, str]:
    """apt in English, and asking nothing."""
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


@contextmanager
def alone() -> Iterator[None]:
    """Keep other processes of the tests waiting: apt refuses to fetch its lists twice at once."""
    with (Path(tempfile.gettempdir()) / f"ops-console-apt-{os.getuid()}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def update(attempts: Attempts) -> None:
    """Fetch the lists of packages; a stale list may still do, so a failure is only noted."""
    with alone():
        attempts.run("apt-get update", ["apt-get", "-qq", *_WAIT, "update"], env=environment())


def install(attempts: Attempts, *packages: str) -> bool:
    """Install packages, with what they need and nothing they merely recommend."""
    update(attempts)
    command = ["apt-get", "-qq", "-y", *_WAIT, "install", "--no-install-recommends", *packages]
    with alone():
        return attempts.run(f"apt-get install {' '.join(packages)}", command, env=environment())

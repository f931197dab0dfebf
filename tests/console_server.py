"""A console as its users start it: a process of its own, on a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 60


@dataclass(frozen=True)
class RunningConsole:
    """Its address, the one-time link it printed, its process and data folder."""

    address: str
    link: str
    pid: int
    data: Path
    log: Path


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This machine's environment without settings that somebody left in it."""
    foreign = ("OPS_", "DATABASE_URL", "REDIS_URL", "STREAMLIT_", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, **settings}


@contextmanager
def running_console(folder: Path, **settings: str) -> Iterator[RunningConsole]:
    """Start `ops-console serve` with a data folder below `folder`; stop it afterwards."""
    data, log = folder / "data", folder / "console.log"
    env = clean_environment({"OPS_DATA_DIR": str(data), "OPS_PORT": "0", **settings})
    command = [str(Path(sys.executable).with_name("ops-console")), "serve"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=output, stderr=output)
    try:
        address, link = _wait_for_link(process, log)
        yield RunningConsole(address, link, process.pid, data, log)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_link(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        text = log.read_text(errors="replace")
        link = re.search(r"http\S+/login\?token=\S+", text)
        if link:
            return link[0].split("/login")[0], link[0]
        time.sleep(0.05)
    raise AssertionError(f"the console did not start:\n{log.read_text(errors='replace')}")

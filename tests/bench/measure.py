"""Running one way of doing something in a process of its own, with its time and memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

_BETWEEN_LOOKS_SECONDS = 0.02


@dataclass(frozen=True)
class Way:
    """One way: `command` is timed, `prepare` before it is not. `made` is the file or folder
    whose size is told; `ours` marks this project's own code."""

    name: str
    command: Sequence[str | Path]
    prepare: Callable[[], object] = lambda: None
    made: Path | None = None
    env: Mapping[str, str] | None = None
    ours: bool = False


@dataclass
class Seen:
    """What was measured of one way: seconds of each round, by the clock and of the processors
    (its own processes, not a server's), the largest resident memory of any one process in
    bytes, the size of what was made."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    made_bytes: int = 0

    @property
    def median(self) -> float:
        """Seconds."""
        return median(self.seconds)


@dataclass(frozen=True)
class Found:
    """What a group of contests gave: their tables by title, and single figures by name."""

    tables: Mapping[str, dict[str, Seen]]
    figures: Mapping[str, float] = field(default_factory=dict)


class Failed(Exception):
    """A way ended with an error; the message is what it said."""


def contest(ways: Sequence[Way], rounds: int, say: Callable[[str], None]) -> dict[str, Seen]:
    """Every way once in each round, one after the other: what slows the machine down for a
    while slows all of them. Each begins with an idle disk: else a way that flushes what it writes
    pays for what the one before it left in memory."""
    seen = {way.name: Seen() for way in ways}
    for number in range(rounds):
        for way in ways:
            way.prepare()
            os.sync()
            seconds, cpu, peak = timed(way)
            record = seen[way.name]
            record.seconds.append(seconds)
            record.cpu_seconds.append(cpu)
            record.peak_bytes = max(record.peak_bytes, peak)
            if way.made is not None:
                record.made_bytes = size_of(way.made)
            cost = f"{seconds:.2f} s, {cpu:.2f} s of cores, {peak >> 20} MiB"
            say(f"  round {number + 1}: {way.name}: {cost}")
    return seen


def timed(way: Way) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of processors, and the largest resident memory of the
    process or one of its children."""
    with tempfile.TemporaryFile() as errors:
        before = _cpu_of_children()
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in way.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=None if way.env is None else dict(way.env),
        )
        peaks: dict[int, int] = {}
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peaks, done))
        watcher.start()
        status = process.wait()
        seconds = time.perf_counter() - started
        done.set()
        watcher.join()
        if status != 0:
            errors.seek(0)
            raise Failed(f"{way.name}: exit status {status}\n{errors.read().decode()[-2000:]}")
        cpu = _cpu_of_children() - before
    return seconds, cpu, max(peaks.values(), default=0)


def _cpu_of_children() -> float:
    """Of all that have ended, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def _watch(pid: int, peaks: dict[int, int], done: threading.Event) -> None:
    while not done.wait(_BETWEEN_LOOKS_SECONDS):
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.Error, OSError, ValueError):
                    peaks[one.pid] = max(peaks.get(one.pid, 0), peak_of(one.pid))


def peak_of(pid: int) -> int:
    """The most bytes that a process ever held; where the system does not tell, what it holds."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return int(psutil.Process(pid).memory_info().rss)
    for line in status.read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0  # it has just ended


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0

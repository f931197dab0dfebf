"""Running other programs: cancellable, ending with us, their errors kept without secrets."""

from __future__ import annotations

import ctypes
import fcntl
import io
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

import psutil

from ops.errors import ToolCrashed, ToolFailed
from ops.target import redact

Limits = Mapping[int, int]
"""How much a program may take: a `resource.RLIMIT_…` and its value; heeded on Linux."""

_NEEDED: Final = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "SYSTEMROOT",
)
_GRACE_SECONDS: Final = 3.0
_PIPE_BYTES: Final = 1 << 20
"""As many as Linux gives without further rights (pipe(7), pipe-max-size)."""
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
"""Loaded beforehand: between fork and exec, beside other threads, as little as can be is done."""


def bare_environment() -> dict[str, str]:
    """What a program needs to run at all, in English: none of our settings and secrets."""
    return {**{name: os.environ[name] for name in _NEEDED if name in os.environ}, "LC_ALL": "C"}


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    watch: Callable[[], None],
    every: float = 0.5,
    limits: Limits = MappingProxyType({}),
    seconds: float = math.inf,
    output: IO[bytes] | None = None,
) -> None:
    """Run `command` to its end, for which it has so many `seconds`; `watch` is called every
    `every` seconds meanwhile. What it prints goes to the file `output`, else nowhere.

    What `watch` raises (Cancelled) ends the program first: SIGTERM, then SIGKILL after
    3 seconds. On Linux the program is killed when this process dies.

    Raises:
        ToolFailed: it could not be started, or its exit status is not 0. Only the exit
            status counts: error texts are in the server's language.
        ToolCrashed: a signal ended it, such as that of a limit, or its time was over.
    """
    ends = time.monotonic() + seconds

    def look() -> None:
        watch()
        if time.monotonic() > ends:
            raise ToolCrashed(
                f"{Path(command[0]).name} took longer than it may.",
                detail=f"it had not come to an end after {seconds:.0f} seconds",
            )

    with tempfile.TemporaryFile() as errors:
        process = started(command, env, output or subprocess.DEVNULL, errors, limits)
        try:
            _wait(process, look, every)
        except BaseException:
            _end(process)
            raise
        _check(process, command, errors)


@contextmanager
def output_of(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    limits: Limits = MappingProxyType({}),
) -> Iterator[io.BufferedIOBase]:
    """What `command` prints, to be read to its end while it runs.

    An error in the `with` block ends the program, as in `run`.

    Raises:
        ToolFailed: it could not be started, or its exit status is not 0.
    """
    with tempfile.TemporaryFile() as errors:
        process = started(command, env, subprocess.PIPE, errors, limits)
        assert isinstance(process.stdout, io.BufferedIOBase)
        try:
            _widen(process.stdout)
            with process.stdout:
                yield process.stdout
            process.wait()
        except BaseException:
            _end(process)
            raise
        _check(process, command, errors)


def started(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    output: IO[bytes] | int,
    errors: IO[bytes],
    limits: Limits = MappingProxyType({}),
    *,
    input: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """The program under way, which on Linux is killed when this process dies; whoever calls it
    must see to its end. Raises ToolFailed where it could not be started."""
    try:
        return subprocess.Popen(
            [str(part) for part in command],
            env=dict(env),
            stdin=input,
            stdout=output,
            stderr=errors,
            preexec_fn=partial(_begin, os.getpid(), limits) if sys.platform == "linux" else None,
        )
    except OSError as cause:
        name = Path(command[0]).name
        raise ToolFailed(f"{name} could not be started.", detail=str(cause)) from cause


def bytes_read() -> int:
    """What the programs that run just now have read so far; 0 where the system does not tell."""
    total = 0
    for program in psutil.Process().children():
        with suppress(psutil.Error, AttributeError):
            total += program.io_counters().read_chars
    return total


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more than the usual 64 KiB, so that its two ends wait less for each other;
    one that the system keeps small does as well."""
    with suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _check(
    process: subprocess.Popen[bytes], command: Sequence[str | Path], errors: IO[bytes]
) -> None:
    if process.returncode < 0:
        raise ToolCrashed(
            f"{Path(command[0]).name} crashed, or took more than it may.",
            detail=f"signal {-process.returncode}\n{_said(errors.fileno())}",
        )
    if process.returncode != 0:
        raise ToolFailed(
            f"{Path(command[0]).name} ended with an error.",
            detail=f"exit status {process.returncode}\n{_said(errors.fileno())}",
        )


def _wait(process: subprocess.Popen[bytes], watch: Callable[[], None], every: float) -> None:
    while True:
        try:
            process.wait(timeout=every)
            return
        except subprocess.TimeoutExpired:
            watch()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _begin(parent: int, limits: Limits) -> None:
    """In the new process, before its program: it has limits, and dies with us."""
    assert _LIBC is not None
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the line above could ask for the signal
    for kind, most in limits.items():
        _, allowed = resource.getrlimit(kind)
        most = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(kind, (most, most))


def _said(handle: int, first: int = 1000, last: int = 4000) -> str:
    """What a program wrote; of very much its beginning and its end."""
    size = os.fstat(handle).st_size
    text = os.pread(handle, last, max(0, size - last))
    if size > last:
        whole_lines = os.pread(handle, min(first, size - last), 0).rpartition(b"\n")[0]
        text = whole_lines + b"\n...\n" + text
    return redact(text.decode(errors="replace").strip())

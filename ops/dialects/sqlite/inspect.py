"""Running `wary.py` on a file that may be hostile, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ops.dialects.sqlite import wary
from ops.errors import BadArchive


def inspect(verb: str, path: Path, *arguments: str) -> dict[str, Any]:
    """The answer of one verb of `wary` about `path`.

    Raises:
        BadArchive: not a sound SQLite database, or it ran into a limit.
    """
    command = [sys.executable, "-I", str(wary.__file__), verb, str(path), *arguments]
    limit = wary.deadline_seconds(path) + 30
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            env=bare_environment(),
        )
    except subprocess.TimeoutExpired:
        raise refusal("it took longer than the limit") from None
    if done.returncode != 0:
        raise refusal(done.stderr.strip()[-500:] or f"exit status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "problem" in answer:
        raise refusal(answer["problem"])
    return answer


def bare_environment() -> dict[str, str]:
    """An environment without the console's secrets."""
    needed = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")
    return {name: os.environ[name] for name in needed if name in os.environ}


def refusal(detail: str) -> BadArchive:
    """A file in which SQLite found damage, or which ran into a limit."""
    return BadArchive(
        "The database inside this backup is damaged or not a SQLite database.",
        "Use another copy of the backup.",
        detail=detail[:500],
    )

"""Letting pg_restore read a dump from outside, without a server.

It is a program in C that reads what anybody may have made: so it gets none of our settings and
secrets, and only so much memory and time.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ops.dialects.postgresql.tools import ClientTools
from ops.errors import BadArchive, ToolCrashed, ToolFailed
from ops.programs import Limits, bare_environment, run

_MEMORY: Final = 4 << 30
"""Bytes; a list of contents with a million entries takes about half of one GiB."""
_LISTING: Final = 1 << 30
_LEAST_SECONDS: Final = 600
_BYTES_A_SECOND: Final = 1 << 20
"""Of the packed dump. Usual are some 20 MB."""


def limits_for(dump: Path) -> Limits:
    """What reading `dump` once may take."""
    return {
        **memory_limit(),
        resource.RLIMIT_CPU: seconds_for(dump),
        resource.RLIMIT_FSIZE: _LISTING,
    }


def memory_limit() -> Limits:
    """What giving a dump to a server may take: the server has the rest of the work, and whoever
    watches it."""
    return {resource.RLIMIT_AS: _MEMORY, resource.RLIMIT_CORE: 0}


def seconds_for(dump: Path) -> int:
    """How long reading `dump` once may take."""
    return _LEAST_SECONDS + dump.stat().st_size // _BYTES_A_SECOND


def read_through(
    tools: ClientTools, dump: Path, *options: str, watch: Callable[[], None] = lambda: None
) -> None:
    """Run pg_restore with these options over `dump`; `watch` is called now and then.

    Raises BadArchive, and what `watch` raises.
    """
    command: list[str | Path] = [tools.pg_restore, *options, dump]
    try:
        run(
            command,
            env=bare_environment(),
            watch=watch,
            limits=limits_for(dump),
            seconds=seconds_for(dump),
        )
    except ToolCrashed as crashed:
        raise unreadable(crashed.detail) from crashed
    except ToolFailed as failed:
        raise damaged(failed.detail) from failed


def damaged(detail: str = "") -> BadArchive:
    """The error for a dump that pg_restore cannot read."""
    return BadArchive(
        "The database inside this backup is damaged or not a PostgreSQL dump.",
        "Use another copy of the backup.",
        detail,
    )


def unreadable(detail: str) -> BadArchive:
    """The error for a dump over which pg_restore breaks."""
    return BadArchive(
        "The program that reads PostgreSQL backups crashed over this one, or needed far more "
        "memory or time than it should. The backup is damaged, or made to do harm.",
        "Use another copy of the backup.",
        detail,
    )

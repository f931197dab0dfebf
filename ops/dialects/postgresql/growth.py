"""How large a staging database is and may become.

A dump of some kilobytes can fill a disk: it is packed up to 1,000 to 1, and a single statement
in it makes as many rows as its maker likes. So what this console did not make is held to what
it says of itself and to what such a dump can reasonably hold, and never gets more than half of
the room that was free.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from ops.archive.manifest import Manifest
from ops.dialects.postgresql.place import folder_of
from ops.errors import BadArchive
from ops.progress import Progress

_SIZE: Final = "SELECT pg_database_size(oid) FROM pg_database WHERE datname = :name"

_MAY_LIST: Final = "SELECT has_function_privilege('pg_catalog.pg_ls_tmpdir()', 'EXECUTE')"
_TEMPORARY: Final = """
SELECT coalesce(sum(f.size), 0)
FROM pg_ls_tmpdir() f JOIN pg_stat_activity a ON starts_with(f.name, 'pgsql_tmp' || a.pid || '.')
WHERE a.datname = :name
"""

_UNPACKED: Final = 5
_MOST_UNPACKED: Final = 200
"""Times the dump's size: what is usual, and what only a dump that means harm goes beyond."""
_BETWEEN_LOOKS_SECONDS: Final = 0.4
_ALWAYS_ALLOWED: Final = 256 << 20
"""Bytes; an empty database has about eight millions."""


def size_of(connection: Connection, name: str) -> int:
    """Bytes of the database of that name; 0 where there is none."""
    return int(connection.execute(text(_SIZE), {"name": name}).scalar() or 0)


def expected_bytes(manifest: Manifest, dump: Path) -> int:
    """About how large the database will be."""
    return _told_bytes(manifest) or dump.stat().st_size * _UNPACKED


def _told_bytes(manifest: Manifest) -> int:
    """How large it was, as the manifest says; 0 where it does not."""
    told = manifest.database.details.get("database_bytes") if manifest.database else None
    return told if isinstance(told, int) else 0


@dataclass(frozen=True)
class Limit:
    """Bytes that a staging database may take, and that must stay free in `folder`."""

    most: int
    folder: str | None
    least_free: int

    @classmethod
    def of(cls, connection: Connection, name: str, manifest: Manifest, dump: Path) -> Limit:
        """The limit for the database `name`, which is to be filled from somebody else's dump."""
        possible = dump.stat().st_size * _MOST_UNPACKED
        most = min(_told_bytes(manifest) * 2 or possible, possible)
        folder = folder_of(connection, name)
        least_free = shutil.disk_usage(folder).free // 2 if folder else 0
        return cls(most + _ALWAYS_ALLOWED, folder, least_free)

    def check(self, size: int) -> None:
        """Raises BadArchive."""
        if size > self.most:
            raise BadArchive(
                "The backup grows far beyond what it says of itself: when it was stopped, it "
                f"took {size:,} bytes on the server. It may be made to fill the disk.",
                "Use it only on a server of its own, if you trust its maker.",
                f"at most {self.most:,} bytes were expected",
            )
        if self.folder and shutil.disk_usage(self.folder).free < self.least_free:
            raise BadArchive(
                "The backup was about to take more than half of the room that was free on the "
                "server's disk, so it was stopped.",
                "Make room on the server's disk, or use the backup on a server of its own.",
                f"it took {size:,} bytes as a database",
            )


class Growth(Progress):
    """A progress that looks after the size of a staging database, twice a second at the most:
    it is the sum of all files.

    `report` raises BadArchive as well, beyond the `limit`.
    """

    def __init__(
        self, watcher: Connection, name: str, whole: Progress, limit: Limit | None = None
    ) -> None:
        self._watcher, self._name = watcher, name
        self._whole, self._limit = whole, limit
        self._looked_at = 0.0
        self._lists_temporary = limit and bool(watcher.execute(text(_MAY_LIST)).scalar())

    def report(self, done: float, total: float, note: str = "") -> None:
        if time.monotonic() - self._looked_at > _BETWEEN_LOOKS_SECONDS:
            self.checked_size()
        self._whole.report(done, total, note)

    def checked_size(self) -> int:
        """Bytes at this moment. Raises BadArchive."""
        self._looked_at = time.monotonic()
        size = size_of(self._watcher, self._name)
        if self._limit is not None:
            self._limit.check(size + self._temporary())
        return size

    def _temporary(self) -> int:
        """Bytes of what its sessions keep on the disk for the time of a statement; 0 where
        only a member of pg_monitor could tell."""
        if not self._lists_temporary:
            return 0
        return int(self._watcher.execute(text(_TEMPORARY), {"name": self._name}).scalar() or 0)

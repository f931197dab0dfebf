"""The disk on which a database lies."""

from __future__ import annotations

import os
import shutil
from typing import Final

from sqlalchemy import Connection, Engine, text

from ops.dialects.postgresql.connect import pooled

_FOLDER: Final = """
SELECT coalesce(nullif(pg_tablespace_location(dattablespace), ''),
                current_setting('data_directory', true))
FROM pg_database
WHERE datname = coalesce(:name, current_database())
  AND pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')
"""

_IS_HERE: Final = "SELECT inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr()"
"""Another machine may have a folder of the same name."""


def folder_of(connection: Connection, name: str | None = None) -> str | None:
    """The folder in which the server keeps the database `name`, by default the one of the
    connection; None where it is not on this machine, or we may not know it."""
    folder = connection.execute(text(_FOLDER), {"name": name}).scalar()
    return str(folder) if folder and os.access(folder, os.R_OK) else None


def free_disk(engine: Engine) -> int | None:
    """Bytes free, where the server runs on this machine and we may know its folder."""
    with pooled(engine) as connection:
        is_here = connection.execute(text(_IS_HERE)).scalar()
        folder = folder_of(connection) if is_here else None
    return shutil.disk_usage(folder).free if folder else None

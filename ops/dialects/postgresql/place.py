"""The disk on which a database lies."""

from __future__ import annotations

import os
import shutil
from typing import Final

from sqlalchemy import Engine, text

from ops.dialects.postgresql.connect import pooled

_FOLDER: Final = """
SELECT coalesce(nullif(pg_tablespace_location(dattablespace), ''),
                current_setting('data_directory', true))
FROM pg_database
WHERE datname = current_database()
  AND pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')
  AND (inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr())
"""
"""The last line: another machine may have a folder of the same name."""


def free_disk(engine: Engine) -> int | None:
    """Bytes free, where the server runs on this machine and we may know its folder."""
    with pooled(engine) as connection:
        folder = connection.execute(text(_FOLDER)).scalar_one_or_none()
    if not folder or not os.access(folder, os.R_OK):
        return None
    return shutil.disk_usage(folder).free

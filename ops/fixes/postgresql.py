"""All fixes for PostgreSQL."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine

from ops.fixes.base import Fix
from ops.fixes.postgresql_server import FIXES as SERVER
from ops.fixes.postgresql_sessions import FIXES as SESSIONS
from ops.fixes.postgresql_tables import FIXES as TABLES

FIXES: Final[tuple[Fix[Engine], ...]] = (*SESSIONS, *TABLES, *SERVER)

"""What is asked about a PostgreSQL database and its server, versions 13 to 18.

One connection, reading only; each question has two seconds and its own savepoint, so that
one that fails does not spoil the rest. Without pg_monitor the server hides what others do:
questions about them are then unanswered, not good.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ops.checks.base import CannotCheck, Check, Context
from ops.checks.postgresql_access import ANSWERS
from ops.checks.postgresql_copies import CHECKS as COPIES
from ops.checks.postgresql_deep import CHECKS as DEEP
from ops.checks.postgresql_design import CHECKS as DESIGN
from ops.checks.postgresql_sessions import CHECKS as SESSIONS
from ops.checks.postgresql_setup import CHECKS as SETUP
from ops.checks.postgresql_storage import CHECKS as STORAGE
from ops.checks.postgresql_tables import CHECKS as TABLES
from ops.checks.postgresql_work import CHECKS as WORK
from ops.checks.words import duration
from ops.dialects.postgresql.connect import connected
from ops.target import redact

STATEMENT_SECONDS: Final = 2
_DEEP_STATEMENT_SECONDS: Final = 6 * 3600
_LIMITS: Final = (
    "SET TRANSACTION READ ONLY",
    "SET LOCAL lock_timeout = '500ms'",
    "SET LOCAL jit = off",  # compiling a question takes longer than answering it
)
_NEXT_QUESTION: Final = "ROLLBACK TO SAVEPOINT question;"
"""Gives back what the last question has locked."""

_REFUSED: Final = "42501"
_TOO_SLOW: Final = ("57014", "55P03")

_FACTS: Final = """
SELECT quote_ident(current_user) AS role,
       current_setting('server_version_num')::int / 10000 AS major,
       current_setting('server_version') AS version,
       pg_is_in_recovery() AS is_standby,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_others,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser
"""
"""pg_monitor contains pg_read_all_stats, which is what opens pg_stat_activity."""

CHECKS: Final[tuple[Check, ...]] = (
    *(ANSWERS, *SESSIONS, *STORAGE, *COPIES, *DEEP),
    *(*SETUP, *WORK, *TABLES, *DESIGN),
)


@contextmanager
def open_context(
    engine: Engine, database: str | None = None, *, deep: bool = False
) -> Iterator[Context]:
    """Look through a connection of our own in a read-only transaction with time limits: two
    seconds a question, six hours for a `deep` one. `database` is a copy of our own to look
    into instead.

    Raises:
        Unavailable: the server does not answer, or went away meanwhile.
    """
    began = time.perf_counter()
    seconds = _DEEP_STATEMENT_SECONDS if deep else STATEMENT_SECONDS
    with connected(engine, database, autocommit=False) as connection:
        connection.exec_driver_sql(
            "; ".join((*_LIMITS, f"SET LOCAL statement_timeout = '{seconds}s'"))
        )
        connection.exec_driver_sql("SAVEPOINT question")
        facts = dict(connection.exec_driver_sql(_FACTS).mappings().one())
        facts["answer_ms"] = 1000 * (time.perf_counter() - began)
        facts["engine"], facts["is_copy"] = engine, database is not None
        # Queries hold % and no parameters.
        plain = connection.execution_options(no_parameters=True)
        ask = partial(_ask, plain, facts["role"], seconds)
        yield Context(ask, facts, facts["version"], is_deep=deep)


def _ask(connection: Connection, role: str, seconds: float, query: str) -> list[Mapping[str, Any]]:
    """One trip to the server a question: its savepoint is gone back to in the same breath."""
    try:
        result = connection.exec_driver_sql(f"{_NEXT_QUESTION} {query}")
        return [dict(row) for row in result.mappings()]
    except DBAPIError as cause:
        if cause.connection_invalidated:
            raise
        connection.exec_driver_sql(_NEXT_QUESTION)
        raise _cannot(cause, role, seconds) from cause


def _cannot(cause: DBAPIError, role: str, seconds: float) -> CannotCheck:
    code = getattr(cause.orig, "pgcode", None) or ""
    detail = redact(f"{code} {str(cause.orig).strip()}".strip())
    if code == _REFUSED:
        return CannotCheck(
            "the console's database user may not look at this",
            f"As the server's administrator, run: GRANT pg_monitor TO {role};",
            detail,
        )
    if code in _TOO_SLOW:
        return CannotCheck(
            f"it took longer than {duration(seconds)}, or something was locked",
            "Try again when the database is less busy.",
            detail,
        )
    return CannotCheck("the database answered with an error", "The details name it.", detail)

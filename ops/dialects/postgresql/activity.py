"""What goes on at a PostgreSQL server: who waits for whom, and which statements take the time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from ops.dialects.base import SlowStatement, SlowStatements, StatementOrder, WaitingSession
from ops.dialects.postgresql.connect import pooled

_STATEMENT_SHOWN: Final = 300
_FIRST_VALUE: Final = re.compile(r"'|\$\w*\$")

_WAITS: Final = text("""
WITH waiting AS (
  SELECT pid, pg_blocking_pids(pid) AS blockers FROM pg_stat_activity
  WHERE wait_event_type = 'Lock'
)
SELECT s.pid, extract(epoch FROM s.backend_start)::float AS began,
       coalesce(nullif(s.application_name, ''), s.backend_type, 'unnamed') AS application,
       coalesce(s.usename, '') AS role, coalesce(s.datname, '') AS database,
       coalesce(s.state, 'hidden') AS state, left(s.query, 1000) AS statement,
       coalesce(w.blockers, '{}') AS waits_for,
       extract(epoch FROM clock_timestamp() - CASE
         WHEN cardinality(w.blockers) > 0
         THEN coalesce((SELECT min((to_jsonb(l) ->> 'waitstart')::timestamptz) FROM pg_locks l
                        WHERE l.pid = s.pid AND NOT l.granted), s.query_start)
         ELSE coalesce(s.state_change, s.backend_start) END)::float AS seconds
FROM pg_stat_activity s LEFT JOIN waiting w USING (pid)
WHERE cardinality(w.blockers) > 0 OR s.pid IN (SELECT unnest(blockers) FROM waiting)
ORDER BY seconds DESC
""")
"""to_jsonb: pg_locks tells since when somebody waits from version 14 on."""

_EXTENSION: Final = """
SELECT (SELECT format('%I.pg_stat_statements', n.nspname) FROM pg_extension e
        JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_stat_statements') AS view,
       EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'pg_stat_statements') AS is_there,
       (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries') AS libraries,
       (SELECT setting FROM pg_settings WHERE name = 'pg_stat_statements.max') AS loaded,
       current_setting('server_version_num')::int / 10000 AS major,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS complete
"""

_STATEMENTS: Final = """
SELECT query, calls, total_exec_time AS total_ms, mean_exec_time AS mean_ms, rows,
       coalesce(total_exec_time / nullif(sum(total_exec_time) OVER (), 0), 0) AS share
FROM {view} WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY {order} DESC LIMIT :most
"""
_SINCE: Final = "SELECT stats_reset FROM {view}_info"
_ORDERS: Final = {
    StatementOrder.TOTAL: "total_exec_time",
    StatementOrder.MEAN: "mean_exec_time",
    StatementOrder.CALLS: "calls",
}


def waits(engine: Engine) -> tuple[WaitingSession, ...]:
    """Every session that waits for a lock, and those it waits for."""
    with pooled(engine) as connection:
        rows = connection.execute(_WAITS).mappings().all()
    return tuple(
        WaitingSession(
            pid=row["pid"],
            began=row["began"] or 0.0,
            application=row["application"],
            role=row["role"],
            database=row["database"],
            state=row["state"],
            statement=without_values(row["statement"] or ""),
            seconds=max(0.0, row["seconds"] or 0.0),
            waits_for=tuple(sorted(set(row["waits_for"]))),
        )
        for row in rows
    )


def without_values(statement: str) -> str:
    """A statement up to its first text value, which may be anybody's secret; cut to what fits.

    >>> without_values("UPDATE a SET  b = 1 WHERE name = 'Ada'")
    'UPDATE a SET b = 1 WHERE name = …'
    """
    value = _FIRST_VALUE.search(statement)
    told = " ".join(statement[: value.start() if value else None].split())
    if len(told) > _STATEMENT_SHOWN:
        return told[:_STATEMENT_SHOWN] + "…"
    return f"{told} …" if value else told


def slow_statements(engine: Engine, order: StatementOrder, most: int) -> SlowStatements:
    """The `most` statements that stand first, with their values left out by the server; or
    what has to be done so that the server collects them."""
    with pooled(engine) as connection:
        found = dict(connection.execute(text(_EXTENSION)).mappings().one())
        steps = _steps(found)
        if steps:
            return SlowStatements((), None, found["complete"], steps)
        view, by = found["view"].replace(":", r"\:"), _ORDERS[order]
        query = text(_STATEMENTS.format(view=view, order=by))
        rows = connection.execute(query, {"most": most}).mappings().all()
        since = _since(connection, view) if found["major"] >= 14 else None
    told = tuple(
        SlowStatement(
            statement=without_values(row["query"]),  # ALTER ROLE … PASSWORD keeps its own
            calls=row["calls"],
            total_seconds=row["total_ms"] / 1000,
            mean_seconds=row["mean_ms"] / 1000,
            rows=row["rows"],
            share=row["share"],
        )
        for row in rows
    )
    return SlowStatements(told, since, found["complete"], ())


def _since(connection: Connection, view: str) -> Any:
    """Since when the figures count; the view for it came with version 14's extension, which
    may not have been brought up to date."""
    with connection.begin_nested():
        name = {"name": f"{view}_info".replace(r"\:", ":")}
        exists = connection.execute(text("SELECT to_regclass(:name)"), name)
        if exists.scalar() is None:
            return None
        return connection.execute(text(_SINCE.format(view=view))).scalar()


def _steps(found: Mapping[str, Any]) -> tuple[str, ...]:
    """How to have statements collected, each step with its command after a line break."""
    if found["view"] and found["loaded"]:
        return ()
    steps = []
    if not found["is_there"]:
        steps.append(
            "Whoever runs the server installs the package with PostgreSQL's own additions. "
            "On Debian and Ubuntu it is there already; on Fedora and Red Hat:\n"
            "dnf install postgresql-contrib"
        )
    if not found["loaded"]:
        libraries = [part.strip() for part in (found["libraries"] or "").split(",")]
        wanted = ", ".join(f"'{name}'" for name in (*libraries, "pg_stat_statements") if name)
        steps.append(
            "As the server's administrator, have it loaded:\n"
            f"ALTER SYSTEM SET shared_preload_libraries = {wanted};"
        )
        steps.append(
            "Restart the server at a quiet moment; programs lose their connection for some "
            "seconds. On Debian and Ubuntu:\nsystemctl restart postgresql"
        )
    if not found["view"]:
        steps.append(
            "In this database, as its owner or the administrator, run:\n"
            "CREATE EXTENSION pg_stat_statements;"
        )
    return tuple(steps)

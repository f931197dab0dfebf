"""Sizes, rows and sessions of a PostgreSQL database, from the catalogue's estimates."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.pool import QueuePool

from ops.checks.base import Ask
from ops.dialects.base import (
    LiveRows,
    PoolStats,
    RelationSize,
    ServerSessions,
    SessionGroup,
    SizeReport,
)
from ops.dialects.postgresql.connect import pooled
from ops.dialects.postgresql.counting import count_tables
from ops.dialects.postgresql.guest import IS_SUPERUSER
from ops.dialects.postgresql.readable import ROW_SECURITY, UNREADABLE
from ops.dialects.postgresql.rows import COUNTED_TABLES, shapes
from ops.progress import SILENT
from ops.target import CountingPool

COUNT_LIMIT: Final = 128 << 20
"""Bytes up to which rows are counted for a page; it then takes well under half a second."""

_RELATIONS_SHOWN: Final = 1000

_RELATIONS: Final = f"""
SELECT format('%I.%I', n.nspname, c.relname) AS name, c.kind,
       format('%I.%I', n.nspname, coalesce(t.relname, c.relname)) AS owner, c.bytes, c.rows
FROM (SELECT c.oid, c.relname, c.relnamespace,
             CASE WHEN c.relkind = 'i' THEN 'index' ELSE 'table' END AS kind,
             CASE WHEN c.relkind <> 'i' THEN c.reltuples::bigint END AS rows,
             {{bytes}} AS bytes
      FROM pg_class c LEFT JOIN pg_class o ON o.oid = c.reltoastrelid
      WHERE c.relkind IN ('r', 'm', 'i') AND c.relnamespace NOT IN
        (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')
      ORDER BY bytes DESC, c.oid LIMIT {_RELATIONS_SHOWN}) c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
ORDER BY c.bytes DESC, c.oid
"""
"""Names are looked up for those that are shown only: with 25,000 relations it takes 25 ms, not
42. What lies beside a table (TOAST) is part of it, also when the largest are sought."""

_ESTIMATED: Final = _RELATIONS.format(
    bytes="(c.relpages::bigint + coalesce(o.relpages, 0)) * current_setting('block_size')::bigint"
)
_EXACT: Final = _RELATIONS.format(
    bytes="coalesce(CASE WHEN c.relkind = 'i' THEN pg_relation_size(c.oid)"
    " ELSE pg_table_size(c.oid) END, 0)"
)

_ROWS: Final = f"""
SELECT t.name, c.reltuples::bigint AS rows
FROM ({COUNTED_TABLES}) AS t(name, oid) JOIN pg_class c USING (oid)
"""

_SESSIONS: Final = """
SELECT coalesce(nullif(application_name, ''), 'unnamed') AS application,
       coalesce(state, 'hidden') AS state, count(*) AS count,
       extract(epoch FROM max(now() - state_change))::float AS longest
FROM pg_stat_activity WHERE backend_type = 'client backend'
GROUP BY 1, 2 ORDER BY 3 DESC
"""

_LIMITS: Final = """
SELECT (SELECT sum(numbackends) FROM pg_stat_database)::int AS used,
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int AS available,
       pg_has_role(current_user, 'pg_monitor', 'USAGE') AS complete
"""

_DETAILS: Final = """
SELECT current_setting('server_version') AS version,
       pg_database_size(current_database()) AS database_bytes,
       pg_postmaster_start_time() AS started_at,
       blks_hit, blks_read, xact_commit, xact_rollback, deadlocks, temp_bytes, stats_reset,
       r.dead_rows, r.live_rows_estimate, r.tables, r.indexes, r.index_scans
FROM pg_stat_database, (
  SELECT coalesce(sum(pg_stat_get_dead_tuples(c.oid)) FILTER (WHERE is_table), 0)::bigint
           AS dead_rows,
         coalesce(sum(pg_stat_get_live_tuples(c.oid)) FILTER (WHERE is_table), 0)::bigint
           AS live_rows_estimate,
         count(*) FILTER (WHERE is_table) AS tables,
         count(*) FILTER (WHERE NOT is_table) AS indexes,
         coalesce(sum(pg_stat_get_numscans(c.oid)) FILTER (WHERE NOT is_table), 0)::bigint
           AS index_scans
  FROM (SELECT c.oid, c.relkind IN ('r', 'm') AS is_table
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm', 'i') AND n.nspname !~ '^pg_'
          AND n.nspname <> 'information_schema') c) r
WHERE datname = current_database()
"""
"""The views pg_stat_user_tables and pg_stat_user_indexes take 90 ms each for 5,000 tables."""


def sizes(engine: Engine, *, exact: bool) -> SizeReport:
    """By default from relpages, which ANALYZE and VACUUM keep; `exact` asks every file.

    The whole is asked for by a second connection meanwhile: the server looks at each file of the
    database for it, 65 ms for 60,000 of them.
    """
    with ThreadPoolExecutor(1) as beside:
        total = beside.submit(_total_bytes, engine)
        with pooled(engine) as connection:
            found = connection.execute(text(_EXACT if exact else _ESTIMATED)).mappings().all()
    relations = tuple(_relation(row) for row in found)
    note = "" if exact else "Sizes of tables are the server's notes from its last clean-up."
    is_cut_off = len(found) == _RELATIONS_SHOWN
    return SizeReport(total.result(), relations, unmeasured=note, is_cut_off=is_cut_off)


def _total_bytes(engine: Engine) -> int:
    with pooled(engine) as connection:
        found = connection.execute(text("SELECT pg_database_size(current_database())")).scalar()
    return int(found or 0)


def _relation(row: Any) -> RelationSize:
    rows = None if row["rows"] is None or row["rows"] < 0 else int(row["rows"])
    return RelationSize(row["name"], row["kind"], row["owner"], int(row["bytes"]), rows)


def live_rows(engine: Engine) -> tuple[LiveRows, ...]:
    """Counted where the database is small and a mere look may count it, else the planner's
    estimates (None for a table never analysed)."""
    with pooled(engine) as connection:
        columns = {name: tuple(shape.columns) for name, shape in shapes(connection).items()}
        if _may_be_counted(connection):
            counted = count_tables(connection, SILENT)
            return tuple(
                LiveRows(table.name, table.rows, True, columns.get(table.name, ()))
                for table in counted
            )
        found = connection.execute(text(_ROWS)).all()
    return tuple(
        LiveRows(name, rows if rows >= 0 else None, False, columns.get(name, ()))
        for name, rows in found
    )


def _may_be_counted(connection: Connection) -> bool:
    """Never as a superuser: planning alone evaluates what others wrote into indexes, and a mere
    look must not run that with all rights. Nor where row security hides rows from us: it would
    run what others wrote, and the number would be wrong."""
    size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar()
    if int(size or 0) > COUNT_LIMIT or connection.execute(text(IS_SUPERUSER)).scalar():
        return False
    hidden = (connection.execute(text(query)).first() for query in (UNREADABLE, ROW_SECURITY))
    return all(row is None for row in hidden)


def sessions(engine: Engine) -> ServerSessions:
    """Who is connected, grouped; states of others are hidden from a role without pg_monitor."""
    with pooled(engine) as connection:
        limits = connection.execute(text(_LIMITS)).mappings().one()
        rows = connection.execute(text(_SESSIONS)).mappings().all()
    groups = tuple(
        SessionGroup(row["application"], row["state"], row["count"], row["longest"]) for row in rows
    )
    return ServerSessions(limits["used"], limits["available"], groups, limits["complete"])


def health_details(ask: Ask) -> dict[str, object]:
    """Figures for a health report: bytes, counts, and times as ISO text."""
    row = ask(_DETAILS)[0]
    return {k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in row.items()}


def pool_stats(engine: Engine) -> PoolStats | None:
    """The engine's pool; None where it keeps none (NullPool)."""
    pool = engine.pool
    if not isinstance(pool, QueuePool):
        return None
    timeouts = pool.timeouts if isinstance(pool, CountingPool) else None
    return PoolStats(
        pool.size(), pool.checkedin(), pool.checkedout(), max(0, pool.overflow()), timeouts
    )

"""What a staging database needs once all is in it: statistics for the planner, and a count."""

from __future__ import annotations

from functools import partial
from typing import Final

from sqlalchemy import Engine, text

from ops.archive.manifest import Manifest, TableRows
from ops.dialects.postgresql.connect import connected
from ops.dialects.postgresql.counting import COUNTED, OWN_ROWS, count_tables
from ops.dialects.postgresql.names import run_plain
from ops.dialects.postgresql.sessions import attended
from ops.helper_thread import HelperThread, awaited
from ops.progress import Progress

_TABLES: Final = """
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition
ORDER BY c.relkind = 'p' DESC, pg_relation_size(c.oid) DESC
"""
"""All that ANALYZE without a name takes (PostgreSQL 16, ANALYZE, "Parameters"), those that take
longest first. Partitions go with their parent, which itself has no size."""


def analyze_and_count(
    engine: Engine, staged: str, application: str, progress: Progress, manifest: Manifest
) -> tuple[TableRows, ...]:
    """Let the planner know the staging database; the exact rows of every table in it.

    By two connections, because ANALYZE keeps to one core: 0.4 s less for 1 GiB.
    """
    told = manifest.database.details if manifest.database else {}
    with_heirs = told.get(COUNTED) != OWN_ROWS
    with connected(engine, staged, application=application) as connection:
        left = iter(connection.execute(text(_TABLES)).scalars().all())  # both take from it

    def analyze_rest(progress: Progress) -> None:
        with connected(engine, staged, application=application) as connection:
            report = partial(progress.report, 0, 1, "Telling the planner")
            for name in left:
                attended(connection, partial(run_plain, connection, f"ANALYZE {name}"), report)

    with HelperThread() as beside:
        analyzing = beside.begin(analyze_rest)
        with connected(engine, staged, autocommit=False, application=application) as connection:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            tables = count_tables(
                connection,
                progress.within(0, 0.9),
                checksums=manifest.has_checksums,
                with_heirs=with_heirs,
            )
        analyze_rest(progress.within(0.9, 1))
        awaited(analyzing, partial(progress.report, 1, 1, "Telling the planner"))
    return tables

"""Fixes for the tables and indexes of a PostgreSQL database.

Names are looked up and quoted by the server; what is not there is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from ops.dialects.postgresql.connect import connected
from ops.dialects.postgresql.names import run_plain
from ops.errors import Refused
from ops.fixes.base import Fix, Kind, Obstacle
from ops.fixes.postgresql_work import run_long, working
from ops.progress import Progress

_TABLES: Final = ("r", "p", "m")
_INDEXES: Final = ("i",)

_RELATION: Final = text("""
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       format('%I.%I', tn.nspname, t.relname) AS owner_table,
       quote_ident(pg_get_userbyid(t.relowner)) AS owner, quote_ident(current_user) AS me,
       pg_has_role(t.relowner, 'USAGE') AS owns,
       pg_has_role(d.datdba, 'USAGE') AS owns_database,
       v.major, CASE WHEN v.major >= 17 THEN has_table_privilege(t.oid, 'MAINTAIN')
                     ELSE false END AS maintains,
       pg_relation_size(c.oid) AS bytes,
       coalesce(i.indisunique OR i.indisprimary OR i.indisexclusion
                OR EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid),
                false) AS guards,
       CASE WHEN i.indexrelid IS NOT NULL THEN pg_get_indexdef(c.oid) END AS definition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indexrelid = c.oid
JOIN pg_class t ON t.oid = coalesce(i.indrelid, c.oid)
JOIN pg_namespace tn ON tn.oid = t.relnamespace
JOIN pg_database d ON d.datname = current_database()
CROSS JOIN (SELECT current_setting('server_version_num')::int / 10000 AS major) v
WHERE c.oid = to_regclass(:subject) AND c.relkind = ANY(:kinds)
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
""")

_LEFT_OVER: Final = text("""
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = to_regclass(:table) AND NOT i.indisvalid AND c.relname ~ '_ccnew[0-9]*$'
""")
"""What REINDEX CONCURRENTLY leaves behind where it is stopped; the manual says to drop it."""


@dataclass(frozen=True)
class _Work:
    """A statement on one table or index: who may run it, and in which words it is told."""

    kinds: tuple[str, ...]
    statement: str
    note: str
    done: str
    by_database_owner: bool = False
    by_maintainer: bool = True

    def command(self, engine: Engine, subject: str) -> str:
        """The statement with the name that the server gave."""
        with connected(engine) as connection:
            return self._filled(_relation(connection, subject, self.kinds)) + ";"

    def may(self, engine: Engine, subject: str) -> Obstacle | None:
        """Whether the console's user may run it, and if not, the grant that helps."""
        with connected(engine) as connection:
            found = _relation(connection, subject, self.kinds)
        if found["owns"] or (self.by_maintainer and found["maintains"]):
            return None
        if self.by_database_owner and found["owns_database"]:
            return None
        table, me = found["owner_table"], found["me"]
        grant = f"GRANT {found['owner']} TO {me};"
        if self.by_maintainer and found["major"] >= 17:
            grant = f"GRANT MAINTAIN ON {table} TO {me};"
        return Obstacle(
            f"The console's database user may not do this with {table}.",
            f"As the server's administrator, run: {grant}",
        )

    def run(self, engine: Engine, subject: str, progress: Progress) -> str:
        """Run it; a stop cancels it on the server, which undoes what is not finished."""
        with working(engine) as connection:
            found = _relation(connection, subject, self.kinds)
            run_long(connection, self._filled(found), progress, f"{self.note} {found['name']}")
        return self.done.format_map(found)

    def _filled(self, found: Mapping[str, Any]) -> str:
        return self.statement.replace("{name}", found["name"])


def _relation(connection: Connection, subject: str, kinds: tuple[str, ...]) -> Mapping[str, Any]:
    """What the server knows about the table or index. Raises Refused where there is none."""
    try:
        asked = {"subject": subject, "kinds": list(kinds)}
        row = connection.execute(_RELATION, asked).mappings().one_or_none()
    except DBAPIError as cause:
        if cause.connection_invalidated:
            raise
        row = None  # not even a name
    if row is None:
        raise Refused(f"There is no {subject!r} in this database any more.", "Look again.")
    return dict(row)


def _reindex(engine: Engine, subject: str, progress: Progress) -> str:
    """A stopped REINDEX CONCURRENTLY leaves an index that is of no use: it is dropped."""
    with working(engine) as connection:
        table = _relation(connection, subject, _INDEXES)["owner_table"]
        before = _left_over(connection, table)
        try:
            return _REINDEX.run(engine, subject, progress)
        except BaseException:
            for name in sorted(_left_over(connection, table) - before):
                run_plain(connection, f"DROP INDEX {name}")
            raise


def _left_over(connection: Connection, table: str) -> set[str]:
    return {str(name) for (name,) in connection.execute(_LEFT_OVER, {"table": table})}


def _may_drop_index(engine: Engine, subject: str) -> Obstacle | None:
    with connected(engine) as connection:
        if _relation(connection, subject, _INDEXES)["guards"]:
            return Obstacle(
                f"{subject} keeps out duplicates, so it is not only there for speed.",
                "Show it to whoever makes the app.",
            )
    return _DROP_INDEX.may(engine, subject)


_ANALYZE: Final = _Work(
    _TABLES,
    "ANALYZE {name}",
    "Looking at a part of",
    "The server has fresh notes about {name}.",
    by_database_owner=True,
)
_VACUUM: Final = _Work(
    _TABLES,
    "VACUUM (ANALYZE) {name}",
    "Cleaning up",
    "{name} was cleaned up.",
    by_database_owner=True,
)
_REINDEX: Final = _Work(
    _INDEXES,
    "REINDEX INDEX CONCURRENTLY {name}",
    "Building anew",
    "{name} was built anew.",
)
_DROP_INDEX: Final = _Work(
    _INDEXES,
    "DROP INDEX CONCURRENTLY {name}",
    "Removing",
    "{name} is gone. To have it back, run: {definition};",
    by_maintainer=False,
)

FIXES: Final[tuple[Fix[Engine], ...]] = (
    Fix(
        id="postgresql.analyze",
        title="Refresh the notes",
        what="The server looks at a part of the table and notes how large it is and what it "
        "holds, so that it finds the fast way to search. No data is changed.",
        kind=Kind.ONE_CLICK,
        locks="Nobody has to wait for it; it takes seconds.",
        command=_ANALYZE.command,
        may=_ANALYZE.may,
        run=_ANALYZE.run,
        subject="table",
    ),
    Fix(
        id="postgresql.vacuum",
        title="Clean up",
        what="The server frees the room of records that were deleted, and refreshes its notes "
        "about the table. No data is changed.",
        kind=Kind.ONE_CLICK,
        locks="Reading and saving go on. It takes some seconds for each GB.",
        command=_VACUUM.command,
        may=_VACUUM.may,
        run=_VACUUM.run,
        subject="table",
    ),
    Fix(
        id="postgresql.reindex",
        title="Build the index anew",
        what="The index is built a second time beside the old one, which then goes. The records "
        "are not touched.",
        kind=Kind.GUIDED,
        locks="Reading and saving go on. Nobody may change the table's layout meanwhile: about "
        "a minute for each GB. It gives up if other work on the table does not end.",
        command=_REINDEX.command,
        may=_REINDEX.may,
        run=_reindex,
        subject="index",
    ),
    Fix(
        id="postgresql.drop_index",
        title="Remove the index",
        what="The index goes; the records stay. Searches that used it get slower.",
        kind=Kind.GUIDED,
        locks="Reading and saving go on. It gives up if other work on the table does not end.",
        command=_DROP_INDEX.command,
        may=_may_drop_index,
        run=_DROP_INDEX.run,
        subject="index",
    ),
)

"""Emptying a database inside a transaction, as far as whoever owns it may.

Extensions stay, and so do the schemas in which they live: on managed servers the owner of a
database may neither drop nor make most of them. What is in those schemas goes one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, text

from ops.dialects.postgresql.backup import server_major
from ops.dialects.postgresql.names import run_plain
from ops.errors import Busy

OF_EXTENSION: Final = """
EXISTS (SELECT 1 FROM pg_depend e
        WHERE e.classid = '{catalogue}'::regclass AND e.objid = {oid} AND e.deptype = 'e')
"""

OWN_SCHEMA: Final = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

_TABLES: Final = f"""
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND {OWN_SCHEMA}
  AND NOT {OF_EXTENSION.format(catalogue="pg_class", oid="c.oid")}
ORDER BY c.oid
"""

_KEPT: Final = f"""
SELECT n.oid, n.nspname FROM pg_namespace n
WHERE {OWN_SCHEMA}
  AND (NOT pg_has_role(n.nspowner, 'USAGE')
       OR {OF_EXTENSION.format(catalogue="pg_namespace", oid="n.oid")}
       OR EXISTS (SELECT 1 FROM pg_extension x WHERE x.extnamespace = n.oid)
       OR EXISTS (SELECT 1 FROM pg_depend d JOIN pg_depend e USING (classid, objid)
                  WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
                    AND e.deptype = 'e'))
"""

_DROP_ALL_OVER: Final = f"""
SELECT format('DROP PUBLICATION %I', pubname) FROM pg_publication
UNION ALL
SELECT format('DROP SERVER %I CASCADE', srvname) FROM pg_foreign_server s
WHERE NOT {OF_EXTENSION.format(catalogue="pg_foreign_server", oid="s.oid")}
UNION ALL
SELECT format('DROP SCHEMA %I CASCADE', n.nspname) FROM pg_namespace n
WHERE {OWN_SCHEMA} AND n.oid NOT IN (SELECT oid FROM ({_KEPT}) k)
"""

_DROP_IN_KEPT: Final = f"""
SELECT DISTINCT format('DROP %s IF EXISTS %s CASCADE',
       CASE WHEN d.classid = 'pg_proc'::regclass THEN 'ROUTINE'
            WHEN o.type = 'statistics object' THEN 'STATISTICS' ELSE upper(o.type) END,
       o.identity)
FROM ({_KEPT}) k
JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = k.oid
  AND d.deptype = 'n' AND d.classid <> 'pg_extension'::regclass,
pg_identify_object(d.classid, d.objid, 0) o
WHERE NOT EXISTS (SELECT 1 FROM pg_depend e
                  WHERE e.classid = d.classid AND e.objid = d.objid AND e.objsubid = 0
                    AND e.deptype IN ('e', 'i'))
"""
"""Everything that lies in a schema depends on it; an index or a row type on its table. What is
an inner part of something else, such as the sequence of an identity column, goes with that."""

_FORGET_GRANTS_ON_KEPT: Final = f"""
SELECT DISTINCT format('REVOKE ALL ON SCHEMA %I FROM %s', n.nspname,
       CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
FROM ({_KEPT}) k JOIN pg_namespace n ON n.oid = k.oid, aclexplode(n.nspacl)
WHERE pg_has_role(n.nspowner, 'USAGE') AND grantee <> n.nspowner
"""

_FORGET_DEFAULTS: Final = """
WITH told AS (
  SELECT a.oid, a.defaclobjtype AS type,
         format('ALTER DEFAULT PRIVILEGES FOR ROLE %I', pg_get_userbyid(a.defaclrole)) AS head,
         CASE WHEN n.oid IS NOT NULL THEN format(' IN SCHEMA %I', n.nspname) ELSE '' END AS place,
         CASE a.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'
              WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS'
              ELSE 'LARGE OBJECTS' END AS kind,
         quote_ident(pg_get_userbyid(a.defaclrole)) AS owner, a.defaclacl
  FROM pg_default_acl a LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace)
SELECT statement FROM (
  SELECT DISTINCT oid, 1 AS place_in_order,
         format('%s%s REVOKE ALL ON %s FROM %s', head, place, kind,
                CASE WHEN grantee = 0 THEN 'PUBLIC'
                     ELSE quote_ident(pg_get_userbyid(grantee)) END) AS statement
  FROM told, aclexplode(defaclacl)
  UNION ALL
  SELECT oid, 2, format('%s GRANT ALL ON %s TO %s', head, kind, owner) FROM told WHERE place = ''
  UNION ALL
  SELECT oid, 3, format('%s GRANT %s ON %s TO PUBLIC', head,
                        CASE type WHEN 'f' THEN 'EXECUTE' ELSE 'USAGE' END, kind)
  FROM told WHERE place = '' AND type IN ('f', 'T')) all_of_them
ORDER BY oid, place_in_order
"""
"""Back to what holds without any: the owner may do everything, and everybody may execute
functions and use types (manual, Privileges); the entry vanishes by itself then."""

_PUBLIC: Final = (
    "GRANT USAGE ON SCHEMA public TO PUBLIC",
    "COMMENT ON SCHEMA public IS 'standard public schema'",
)
_PUBLIC_OWNER: Final = "ALTER SCHEMA public OWNER TO pg_database_owner"
_PUBLIC_FOR_ALL: Final = "GRANT CREATE ON SCHEMA public TO PUBLIC"

_PUBLIC_NOW: Final = """
SELECT count(*) > 0, coalesce(bool_or(pg_has_role(nspowner, 'USAGE')), false)
FROM pg_namespace WHERE nspname = 'public'
"""

_SINCE_15: Final = 15
"""The schema public belongs to whoever owns the database, and others may only look."""

_MADE_SINCE: Final = """
SELECT 1 FROM {catalogue} x
WHERE {own} AND age(x.xmin) < 1000000000
  AND NOT pg_visible_in_snapshot(
    CAST(CAST(pg_current_xact_id()::text::bigint - age(x.xmin) AS text) AS xid8),
    CAST(:snapshot AS pg_snapshot))
"""
"""A row's xmin lacks the epoch; its distance from our own transaction does not."""

_IN_OWN_SCHEMA: Final = "{column} IN (SELECT n.oid FROM pg_namespace n WHERE " + OWN_SCHEMA + ")"

_LOOKED_AT: Final = {
    "pg_class": _IN_OWN_SCHEMA.format(column="x.relnamespace"),
    "pg_proc": _IN_OWN_SCHEMA.format(column="x.pronamespace"),
    "pg_type": _IN_OWN_SCHEMA.format(column="x.typnamespace"),
    "pg_namespace": _IN_OWN_SCHEMA.format(column="x.oid"),
    "pg_largeobject_metadata": "true",
}


def lock_all_tables(connection: Connection) -> None:
    """Nobody may write any more; reading, as pg_dump does, goes on. Raises Busy."""
    locked: set[str] = set()
    # Tables may come while others are waited for.
    while new := set(connection.execute(text(_TABLES)).scalars()) - locked:
        run_plain(connection, f"LOCK TABLE {', '.join(sorted(new))} IN EXCLUSIVE MODE")
        locked |= new


def refuse_if_changed(connection: Connection, snapshot: str) -> None:
    """No table lock keeps others from making tables, functions or large objects, and what was
    made after the safety dump's snapshot is not in it. Raises Busy."""
    for catalogue, own in _LOOKED_AT.items():
        query = _MADE_SINCE.format(catalogue=catalogue, own=own)
        if connection.execute(text(query), {"snapshot": snapshot}).first():
            raise Busy(
                "Another program made or changed tables, functions or large objects while the "
                "database was being saved.",
                "Try again when no program changes the database's structure.",
                f"in {catalogue}",
            )


def kept_schemas(connection: Connection) -> list[str]:
    """The schemas that `wipe` only empties."""
    return [name for _, name in connection.execute(text(_KEPT))]


def wipe(connection: Connection) -> None:
    """Drop everything but extensions, and leave the schema public as in a new database."""
    _run_all(connection, connection.execute(text(_DROP_ALL_OVER)).scalars().all())
    _run_all(connection, connection.execute(text(_DROP_IN_KEPT)).scalars().all())
    _run_all(connection, connection.execute(text(_FORGET_DEFAULTS)).scalars().all())
    run_plain(connection, "SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata")
    _run_all(connection, connection.execute(text(_FORGET_GRANTS_ON_KEPT)).scalars().all())
    _renew_public(connection)


def _renew_public(connection: Connection) -> None:
    is_there, is_ours = connection.execute(text(_PUBLIC_NOW)).one()
    if not is_there:
        run_plain(connection, "CREATE SCHEMA public")
    if is_ours or not is_there:
        late = server_major(connection) >= _SINCE_15
        _run_all(connection, (*_PUBLIC, _PUBLIC_OWNER if late else _PUBLIC_FOR_ALL))


def _run_all(connection: Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        run_plain(connection, statement)

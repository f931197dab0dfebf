"""What is looked at before an archive is put in place in one step: whatever would stop it half
way, or could not be brought back by the undo, is found here."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from ops.archive.manifest import Manifest
from ops.dialects.base import Notice, NoticeLevel
from ops.dialects.postgresql.names import quoted
from ops.dialects.postgresql.readable import HIDDEN_LOGINS, listed, reading_notices
from ops.dialects.postgresql.wipe import OF_EXTENSION, OWN_SCHEMA

_BYTES_A_SECOND: Final = 10 << 20
"""Of the live database, while programs wait: half of what was measured (585 MB with three
indexes in 29 s on two cores)."""

_OWNED: Final = {
    "pg_namespace": ("nspowner", "oid", "x.nspname <> 'public'"),
    "pg_class": ("relowner", "relnamespace", "x.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"),
    "pg_proc": ("proowner", "pronamespace", "true"),
    "pg_type": ("typowner", "typnamespace", "x.typrelid = 0 AND x.typcategory <> 'A'"),
    "pg_operator": ("oprowner", "oprnamespace", "true"),
    "pg_collation": ("collowner", "collnamespace", "true"),
    "pg_ts_config": ("cfgowner", "cfgnamespace", "true"),
    "pg_ts_dict": ("dictowner", "dictnamespace", "true"),
    "pg_statistic_ext": ("stxowner", "stxnamespace", "true"),
    "pg_largeobject_metadata": ("lomowner", "", "true"),
    "pg_publication": ("pubowner", "", "true"),
    "pg_foreign_server": ("srvowner", "", "true"),
}
"""Catalogue → the columns of owner and schema, and which rows count."""

_HOMELESS: Final = """
SELECT pg_describe_object('{catalogue}'::regclass, x.oid, 0)
       || ' of ' || quote_ident(pg_get_userbyid(x.{owner}))
FROM {catalogue} x JOIN pg_namespace n ON n.oid = x.{schema} AND {own}
WHERE {counts} AND NOT {extension} AND pg_get_userbyid(x.{owner}) <> current_user
  AND NOT pg_has_role(x.{owner}, n.nspowner, 'USAGE')
  AND NOT (n.nspname = 'public' AND current_setting('server_version_num')::int < 150000)
  AND (pg_has_role(n.nspowner, 'USAGE') OR NOT has_schema_privilege(x.{owner}, n.oid, 'CREATE'))
LIMIT 20
"""
"""What its owner got into a schema by a mere grant. A dump gives an object to its owner before it
gives the grant, and the owner must then be allowed to create there (manual, ALTER TABLE)."""

_GRANTED: Final = {
    "pg_namespace": ("nspowner", "oid", "nspacl"),
    "pg_class": ("relowner", "relnamespace", "relacl"),
    "pg_proc": ("proowner", "pronamespace", "proacl"),
    "pg_type": ("typowner", "typnamespace", "typacl"),
    "pg_largeobject_metadata": ("lomowner", "", "lomacl"),
    "pg_foreign_server": ("srvowner", "", "srvacl"),
}
"""Catalogue → the columns of owner, schema and grants."""

_GRANTED_COLUMNS: Final = f"""
SELECT pg_describe_object('pg_class'::regclass, x.oid, c.attnum)
FROM pg_class x JOIN pg_namespace n ON n.oid = x.relnamespace AND {OWN_SCHEMA}
JOIN pg_attribute c ON c.attrelid = x.oid
WHERE EXISTS (SELECT 1 FROM aclexplode(c.attacl) a WHERE a.grantor <> x.relowner) LIMIT 20
"""

_FOR_ADMINISTRATORS: Final = f"""
SELECT format('event trigger %I', evtname) FROM pg_event_trigger x
WHERE NOT {OF_EXTENSION.format(catalogue="pg_event_trigger", oid="x.oid")}
UNION ALL
SELECT format('foreign data wrapper %I', fdwname) FROM pg_foreign_data_wrapper x
WHERE NOT {OF_EXTENSION.format(catalogue="pg_foreign_data_wrapper", oid="x.oid")}
UNION ALL
SELECT format('publication %I', pubname) FROM pg_publication x
WHERE x.puballtables
   OR EXISTS (SELECT 1 FROM pg_depend d
              WHERE d.classid = to_regclass('pg_catalog.pg_publication_namespace')
                AND d.refclassid = 'pg_publication'::regclass AND d.refobjid = x.oid)
UNION ALL
SELECT format('operator class %I', opcname) FROM pg_opclass x
WHERE x.oid >= 16384 AND NOT {OF_EXTENSION.format(catalogue="pg_opclass", oid="x.oid")}
UNION ALL
SELECT format('function %I.%I', n.nspname, x.proname)
FROM pg_proc x JOIN pg_namespace n ON n.oid = x.pronamespace
JOIN pg_language l ON l.oid = x.prolang
WHERE {OWN_SCHEMA} AND NOT l.lanpltrusted AND x.prokind <> 'a'
  AND NOT {OF_EXTENSION.format(catalogue="pg_proc", oid="x.oid")}
UNION ALL
SELECT format('subscription %I', subname)
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
WHERE d.datname = current_database()
ORDER BY 1
"""
"""What only a superuser may make: neither archive nor undo could bring it back."""

_OTHERS_DEFAULTS: Final = """
SELECT DISTINCT 'default privileges of ' || quote_ident(pg_get_userbyid(defaclrole))
FROM pg_default_acl WHERE NOT pg_has_role(defaclrole, 'USAGE') LIMIT 20
"""

_HOLDS_LARGE_OBJECTS: Final = "SELECT EXISTS (SELECT 1 FROM pg_largeobject_metadata)"

_MISSING_EXTENSIONS: Final = """
SELECT name FROM unnest(string_to_array(:wanted, ',')) AS name
WHERE name <> '' AND name NOT IN (SELECT extname FROM pg_extension)
"""

_LOCKS: Final = f"""
SELECT count(*) AS relations,
       current_setting('max_locks_per_transaction')::bigint
         * (current_setting('max_connections')::bigint
            + current_setting('max_prepared_transactions')::bigint) AS slots
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OWN_SCHEMA}
"""

_SIZE: Final = "SELECT pg_database_size(current_database())"


def in_place_notices(
    connection: Connection, manifest: Manifest, workspace: Path, role: str, *, foreign: bool
) -> list[Notice]:
    """Announces the way, and refuses where it would not come through. `role` is quoted."""
    found = [_announced(connection, role)]
    if foreign:
        message = (
            "This backup was not made by this console, and here it cannot be tried out beside "
            "the database in use: commands in it would run in that very database."
        )
        hint = f"To make it possible, as the server's administrator, run: {_grant(role)}"
        found.append(Notice(NoticeLevel.REFUSE, message, hint))
    if connection.execute(text(_HOLDS_LARGE_OBJECTS)).scalar():
        message = (
            "The database holds large objects. No lock keeps programs from writing into these, so "
            "all programs are disconnected from the database again and again meanwhile; what one "
            "still saves into a large object then is lost. Where the console's user may not "
            "disconnect one that could, nothing is restored."
        )
        hint = "Stop the programs that use the database for that long."
        found.append(Notice(NoticeLevel.WARN, message, hint))
    found += _obstacles(connection, manifest)
    found += reading_notices(connection)
    size, free = int(connection.execute(text(_SIZE)).scalar() or 0), _free(workspace)
    if free < size * 1.1:
        message = (
            "There is not enough room to save the database as it is before it is replaced: it "
            f"may need {size:,} bytes, {free:,} are free."
        )
        found.append(Notice(NoticeLevel.REFUSE, message, "Make room on the console's disk."))
    return found


def _grant(role: str) -> str:
    return f"ALTER ROLE {role} CREATEDB;"


def _free(workspace: Path) -> int:
    return shutil.disk_usage(workspace).free


def _announced(connection: Connection, role: str) -> Notice:
    size = int(connection.execute(text(_SIZE)).scalar() or 0)
    minutes = math.ceil(size / _BYTES_A_SECOND / 60) or 1
    message = (
        "The console's user may not create databases, so the backup cannot be tried out beside "
        "the database in use. It is put in place in one step instead: meanwhile, for about "
        f"{minutes} minute{'s' if minutes > 1 else ''}, programs that use the database wait. If "
        "anything is wrong, nothing changes."
    )
    hint = f"To try it out first, as the server's administrator, run: {_grant(role)}"
    return Notice(NoticeLevel.WARN, message, hint)


def _obstacles(connection: Connection, manifest: Manifest) -> Iterator[Notice]:
    yield from _not_brought_back(connection)
    wanted = str(manifest.database.details.get("extensions", "")) if manifest.database else ""
    missing = list(connection.execute(text(_MISSING_EXTENSIONS), {"wanted": wanted}).scalars())
    if missing:
        yield Notice(
            NoticeLevel.REFUSE,
            f"The database lacks extensions that the backup needs: {', '.join(missing)}.",
            "As the server's administrator, run in it: "
            + " ".join(f"CREATE EXTENSION {quoted(name)};" for name in missing),
        )
    locks = connection.execute(text(_LOCKS)).mappings().one()
    if locks["relations"] * 2 > locks["slots"]:
        yield Notice(
            NoticeLevel.REFUSE,
            f"The database has {locks['relations']:,} tables and indexes, more than this server "
            "can replace in one step.",
            "As the server's administrator, raise max_locks_per_transaction to "
            f"{_locks_needed(locks['relations'], locks['slots'])} times its value.",
        )


def _not_brought_back(connection: Connection) -> Iterator[Notice]:
    """What the console's user may not remove, or could not bring back by the undo."""
    for queries, message, hint in _REFUSED:
        found = [line for query in queries for line in connection.execute(text(query)).scalars()]
        if found:
            yield Notice(NoticeLevel.REFUSE, message.format(found=listed(found)), hint)


def _of_others() -> Iterator[str]:
    """A query for each catalogue: what is owned by roles whose rights we do not have."""
    for catalogue, (owner, schema, counts) in _OWNED.items():
        own = f"JOIN pg_namespace n ON n.oid = x.{schema} AND {OWN_SCHEMA}" if schema else ""
        yield (
            f"SELECT pg_describe_object('{catalogue}'::regclass, x.oid, 0) "  # nosec B608
            f"|| ' of ' || quote_ident(pg_get_userbyid(x.{owner})) FROM {catalogue} x {own} "
            f"WHERE {counts} AND NOT pg_has_role(x.{owner}, 'USAGE') "
            f"AND NOT {OF_EXTENSION.format(catalogue=catalogue, oid='x.oid')} LIMIT 20"
        )


def _homeless() -> Iterator[str]:
    for catalogue, (owner, schema, counts) in _OWNED.items():
        if schema and catalogue != "pg_namespace":
            extension = OF_EXTENSION.format(catalogue=catalogue, oid="x.oid")
            yield _HOMELESS.format(
                catalogue=catalogue,
                owner=owner,
                schema=schema,
                counts=counts,
                own=OWN_SCHEMA,
                extension=extension,
            )


def _passed_on() -> Iterator[str]:
    for catalogue, (owner, schema, grants) in _GRANTED.items():
        own = f"JOIN pg_namespace n ON n.oid = x.{schema} AND {OWN_SCHEMA}" if schema else ""
        yield (
            f"SELECT pg_describe_object('{catalogue}'::regclass, x.oid, 0) "  # nosec B608
            f"FROM {catalogue} x {own} WHERE EXISTS (SELECT 1 FROM aclexplode(x.{grants}) a "
            f"WHERE a.grantor <> x.{owner}) "
            f"AND NOT {OF_EXTENSION.format(catalogue=catalogue, oid='x.oid')} LIMIT 20"
        )
    yield _GRANTED_COLUMNS


_REFUSED: Final = (
    (
        (*_of_others(), _OTHERS_DEFAULTS),
        "The database holds what belongs to other users ({found}), which the console's user may "
        "not replace.",
        "As the server's administrator, give it to the console's user, or make the "
        "console's user a member of those users.",
    ),
    (
        tuple(_homeless()),
        "Some things in the database belong to users who may not create in the schema of "
        "another where they lie ({found}). The console's user could not give them back to their "
        "owners, so the restore could not be undone.",
        "As the server's administrator, give them to the owner of their schema or to the "
        "console's user (ALTER … OWNER TO …).",
    ),
    (
        tuple(_passed_on()),
        "Rights were passed on by users who do not own what they are about ({found}). Only the "
        "server's administrator could give them like that again, so the restore could not be "
        "undone.",
        "Take these rights back (REVOKE … CASCADE), and let the owner grant them directly.",
    ),
    (
        (HIDDEN_LOGINS,),
        "The database knows how other users sign in to other servers ({found}). The console's user "
        "may not read that, so nobody could bring it back.",
        "As the server's administrator, write these logins down (pg_user_mappings), remove them "
        "with DROP USER MAPPING, and make them again after the restore.",
    ),
    (
        (_FOR_ADMINISTRATORS,),
        "The database holds what only the server's administrator may make ({found}); after it "
        "was replaced, nobody else could bring it back.",
        "Ask whoever runs the server to restore the backup with pg_restore.",
    ),
)
"""Queries for what stands in the way, what it means, and what to do about it."""


def _locks_needed(relations: int, slots: int) -> int:
    return math.ceil(relations * 2 / slots)

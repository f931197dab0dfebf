"""What is looked at before a restore, so that nothing is found out half way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, RowMapping, text

from ops.archive.manifest import Manifest
from ops.dialects.base import Notice, NoticeLevel
from ops.dialects.postgresql import guest
from ops.dialects.postgresql.backup import server_major
from ops.dialects.postgresql.connect import connected
from ops.dialects.postgresql.contents import archive_major, needs_zstd, unknown_roles
from ops.dialects.postgresql.growth import size_of
from ops.dialects.postgresql.inplace_notices import in_place_notices
from ops.dialects.postgresql.names import quoted
from ops.dialects.postgresql.place import folder_of
from ops.dialects.postgresql.readable import HIDDEN_LOGINS, listed
from ops.dialects.postgresql.tools import tools_for
from ops.errors import PreflightRefused

_RIGHTS = """
SELECT r.rolsuper OR r.rolcreatedb AS may_create, r.rolsuper AS superuser,
       r.rolsuper OR r.rolcreaterole AS may_make_logins,
       (SELECT o.rolsuper FROM pg_roles o WHERE o.oid = d.datdba) AS owner_is_superuser,
       r.rolsuper OR pg_has_role(d.datdba, 'USAGE') AS owns,
       r.rolsuper OR pg_has_role('pg_signal_backend', 'USAGE') AS may_end_sessions,
       quote_ident(r.rolname) AS role, quote_ident(d.datname) AS database,
       quote_ident(pg_get_userbyid(d.datdba)) AS owner,
       (SELECT count(*) FROM pg_prepared_xacts p WHERE p.database = d.datname) AS prepared,
       (SELECT count(*) FROM pg_replication_slots s WHERE s.database = d.datname) AS slots
FROM pg_roles r, pg_database d
WHERE r.rolname = current_user AND d.datname = current_database()
"""

_OTHERS_SETTINGS = """
SELECT quote_ident(pg_get_userbyid(s.setrole))
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, pg_roles me
WHERE d.datname = current_database() AND me.rolname = current_user
  AND NOT me.rolsuper AND s.setrole NOT IN (0, me.oid)
  AND NOT (me.rolcreaterole AND (current_setting('server_version_num')::int < 160000
           OR EXISTS (SELECT 1 FROM pg_auth_members m WHERE m.roleid = s.setrole
                      AND m.member = me.oid AND m.admin_option)))
"""
"""Roles whose settings for this database we may not set again (ALTER ROLE, manual)."""

_MISSING_EXTENSIONS = """
SELECT name FROM unnest(string_to_array(:wanted, ',')) AS name
WHERE name <> '' AND name NOT IN (SELECT e.name FROM pg_available_extensions e)
"""


_SUBSCRIPTIONS = """
SELECT string_agg(quote_ident(s.subname), ', ')
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid, pg_roles me
WHERE d.datname = current_database() AND me.rolname = current_user
  AND (me.rolsuper OR me.rolcreatedb)
"""
"""Of a database in whose place another is put; in place it stays, and what it is to do is asked
there."""

_OF_ADMINISTRATORS = """
SELECT e.name FROM pg_available_extensions e JOIN pg_available_extension_versions v
  ON v.name = e.name AND v.version = e.default_version
WHERE v.superuser AND NOT v.trusted AND e.name = ANY (string_to_array(:wanted, ','))
ORDER BY 1
"""


def notices(engine: Engine, manifest: Manifest, workspace: Path, *, foreign: bool) -> list[Notice]:
    """Rights, tools, leftovers that forbid a rename, extensions that are missing."""
    found = []
    with connected(engine) as connection:
        try:
            major, zstd = archive_major(manifest), needs_zstd(manifest)
            tools_for(server_major(connection), major, zstd=zstd)
        except PreflightRefused as refusal:
            found.append(Notice(NoticeLevel.REFUSE, refusal.message, refusal.hint))
        row = connection.execute(text(_RIGHTS)).mappings().one()
        found += _rights(row)
        wanted = str(manifest.database.details.get("extensions", "")) if manifest.database else ""
        if row["may_create"]:
            found += _beside(connection, row, wanted, foreign=foreign)
        else:
            role = str(row["role"])
            found += in_place_notices(connection, manifest, workspace, role, foreign=foreign)
        if not foreign:
            found += _unknown_roles(connection, manifest)
        missing = list(connection.execute(text(_MISSING_EXTENSIONS), {"wanted": wanted}).scalars())
        if missing:
            message = f"The server lacks extensions that the backup needs: {', '.join(missing)}."
            hint = "Ask whoever runs the server to install them."
            found.append(Notice(NoticeLevel.REFUSE, message, hint))
        found += _room(connection)
    return found


def _rights(row: RowMapping) -> Iterator[Notice]:
    """What holds for both ways."""
    if not row["owns"]:
        message = (
            "The console's user does not own the database, so it may not put another in its place."
        )
        hint = f"As the server's administrator, run: GRANT {row['owner']} TO {row['role']};"
        yield Notice(NoticeLevel.REFUSE, message, hint)
    if row["prepared"]:
        message = "The database has unfinished two-step changes (prepared transactions)."
        hint = "Finish them with COMMIT PREPARED or ROLLBACK PREPARED."
        yield Notice(NoticeLevel.REFUSE, message, hint)
    if not row["may_end_sessions"]:
        message = "The console's user may end only its own connections to the database."
        hint = (
            "Stop the programs that use the database first, or run: "
            f"GRANT pg_signal_backend TO {row['role']};"
        )
        yield Notice(NoticeLevel.WARN, message, hint)


def _unknown_roles(connection: Connection, manifest: Manifest) -> Iterator[Notice]:
    unknown = unknown_roles(connection, manifest)
    if unknown:
        names = ", ".join(quoted(name) for name in unknown)
        message = (
            f"The backup names users that this server does not have ({names}). Grants, and what "
            "belonged to these users, cannot be brought back without them: programs that sign in "
            "as other users may then be refused."
        )
        hint = f"As the server's administrator, first run: CREATE ROLE {quoted(unknown[0])};"
        yield Notice(NoticeLevel.WARN, message, hint)


def _beside(
    connection: Connection, row: RowMapping, wanted: str, *, foreign: bool
) -> Iterator[Notice]:
    """What another database in the place of this one would leave behind."""
    if foreign:
        yield _foreign(row)
    barred = list(connection.execute(text(_OF_ADMINISTRATORS), {"wanted": wanted}).scalars())
    if barred and not row["superuser"]:
        message = (
            "The backup needs extensions that as a rule only the server's administrator may make "
            f"({', '.join(barred)}). If so they are left out; should tables need them, the restore "
            "stops, and nothing changes."
        )
        hint = (
            "Once the backup is in place, the administrator can make them with CREATE EXTENSION. "
            f"Where tables need them, run as administrator: ALTER ROLE {row['role']} SUPERUSER; "
            f"restore, then ALTER ROLE {row['role']} NOSUPERUSER;"
        )
        yield Notice(NoticeLevel.WARN, message, hint)
    logins = list(connection.execute(text(HIDDEN_LOGINS)).scalars())
    if logins:
        message = (
            f"How some users sign in to other servers ({listed(logins)}) is not in backups: the "
            "console's user may not read it."
        )
        hint = "As the server's administrator, set it again after the restore (ALTER USER MAPPING)."
        yield Notice(NoticeLevel.WARN, message, hint)
    if row["slots"]:
        message = (
            f"{row['slots']} replication slot(s) belong to the database as it is now; "
            "they stay with it and will not follow the restored one."
        )
        yield Notice(NoticeLevel.WARN, message, "Set them up anew after the restore.")
    others = list(connection.execute(text(_OTHERS_SETTINGS)).scalars())
    if others:
        message = (
            f"The database has settings of its own for {', '.join(others)}, which the console's "
            "user may not carry over to the restored one."
        )
        hint = (
            "As the server's administrator, write them down (\\drds in psql), remove them with "
            f"ALTER ROLE {others[0]} IN DATABASE {row['database']} RESET ALL; and set them again "
            "after the restore."
        )
        yield Notice(NoticeLevel.REFUSE, message, hint)


def swap_notices(engine: Engine) -> list[Notice]:
    """What forbids to put another database in the place of this one."""
    with connected(engine) as connection:
        subscriptions = connection.execute(text(_SUBSCRIPTIONS)).scalar()
    if not subscriptions:
        return []
    message = (
        "The database takes changes from another server by a subscription "
        f"({subscriptions}). Another one in its place would not, and the present one could "
        "not be removed any more."
    )
    hint = (
        "As the server's administrator, remove it (DROP SUBSCRIPTION …), then try again, and set "
        "it up anew afterwards."
    )
    return [Notice(NoticeLevel.REFUSE, message, hint)]


def _foreign(row: RowMapping) -> Notice:
    """Who carries out the commands of somebody else's archive."""
    if row["owner_is_superuser"]:
        message = (
            "This backup was not made by this console, and the database belongs to "
            f"{row['owner']}, who may do anything on this server: functions in the backup could "
            "then do so too, as soon as it is in place."
        )
        hint = (
            "As the server's administrator, give the database and all in it to a user that is "
            f"no superuser: ALTER DATABASE {row['database']} OWNER TO …;"
        )
        return Notice(NoticeLevel.REFUSE, message, hint)
    if row["may_make_logins"]:
        console = ", the console with all its rights included" if row["superuser"] else ""
        message = (
            "This backup was not made by this console. It is tried out by a login made for it "
            "alone, so its commands cannot reach the database in use, other databases or users. "
            "Once it is in place, functions and triggers in it work with the rights of "
            f"{row['owner']} and of whoever uses the database{console}."
        )
        return Notice(NoticeLevel.WARN, message, "Go on only if you trust its maker.")
    message = (
        "This backup was not made by this console. Whatever commands it holds are carried out "
        "with all rights of the console's user, so a malicious one could change or delete the "
        "database in use."
    )
    hint = (
        "Go on only if you trust its maker. To have it tried out by a login without rights, as "
        f"the server's administrator, run: ALTER ROLE {row['role']} CREATEROLE;"
    )
    return Notice(NoticeLevel.WARN, message, hint)


_NOT_OPENED = {
    "compare": (
        "A backup that this console did not make is not compared row by row: reading it could run "
        "commands of somebody else's with the rights of the console's user.",
        "The numbers of rows on the Restore page are known without reading it.",
    ),
    "beside": (
        "A backup that this console did not make is not kept beside the database: the server's "
        "own clean-up would run commands in it with the owner's rights.",
        "Look at it on a server of its own: docs/restore-without-the-console.md says how.",
    ),
}


def foreign_notices(engine: Engine, verb: str) -> list[Notice]:
    """What a guest brings to life may hold code that runs when somebody else reads it."""
    if verb not in _NOT_OPENED:
        return []
    with connected(engine) as connection:
        if not guest.may_be_made(connection):
            return []  # it is read by whoever has brought it to life, which was confirmed
    return [Notice(NoticeLevel.REFUSE, *_NOT_OPENED[verb])]


def _room(connection: Connection) -> list[Notice]:
    """Free disk, where the server's folder, or the tablespace of the database, is on this
    machine and we may know it."""
    live = str(connection.execute(text("SELECT current_database()")).scalar())
    folder = folder_of(connection, live)
    if folder is None:
        message = "Whether the server has room for a second copy could not be checked."
        hint = "It needs about twice the database's size free."
        return [Notice(NoticeLevel.INFO, message, hint)]
    free, need = shutil.disk_usage(folder).free, int(size_of(connection, live) * 2.1)
    if free >= need:
        return []
    message = (
        f"The server's disk is too full to restore safely: {need:,} bytes are needed, "
        f"{free:,} are free."
    )
    return [Notice(NoticeLevel.REFUSE, message, "Make room on the server's disk.")]

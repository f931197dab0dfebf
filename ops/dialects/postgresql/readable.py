"""What of a database the console's user may not read. A backup would silently miss it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from ops.dialects.base import Notice, NoticeLevel

UNREADABLE: Final = """
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT (has_schema_privilege(n.oid, 'USAGE')
           AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                    ELSE has_table_privilege(c.oid, 'SELECT') END)
ORDER BY 1
"""

ROW_SECURITY: Final = """
SELECT c.oid::regclass::text FROM pg_class c
WHERE c.relrowsecurity
  AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE'))
  AND NOT EXISTS (SELECT 1 FROM pg_roles r
                  WHERE r.rolname = current_user AND (r.rolsuper OR r.rolbypassrls))
ORDER BY 1
"""

_HIDDEN_LARGE_OBJECTS: Final = """
SELECT DISTINCT quote_ident(pg_get_userbyid(lomowner)) FROM pg_largeobject_metadata m
WHERE NOT pg_has_role(lomowner, 'USAGE')
  AND NOT EXISTS (SELECT 1 FROM aclexplode(lomacl) a
                  WHERE a.privilege_type = 'SELECT'
                    AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))
ORDER BY 1
"""
"""The owners of large objects that the role may not read; pg_read_all_data does not help."""

HIDDEN_LOGINS: Final = """
SELECT format('%s at %I', CASE m.umuser WHEN 0 THEN 'everybody' ELSE quote_ident(m.usename) END,
              m.srvname)
FROM pg_user_mappings m JOIN pg_foreign_server s ON s.oid = m.srvid
JOIN pg_roles me ON me.rolname = current_user
WHERE NOT me.rolsuper
  AND NOT CASE m.umuser WHEN 0 THEN pg_has_role(s.srvowner, 'USAGE')
               ELSE m.umuser = me.oid AND (pg_has_role(s.srvowner, 'USAGE')
                                           OR has_server_privilege(s.oid, 'USAGE')) END
ORDER BY 1 LIMIT 20
"""
"""Who signs in where by a user mapping whose options we may not read (manual, pg_user_mappings):
pg_dump then saves it without them."""


def reading_notices(connection: Connection) -> list[Notice]:
    """A backup that would silently miss rows is no backup."""
    found = []
    role = connection.execute(text("SELECT quote_ident(current_user)")).scalar()
    unreadable = list(connection.execute(text(UNREADABLE)).scalars())
    if unreadable:
        found.append(
            Notice(
                NoticeLevel.REFUSE,
                f"The console's user may not read {listed(unreadable)}. A backup would miss them.",
                f"As the server's administrator, run: GRANT pg_read_all_data TO {role};",
            )
        )
    hidden = list(connection.execute(text(ROW_SECURITY)).scalars())
    if hidden:
        found.append(
            Notice(
                NoticeLevel.REFUSE,
                f"Row security hides rows of {listed(hidden)} from the console's user. "
                "A backup would miss them.",
                f"As the server's administrator, run: ALTER ROLE {role} BYPASSRLS;",
            )
        )
    owners = list(connection.execute(text(_HIDDEN_LARGE_OBJECTS)).scalars())
    if owners:
        found.append(
            Notice(
                NoticeLevel.REFUSE,
                f"The console's user may not read large objects of {listed(owners)}. "
                "A backup would miss them.",
                f"As the server's administrator, run: GRANT {', '.join(owners)} TO {role};",
            )
        )
    return found


def listed(names: list[str]) -> str:
    """The first ten names, and how many more there are."""
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"

"""Keeping others from large objects while a database is replaced in place: no lock does."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from ops.dialects.postgresql.names import run_plain
from ops.errors import Busy

_OTHERS: Final = """
FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND NOT r.rolsuper
  AND coalesce(a.backend_type, '') NOT IN ('walsender', 'parallel worker')
  AND NOT starts_with(coalesce(a.application_name, ''), 'ops-console')
  AND EXISTS (SELECT 1 FROM pg_largeobject_metadata)
  AND {0} (pg_has_role(a.usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'))
"""
"""Only where there are large objects: no lock keeps anybody from writing into those, and what is
written after the safety dump's snapshot would be in neither state."""
END_OTHERS: Final = f"SELECT pg_terminate_backend(a.pid) {_OTHERS.format('')}"
_STAY: Final = f"""
SELECT DISTINCT quote_ident(a.usename) {_OTHERS.format("NOT")}
  AND (current_setting('lo_compat_privileges') = 'on' OR EXISTS (
    SELECT 1 FROM pg_largeobject_metadata m
    WHERE pg_has_role(a.usesysid, m.lomowner, 'MEMBER')
       OR EXISTS (SELECT 1 FROM aclexplode(m.lomacl) x
                  WHERE x.privilege_type = 'UPDATE'
                    AND (x.grantee = 0 OR pg_has_role(a.usesysid, x.grantee, 'MEMBER')))))
ORDER BY 1
"""
"""Who may write into one, and may not be ended. A new one is noticed otherwise."""


def refuse_if_others_stay(connection: Connection) -> None:
    """Raise Busy where somebody is connected who could write into one, and may not be ended."""
    # Else the transaction goes on seeing who was there when it first looked.
    run_plain(connection, "SELECT pg_stat_clear_snapshot()")
    others = list(connection.execute(text(_STAY)).scalars())
    if others:
        raise Busy(
            f"Other users are connected to the database ({', '.join(others)}), and the console's "
            "user may not end that. They could write into large objects, which no lock prevents.",
            "Stop their programs, then try again; or, as the server's administrator, run: GRANT "
            "pg_signal_backend TO the console's user.",
        )

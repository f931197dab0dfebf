"""Fixes for what goes on in sessions of a PostgreSQL server: stop a statement, end a session.

A session is named by its process number and, after an @, the moment at which it began (seconds
since the epoch): numbers are given out again. Without the moment, any session of that number.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from ops.dialects.postgresql.connect import APPLICATION, connected
from ops.errors import Refused
from ops.fixes.base import Fix, Kind, Obstacle
from ops.progress import Progress

_WAIT_SECONDS: Final = 5
_BETWEEN_LOOKS_SECONDS: Final = 0.1
_NAMED: Final = re.compile(r"(\d{1,9})(?:@(\d{1,12}(?:\.\d{1,6})?))?", re.ASCII)

_SESSION: Final = text("""
SELECT a.pid, coalesce(a.state, '') AS state, a.usename AS role,
       quote_ident(a.usename) AS quoted, quote_ident(current_user) AS me,
       coalesce(nullif(a.application_name, ''), 'a program of user ' || a.usename) AS application,
       a.application_name LIKE :ours AS is_ours,
       CASE WHEN r.rolsuper THEN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
            ELSE pg_has_role(a.usesysid, 'USAGE')
                 OR pg_has_role(current_user, 'pg_signal_backend', 'USAGE') END AS may,
       r.rolsuper AS is_superusers
FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
WHERE a.pid = :pid AND a.datid IS NOT NULL AND a.pid <> pg_backend_pid()
  AND (:began = 0 OR abs(extract(epoch FROM a.backend_start)::float - :began) < 0.001)
""")
"""Who may do what is the server's own rule (pg_signal_backend in its sources)."""


def session_name(pid: int, began: float) -> str:
    """How fixes call a session; `began` is in seconds since the epoch."""
    return f"{pid}@{began:.6f}"


def _find(connection: Connection, subject: str) -> Mapping[str, Any] | None:
    named = _NAMED.fullmatch(subject)
    if named is None:
        return None
    asked = {"pid": int(named[1]), "began": float(named[2] or 0), "ours": f"{APPLICATION}%"}
    row = connection.execute(_SESSION, asked).mappings().one_or_none()
    return None if row is None else dict(row)


def _session(connection: Connection, subject: str) -> Mapping[str, Any]:
    found = _find(connection, subject)
    if found is None:
        raise Refused("This session has ended by itself.", "Look again.")
    return found


def _may(engine: Engine, subject: str) -> Obstacle | None:
    with connected(engine) as connection:
        return _obstacle(_session(connection, subject))


def _may_cancel(engine: Engine, subject: str) -> Obstacle | None:
    with connected(engine) as connection:
        found = _session(connection, subject)
    obstacle = _obstacle(found)
    if obstacle is None and found["state"].startswith("idle"):
        return Obstacle("This session is not working on anything at the moment.", "Look again.")
    return obstacle


def _obstacle(found: Mapping[str, Any]) -> Obstacle | None:
    if found["is_ours"]:
        return Obstacle(
            "This is the console's own work.",
            "Stop it with the button “Stop” where its progress is shown.",
        )
    if found["may"]:
        return None
    if found["is_superusers"]:
        return Obstacle(
            "This session belongs to an administrator of the server, and only an administrator "
            "may end it.",
            "Give whoever runs the server the command that is shown.",
        )
    return Obstacle(
        "The console's database user may not reach into sessions of others.",
        f"As the server's administrator, run: GRANT pg_signal_backend TO {found['me']};",
    )


def _command(function: str) -> Callable[[Engine, str], str]:
    def command(engine: Engine, subject: str) -> str:
        with connected(engine) as connection:
            return f"SELECT {function}({_session(connection, subject)['pid']});"

    return command


def _cancel(engine: Engine, subject: str, progress: Progress) -> str:
    with connected(engine) as connection:
        found = _session(connection, subject)
        _signal(connection, "pg_cancel_backend", found["pid"])

        def has_stopped() -> bool:
            still = _find(connection, subject)
            return still is None or still["state"] != "active"

        if _wait(has_stopped, progress, f"Asking {found['application']} to stop"):
            return f"What {found['application']} was doing has been stopped and taken back."
    return f"{found['application']} was asked to stop, but has not done so yet."


def _end(engine: Engine, subject: str, progress: Progress) -> str:
    with connected(engine) as connection:
        found = _session(connection, subject)
        _signal(connection, "pg_terminate_backend", found["pid"])

        def is_gone() -> bool:
            return _find(connection, subject) is None

        if _wait(is_gone, progress, f"Ending the session of {found['application']}"):
            return f"The session of {found['application']} has ended."
    return f"The session of {found['application']} was told to end, but has not done so yet."


def _signal(connection: Connection, function: str, pid: int) -> None:
    connection.execute(text(f"SELECT {function}(:pid)"), {"pid": pid})


def _wait(is_over: Callable[[], bool], progress: Progress, note: str) -> bool:
    """Whether it came to its end in time."""
    ends = time.monotonic() + _WAIT_SECONDS
    while not is_over():
        if time.monotonic() > ends:
            return False
        progress.report(0, 1, note)
        time.sleep(_BETWEEN_LOOKS_SECONDS)
    return True


FIXES: Final[tuple[Fix[Engine], ...]] = (
    Fix(
        id="postgresql.cancel_query",
        title="Stop this work",
        what="The server is asked to stop what this session is doing. What it had changed and "
        "not yet saved is taken back; its program gets an error and can go on.",
        kind=Kind.ONE_CLICK,
        locks="Nobody has to wait; who waited for it can go on.",
        command=_command("pg_cancel_backend"),
        may=_may_cancel,
        run=_cancel,
        subject="session",
        beside_work=True,
    ),
    Fix(
        id="postgresql.end_session",
        title="End this session",
        what="The server closes the connection of this program. What it had changed and not yet "
        "saved is lost; the program gets an error and has to connect again.",
        kind=Kind.GUIDED,
        locks="Nobody has to wait; who waited for it can go on.",
        command=_command("pg_terminate_backend"),
        may=_may,
        run=_end,
        subject="session",
        beside_work=True,
    ),
)

"""Who is connected to a PostgreSQL server, and who waits for whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.checks.words import duration, many
from ops.dialects.postgresql.connect import APPLICATION

_SEATS: Final = """
SELECT count(*) AS used,
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true)::int, 0) AS seats
FROM pg_stat_activity WHERE datid IS NOT NULL AND usesysid IS NOT NULL
"""
"""These columns are shown to everybody; backend_type is not."""

_ACTIVITY: Final = """
SELECT pid, datname, usename, coalesce(nullif(application_name, ''), 'unnamed') AS application,
       extract(epoch FROM now() - {since})::float AS seconds
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND application_name <> '{ours}' AND {condition}
ORDER BY seconds DESC NULLS LAST LIMIT 20
"""

_IDLE: Final = _ACTIVITY.format(
    since="state_change", ours=APPLICATION, condition="state LIKE 'idle in transaction%'"
)
_LONG: Final = _ACTIVITY.format(
    since="xact_start",
    ours=APPLICATION,
    condition="xact_start IS NOT NULL AND state NOT LIKE 'idle in transaction%' "
    "AND extract(epoch FROM query_start - xact_start) >= {gap}",
)
"""Many steps in one piece of work; a single long request is a question of its own."""
_QUERY: Final = _ACTIVITY.format(
    since="query_start", ours=APPLICATION, condition="state = 'active'"
)

_PREPARED: Final = """
SELECT gid, quote_literal(gid) AS literal, owner, database,
       extract(epoch FROM now() - prepared)::float AS seconds
FROM pg_prepared_xacts ORDER BY prepared LIMIT 10
"""

_BLOCKED: Final = """
SELECT a.pid, a.datname, a.usename, b.pid AS blocker, b.usename AS blocker_user,
       coalesce(nullif(b.application_name, ''), 'unnamed') AS application,
       extract(epoch FROM clock_timestamp() - {since})::float AS seconds
FROM pg_stat_activity a
LEFT JOIN LATERAL (SELECT s.* FROM pg_stat_activity s
                   WHERE s.pid = (pg_blocking_pids(a.pid))[1]) b ON true
LEFT JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
WHERE a.wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(a.pid)) > 0
ORDER BY seconds DESC NULLS LAST LIMIT 50
"""
_SINCE_13: Final = "a.query_start"
_SINCE_14: Final = "coalesce(l.waitstart, a.query_start)"

_MANY_BLOCKED: Final = 3


def must_see_others(context: Context) -> None:
    """Without this right the server shows other sessions without their state, and every
    question about them would be answered with "none"."""
    if not context.facts["sees_others"]:
        raise CannotCheck(
            "the server hides from the console's database user what others do",
            f"As the server's administrator, run: GRANT pg_monitor TO {context.facts['role']};",
        )


def _connections(context: Context, check: Check) -> Reading:
    row = context.ask(_SEATS)[0]
    used, seats = row["used"], max(1, row["seats"])
    percent = 100 * used / seats
    level = check.judge(percent) if used >= check.quiet_below else Level.GOOD
    return Reading(level, {"used": used, "seats": seats}, percent, f"{used} of {seats}")


def _idle(context: Context, check: Check) -> Reading:
    must_see_others(context)
    return _longest(context.ask(_IDLE), check)


def _long(context: Context, check: Check) -> Reading:
    must_see_others(context)
    return _longest(context.ask(_LONG.format(gap=check.quiet_below)), check)


def _query(context: Context, check: Check) -> Reading:
    must_see_others(context)
    return _longest(context.ask(_QUERY), check)


def _prepared(context: Context, check: Check) -> Reading:
    rows = context.ask(_PREPARED)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    seconds = max(0.0, rows[0]["seconds"])
    words = {
        "name": rows[0]["gid"],
        "literal": rows[0]["literal"],
        "time": duration(seconds),
        "database": rows[0]["database"],
    }
    detail = "\n".join(
        f"{row['gid']} of {row['owner']} in {row['database']}: {row['seconds']:.0f} s"
        for row in rows
    )
    names = tuple(row["gid"] for row in rows)
    return Reading(check.judge(seconds), words, seconds, detail, subjects=names)


def _longest(rows: list[Mapping[str, Any]], check: Check) -> Reading:
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    worst = rows[0]
    seconds = max(0.0, worst["seconds"] or 0.0)
    words = {
        "application": _who(worst["application"], worst["usename"]),
        "time": duration(seconds),
        "pid": worst["pid"],
    }
    detail = "\n".join(
        f"pid {row['pid']}, {row['application']}, user {row['usename']}, "
        f"database {row['datname']}: {row['seconds'] or 0:.0f} s"
        for row in rows
    )
    guilty = (str(worst["pid"]),)
    return Reading(check.judge(seconds), words, seconds, detail, subjects=guilty)


def _blocked(context: Context, check: Check) -> Reading:
    must_see_others(context)
    since = _SINCE_14 if context.facts["major"] >= 14 else _SINCE_13
    rows = [
        row
        for row in context.ask(_BLOCKED.format(since=since))
        if (row["seconds"] or 0) >= check.quiet_below
    ]
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    worst = rows[0]
    waiting = len({row["pid"] for row in rows})
    level = check.judge(worst["seconds"])
    if level is Level.GOOD and waiting >= _MANY_BLOCKED:
        level = Level.SOON
    words = {
        "waiting": many(waiting, "session"),
        "wait": "waits" if waiting == 1 else "wait",
        "time": duration(worst["seconds"]),
        "application": _who(worst["application"], worst["blocker_user"]),
        "pid": worst["blocker"],
    }
    detail = "\n".join(
        f"pid {row['pid']} (user {row['usename']}) waits {row['seconds']:.0f} s "
        f"for pid {row['blocker']} (user {row['blocker_user']}, {row['application']})"
        for row in rows
    )
    return Reading(level, words, worst["seconds"], detail, subjects=(str(worst["blocker"]),))


def _who(application: str | None, user: str | None) -> str:
    """A program by its name, or by its database user where it gave none."""
    if application and application != "unnamed":
        return application
    return f"a program of user {user}" if user else "a program"


CHECKS: Final = (
    Check(
        id="postgresql.connections",
        title="Seats for connections",
        measure=_connections,
        finding="{used} of {seats} seats for connections are taken.",
        why="When all are taken, nobody new can use the app.",
        fix="Restart programs that hold more connections than they need, or have the limit "
        "max_connections raised.",
        good="{used} of {seats} seats for connections are taken.",
        unit="% of the seats",
        warning=80,
        critical=90,
        floor="5 connections",
        quiet_below=5,
        source="Prometheus alerts 80, pgEdge 80, check_postgres 90/95",
        opens_after=2,
        closes_at=0.9,
    ),
    Check(
        id="postgresql.idle_in_transaction",
        title="Half-finished changes",
        measure=_idle,
        finding="{application} began a change, and has left it half-finished for {time}.",
        why="What it has touched stays locked, others may wait for it, and clean-up stands still.",
        fix="Restart that program. If that does not help, run: SELECT pg_terminate_backend({pid});",
        good="No program has left a change half-finished.",
        unit="seconds",
        warning=300,
        critical=1800,
        source="pgEdge 300 s, pganalyze 1,800 s",
        remedy=("postgresql.end_session",),
        needs="pg_monitor",
    ),
    Check(
        id="postgresql.long_transaction",
        title="Very long work",
        measure=_long,
        finding="{application} has been at one piece of work for {time}.",
        why="Clean-up cannot remove anything that was deleted since it began, so the database "
        "grows and slows down.",
        fix="If it is not a report or an import that somebody waits for, run: "
        "SELECT pg_cancel_backend({pid});",
        good="No piece of work has been going on for long.",
        unit="seconds",
        warning=1800,
        critical=86400,
        floor="5 minutes before its present step",
        quiet_below=300,
        source="pganalyze 24 h; 30 min own",
        remedy=("postgresql.cancel_query",),
        needs="pg_monitor",
    ),
    Check(
        id="postgresql.long_query",
        title="A long request",
        measure=_query,
        finding="{application} has been waiting for the answer to one request for {time}.",
        why="It keeps the server busy, and clean-up cannot remove anything deleted since.",
        fix="If it is not a report or an import that somebody waits for, run: "
        "SELECT pg_cancel_backend({pid});",
        good="No request has been running for long.",
        unit="seconds",
        warning=1800,
        critical=3600,
        source="pganalyze 1,800/3,600 s",
        remedy=("postgresql.cancel_query",),
        needs="pg_monitor",
    ),
    Check(
        id="postgresql.prepared",
        title="Changes in two steps",
        measure=_prepared,
        finding="The second step of the change {name} has been missing for {time} "
        "(database {database}).",
        why="What it has touched stays locked, even across a restart, and clean-up stands still.",
        fix="If the program that began it does not finish it, run in that database: "
        "ROLLBACK PREPARED {literal};",
        good="No change in two steps is left unfinished.",
        unit="seconds",
        warning=60,
        critical=300,
        source="check_postgres 1/30 s; milder, because programs need seconds (own)",
        remedy=("postgresql.rollback_prepared",),
    ),
    Check(
        id="postgresql.blocked",
        title="Waiting for one another",
        measure=_blocked,
        finding="{waiting} {wait} for {application} to finish, the longest for {time}.",
        why="For the people behind it the app stands still.",
        fix="Finish or restart the program in front. If that does not help, run: "
        "SELECT pg_terminate_backend({pid});",
        good="Nobody waits for anybody.",
        unit="seconds",
        warning=60,
        critical=300,
        floor="5 seconds",
        quiet_below=5,
        source="check_postgres 60/120 s, pganalyze 300 s and 3 blocked",
        remedy=("postgresql.end_session",),
        needs="pg_monitor",
    ),
)

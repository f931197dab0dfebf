"""What a PostgreSQL server has been doing: figures that only count upwards, and its programs."""

from __future__ import annotations

from typing import Final

from sqlalchemy.pool import QueuePool

from ops.checks.base import Check, Context, Level, Reading
from ops.checks.history import WHOSE, Counted, Sample, counted
from ops.checks.postgresql_sessions import must_see_others
from ops.checks.words import GB, duration, many, size
from ops.target import CountingPool, redact

_DAY: Final = 86_400

_DATABASE: Final = """
SELECT datid::bigint AS of, blks_hit AS hit, blks_read AS missed, deadlocks,
       temp_files AS files, temp_bytes AS bytes,
       xact_commit AS kept, xact_rollback AS undone, extract(epoch FROM stats_reset)::float AS began
FROM pg_stat_database WHERE datname = current_database()
"""

_CHECKPOINTS: Final = """
SELECT {timed} AS timed, {requested} AS requested, extract(epoch FROM stats_reset)::float AS began
FROM {view}
"""
_UNTIL_16: Final = {
    "timed": "checkpoints_timed",
    "requested": "checkpoints_req",
    "view": "pg_stat_bgwriter",
}
_SINCE_17: Final = {
    "timed": "num_timed",
    "requested": "num_requested",
    "view": "pg_stat_checkpointer",
}

_STARTED: Final = "SELECT extract(epoch FROM pg_postmaster_start_time())::float AS at"

_STATEMENTS: Final = """
SELECT quote_ident(n.nspname) AS place FROM pg_extension e
JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'
"""
_SLOW: Final = r"""
SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 120) AS query, calls,
       mean_exec_time AS mean, total_exec_time AS total
FROM {place}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND calls >= {calls:.0f} AND mean_exec_time >= {milliseconds:f}
  AND query ~* '^\s*(select|insert|update|delete|merge|with)\M'
ORDER BY total_exec_time DESC LIMIT 5
"""
"""Other commands may hold a password, and stand there as they were typed."""

_LOAD_STATEMENTS: Final = (
    "Whoever runs the server can switch it on: add pg_stat_statements to "
    "shared_preload_libraries, restart the server, then run: CREATE EXTENSION pg_stat_statements;"
)


def _of_database(context: Context, check: Check, *names: str) -> Counted:
    """How much these counters of the database gained."""
    row = context.ask(_DATABASE)[0]
    return counted(context, check.id, {name: row[name] for name in (*names, WHOSE)}, row["began"])


def _cache(context: Context, check: Check) -> Reading:
    found = _of_database(context, check, "hit", "missed")
    total = found.by["hit"] + found.by["missed"]
    missed = 100 * found.by["missed"] / total if total else 0.0
    detail = f"{found.by['hit']:,.0f} hits, {found.by['missed']:,.0f} reads {found.since}"
    words = {"percent": f"{missed:.1f}", "since": found.since}
    if total < check.quiet_below:
        few = "Too little has been read {since} to judge this."
        return Reading(Level.GOOD, words, missed, detail, sentence=few)
    return Reading(found.level(check.judge(missed)), words, missed, detail)


def _deadlocks(context: Context, check: Check) -> Reading:
    found = _of_database(context, check, "deadlocks")
    words = {"times": many(int(found.by["deadlocks"]), "time"), "since": found.since}
    rate = found.per_hour("deadlocks")
    detail = f"{found.by['deadlocks']:,.0f} deadlocks {found.since}"
    return Reading(found.level(check.judge(rate)), words, rate, detail)


def _temporary(context: Context, check: Check) -> Reading:
    found = _of_database(context, check, "bytes", "files")
    rate = found.per_hour("bytes") / GB
    words = {"bytes": size(found.by["bytes"]), "since": found.since}
    detail = (
        f"{found.by['files']:,.0f} temporary files, {found.by['bytes']:,.0f} bytes {found.since}"
    )
    return Reading(found.level(check.judge(rate)), words, rate, detail)


def _undone(context: Context, check: Check) -> Reading:
    """Many programs end mere reading by taking it back, which does no harm: so it is told
    without alarm."""
    found = _of_database(context, check, "kept", "undone")
    total = found.by["kept"] + found.by["undone"]
    percent = 100 * found.by["undone"] / total if total else 0.0
    words = {"percent": f"{percent:.0f}", "since": found.since}
    detail = f"{found.by['undone']:,.0f} of {total:,.0f} transactions rolled back {found.since}"
    high = total >= check.quiet_below and check.judge(percent) is not Level.GOOD
    return Reading(Level.INFO if high else Level.GOOD, words, percent, detail)


def _checkpoints(context: Context, check: Check) -> Reading:
    form = _SINCE_17 if context.facts["major"] >= 17 else _UNTIL_16
    row = context.ask(_CHECKPOINTS.format(**form))[0]
    figures = {"timed": row["timed"], "requested": row["requested"]}
    found = counted(context, check.id, figures, row["began"])
    total = found.by["timed"] + found.by["requested"]
    percent = 100 * found.by["requested"] / total if total else 0.0
    words = {"percent": f"{percent:.0f}", "since": found.since}
    detail = f"{found.by['requested']:,.0f} requested, {found.by['timed']:,.0f} timed {found.since}"
    enough = found.by["requested"] >= check.quiet_below
    level = found.level(check.judge(percent)) if enough else Level.GOOD
    return Reading(level, words, percent, detail)


def _restarted(context: Context, check: Check) -> Reading:
    started = float(context.ask(_STARTED)[0]["at"])
    if context.history is None:
        once = "Whether the server restarts unexpectedly shows once the console has looked twice."
        return Reading(Level.GOOD, sentence=once)
    seen = context.history.samples.get(check.id, [])
    if not seen or abs(seen[-1].taken - started) > 1:
        seen = [*seen, Sample(started, {})]
    # The oldest one was there when the console came, or has had its day.
    seen = [sample for sample in seen[:-1] if started - sample.taken < _DAY] + seen[-1:]
    context.history.samples[check.id] = seen
    times = sum(context.now - sample.taken < _DAY for sample in seen[1:])
    words = {"times": many(times, "time"), "ago": duration(context.now - started)}
    level = check.judge(times)
    if level is Level.GOOD and times:
        level = Level.INFO
    return Reading(level, words, times, f"started {context.now - started:,.0f} s ago")


def _slow_statements(context: Context, check: Check) -> Reading:
    places = context.ask(_STATEMENTS)
    if not places:
        return Reading(
            Level.INFO,
            sentence="Not looked at: this server does not keep account of single statements.",
            fix=_LOAD_STATEMENTS,
            looked_at=False,
            remedy=(),
        )
    must_see_others(context)
    place = places[0]["place"]
    query = _SLOW.format(place=place, calls=check.quiet_below, milliseconds=check.warning or 0)
    rows = context.ask(query)
    if not rows:
        return Reading(Level.GOOD, {}, 0)
    words = {
        "statements": many(len(rows), "kind of statement", "kinds of statements"),
        "take": "takes" if len(rows) == 1 else "take",
        "mean": f"{rows[0]['mean']:,.0f}",
    }
    detail = "\n".join(
        f"{row['total'] / 1000:,.0f} s in {row['calls']:,} calls, {row['mean']:,.0f} ms each: "
        f"{redact(row['query'])}"
        for row in rows
    )
    return Reading(Level.INFO, words, rows[0]["mean"], detail)


def _pool(context: Context, check: Check) -> Reading:
    pool = context.facts["engine"].pool
    if not isinstance(pool, QueuePool):
        return Reading(
            Level.GOOD, sentence="This program opens a connection only when it needs one."
        )
    most = pool.size() + max(0, pool._max_overflow)  # SQLAlchemy tells it nowhere else
    used = pool.checkedout()
    waited = pool.timeouts if isinstance(pool, CountingPool) else 0
    found = counted(context, check.id, {"waited": waited}, None)
    percent = 100 * used / max(1, most)
    words = {"used": used, "most": most, "waited": many(int(found.by["waited"]), "time")}
    detail = f"{used} of {most} connections in use; waited in vain {waited} times"
    if found.by["waited"] and not found.is_total:
        in_vain = "Within the last hour the console waited {waited} for a connection in vain."
        return Reading(Level.SOON, words, percent, detail, sentence=in_vain)
    return Reading(check.judge(percent), words, percent, detail)


CHECKS: Final = (
    Check(
        id="postgresql.deadlocks",
        title="Programs in each other's way",
        measure=_deadlocks,
        finding="{times}, two programs waited for each other and one of them was stopped "
        "({since}).",
        why="Somebody's saving failed and had to be done again.",
        fix="Show this to whoever makes the app: its parts should touch tables in the same order.",
        good="No two programs have stopped each other.",
        unit="an hour",
        warning=1,
        critical=300,
        source="Prometheus alerts 5 a minute; 1 an hour own",
        closes_at=0.5,
    ),
    Check(
        id="postgresql.undone",
        title="Work taken back",
        measure=_undone,
        finding="{percent} % of all pieces of work were taken back {since}.",
        why="Either somebody's saving fails often, or a program ends mere reading this way, which "
        "does no harm.",
        fix="Ask whoever makes the app which of the two it is.",
        good="Little work is taken back.",
        unit="% of all work",
        warning=10,
        floor="1,000 pieces of work",
        quiet_below=1_000,
        source="Prometheus alerts 2 %; told without alarm (own)",
    ),
    Check(
        id="postgresql.cache",
        title="Data in memory",
        measure=_cache,
        finding="{percent} % of what was needed {since} had to be fetched from outside the "
        "database's memory.",
        why="What does not fit in memory is read from the disk, which is slower.",
        fix="Ask whoever runs the server whether shared_buffers could be larger.",
        good="Nearly everything needed is found in memory ({since}).",
        unit="% read",
        warning=1,
        critical=5,
        floor="100,000 blocks",
        quiet_below=100_000,
        source="PgHero 99 %; one level milder for totals since a reset, which are one sample",
        opens_after=3,
        closes_at=0.9,
    ),
    Check(
        id="postgresql.temporary_files",
        title="Work that does not fit in memory",
        measure=_temporary,
        finding="Requests have used {bytes} of the disk as a stand-in for memory {since}.",
        why="Such requests are slow, and may fill the disk.",
        fix="Show this to whoever makes the app; whoever runs the server may raise work_mem.",
        good="Requests fit in memory.",
        unit="GB an hour",
        warning=1,
        critical=10,
        source="own",
        closes_at=0.9,
    ),
    Check(
        id="postgresql.checkpoints",
        title="Saving in a hurry",
        measure=_checkpoints,
        finding="The database had to write everything to its disk before its time in {percent} % "
        "of the cases {since}.",
        why="The app gets slower each time.",
        fix="Ask whoever runs the server to raise max_wal_size.",
        good="The database writes to its disk at its own pace.",
        unit="% of the cases",
        warning=30,
        floor="10 of them",
        quiet_below=10,
        source="own",
        opens_after=3,
        closes_at=0.9,
    ),
    Check(
        id="postgresql.restarted",
        title="Restarts",
        measure=_restarted,
        finding="The database has restarted {times} within a day, the last time {ago} ago.",
        why="Each restart breaks off what people were doing; one that nobody asked for is a sign "
        "of a failing machine or too little memory.",
        fix="If nobody restarted it on purpose, have the server's log looked at.",
        good="The database runs without a break.",
        unit="restarts a day",
        warning=3,
        critical=10,
        source="Prometheus alerts on any; told without alarm below 3 (own)",
    ),
    Check(
        id="postgresql.slow_statements",
        title="Slow statements",
        measure=_slow_statements,
        finding="{statements} {take} most of the time; the first needs {mean} ms each time.",
        why="Making these faster helps the app most.",
        fix="Show the details to whoever makes the app.",
        good="No frequent statement is slow.",
        unit="ms on average",
        warning=50,
        floor="50 calls",
        quiet_below=50,
        source="pganalyze 50 ms and 50 calls; advice, no danger by itself",
        remedy=("postgresql.reset_statements",),
        needs="pg_monitor",
    ),
    Check(
        id="postgresql.pool",
        title="The console's own connections",
        measure=_pool,
        finding="This program uses {used} of its {most} connections to the database.",
        why="When all are in use, its pages wait.",
        fix="Close pages that nobody needs; if it stays so, restart the console.",
        good="This program has connections to spare.",
        unit="% of its connections",
        warning=80,
        source="own",
        opens_after=2,
    ),
)

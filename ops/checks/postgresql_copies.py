"""The disk of a PostgreSQL server, its change logs, and the copies that are fed from them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any, Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.checks.growth import full_in, growth_check
from ops.checks.postgresql_sessions import must_see_others
from ops.checks.words import GB, MB, duration, size

_ALWAYS_ENOUGH: Final = 50 * GB
_NEVER_ENOUGH: Final = GB
_HERE: Final = ("", "localhost", "127.0.0.1", "::1")

_LOGS: Final = """
SELECT (SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_waldir()) AS bytes,
       (SELECT max(setting::bigint) FROM pg_settings
        WHERE name IN ('max_wal_size', 'wal_keep_size')) * 1048576 AS meant
"""

_SLOTS: Final = """
SELECT slot_name AS name, active, coalesce(wal_status, '') AS status,
       coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                                     ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint AS kept
FROM pg_replication_slots WHERE NOT temporary ORDER BY kept DESC LIMIT 10
"""

_FED: Final = """
SELECT coalesce(nullif(application_name, ''), host(client_addr), 'unnamed') AS name,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint AS bytes,
       coalesce(extract(epoch FROM replay_lag), 0)::float AS seconds
FROM pg_stat_replication WHERE state = 'streaming' OR state = 'catchup'
ORDER BY bytes DESC LIMIT 10
"""
_FEEDING: Final = """
SELECT coalesce(extract(epoch FROM now() - pg_last_xact_replay_timestamp()), 0)::float AS seconds,
       coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint
         AS bytes
"""

_ARCHIVER: Final = """
SELECT current_setting('archive_mode') <> 'off' AS is_on, failed_count AS failures,
       last_failed_wal AS file,
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS is_failing,
       extract(epoch FROM now() - coalesce(last_archived_time, stats_reset, last_failed_time)
               )::float AS seconds
FROM pg_stat_archiver
"""


def _disk(context: Context, check: Check) -> Reading:
    folder = str(context.ask("SELECT current_setting('data_directory') AS folder")[0]["folder"])
    host = context.facts["engine"].url.host or ""
    if (host not in _HERE and not host.startswith("/")) or not os.path.isdir(folder):
        return Reading(
            Level.INFO,
            sentence="Not looked at: the database's disk is that of another machine.",
            fix="Have the free room on that machine watched.",
            looked_at=False,
        )
    try:
        disk = shutil.disk_usage(folder)
    except OSError as cause:
        raise CannotCheck("the disk does not tell its free space", "", str(cause)) from cause
    used = 100 * (disk.total - disk.free) / max(1, disk.total)
    level = check.judge(used)
    if level is Level.NOW and disk.free >= _ALWAYS_ENOUGH:
        level = Level.SOON
    if level is Level.SOON and disk.free >= _ALWAYS_ENOUGH:
        level = Level.GOOD
    if disk.free < _NEVER_ENOUGH:
        level = Level.NOW
    words = {"free": size(disk.free), "full": full_in(context, disk.free)}
    return Reading(level, words, used, f"free {disk.free:,} of {disk.total:,} bytes in {folder}")


def _logs(context: Context, check: Check) -> Reading:
    row = context.ask(_LOGS)[0]
    times = row["bytes"] / max(1, row["meant"])
    words = {"bytes": size(row["bytes"]), "meant": size(row["meant"])}
    return Reading(check.judge(times), words, times, f"pg_wal {row['bytes']:,} bytes")


def _slots(context: Context, check: Check) -> Reading:
    rows = context.ask(_SLOTS)
    lost = [row for row in rows if row["status"] in ("unreserved", "lost")]
    idle = [row for row in rows if not row["active"]]
    large = [row for row in rows if row["kept"] > GB]
    detail = "\n".join(
        f"{row['name']}: {'in use' if row['active'] else 'not in use'}, "
        f"{row['status']}, keeps {row['kept']:,} bytes"
        for row in rows
    )
    guilty = lost or idle or large
    if not guilty:
        return Reading(Level.GOOD, {}, 0, detail)
    words = {"name": guilty[0]["name"], "kept": size(max(0, guilty[0]["kept"]))}
    level = Level.NOW if lost else Level.SOON
    name = guilty[0]["name"]
    return Reading(level, words, float(guilty[0]["kept"]), detail, subjects=(name,))


def _standby(context: Context, check: Check) -> Reading:
    must_see_others(context)
    if context.facts["is_standby"]:
        row = context.ask(_FEEDING)[0]
        behind = {"name": "this copy", **(row if row["bytes"] else {"bytes": 0, "seconds": 0.0})}
        return _behind(check, [behind])
    rows = context.ask(_FED)
    if not rows:
        return Reading(Level.GOOD, {}, 0, sentence="No stand-in copy is fed from this server.")
    return _behind(check, rows)


def _behind(check: Check, rows: list[Mapping[str, Any]]) -> Reading:
    """The quiet have nothing to fetch: their seconds go on, so bytes decide with them."""
    worst = max(rows, key=lambda row: (row["seconds"], row["bytes"]))
    level = check.judge(worst["seconds"]) if worst["bytes"] else Level.GOOD
    if worst["bytes"] >= GB:
        level = Level.NOW
    elif worst["bytes"] >= check.quiet_below and level is Level.GOOD:
        level = Level.SOON
    words = {
        "name": worst["name"],
        "time": duration(worst["seconds"]),
        "bytes": size(worst["bytes"]),
    }
    detail = "\n".join(
        f"{row['name']}: {row['bytes']:,} bytes, {row['seconds']:.0f} s behind" for row in rows
    )
    return Reading(level, words, worst["seconds"], detail)


def _archiver(context: Context, check: Check) -> Reading:
    row = context.ask(_ARCHIVER)[0]
    if not row["is_on"]:
        off = "This server does not back up its changes continuously; backups of the console do "
        return Reading(Level.GOOD, {}, 0, sentence=off + "not need that.")
    detail = f"{row['failures']} failures, the last with {row['file']}" if row["failures"] else ""
    if not row["is_failing"]:
        return Reading(Level.GOOD, {}, 0, detail)
    seconds = max(0.0, row["seconds"] or 0.0)
    level = Level.NOW if check.judge(seconds) is Level.NOW else Level.SOON
    return Reading(level, {"time": duration(seconds)}, seconds, detail)


CHECKS: Final = (
    Check(
        id="postgresql.disk",
        title="Free disk",
        measure=_disk,
        finding="The database's disk has only {free} left.{full}",
        why="When it is full, the app cannot save anything.",
        fix="Make room on that disk, or have it enlarged.",
        good="The database's disk has {free} left.",
        unit="% used",
        warning=90,
        critical=95,
        floor="50 GB free",
        source="check_postgres 90/95 %; pganalyze ignores above 50 GB; act now below 1 GB (own)",
        needs="pg_monitor",
        closes_at=0.98,
    ),
    Check(
        id="postgresql.change_logs",
        title="Logs of changes",
        measure=_logs,
        finding="The server's logs of changes have grown to {bytes}; {meant} are meant.",
        why="They are not being cleared, and in the end fill the disk.",
        fix="Look at forgotten copy connections and at the continuous backup: one of them keeps "
        "the server from clearing its logs.",
        good="The server clears its logs of changes in time.",
        unit="times the size that is meant",
        warning=2,
        critical=5,
        source="own, against max_wal_size and wal_keep_size",
        needs="pg_monitor",
        closes_at=0.9,
    ),
    Check(
        id="postgresql.slots",
        title="Forgotten copy connections",
        measure=_slots,
        finding="The copy connection {name} is not keeping up, and keeps {kept} from being "
        "deleted.",
        why="The server keeps every change until the other side has fetched it; in the end that "
        "fills the disk.",
        fix="If nothing fetches from it any more, run: SELECT pg_drop_replication_slot('{name}');",
        good="No copy connection holds anything back.",
        source="PgHero inactive slot; look soon above 1 GB, act now when wal_status is "
        "unreserved or lost (own)",
        remedy=("postgresql.drop_slot",),
    ),
    Check(
        id="postgresql.standby",
        title="Stand-in copies",
        measure=_standby,
        finding="The stand-in copy {name} is {time} and {bytes} of changes behind.",
        why="If the server failed now, those changes would be missing on the stand-in.",
        fix="Have the network between the two machines and the load of the stand-in looked at.",
        good="Every stand-in copy keeps up.",
        unit="seconds",
        warning=30,
        critical=300,
        floor="100 MB of changes",
        quiet_below=100 * MB,
        source="pganalyze 100 MB and 1 GB; 30 s and 5 min own; look soon from 100 MB, act now "
        "from 1 GB",
        needs="pg_monitor",
        opens_after=2,
        closes_at=0.9,
    ),
    Check(
        id="postgresql.archiver",
        title="Continuous backup",
        measure=_archiver,
        finding="The server's continuous backup has been failing for {time}.",
        why="The server keeps what it cannot hand over; in the end that fills its disk, and that "
        "backup has a gap.",
        fix="Have the server's log and the setting archive_command looked at.",
        good="The continuous backup works.",
        unit="seconds",
        critical=900,
        source="barman “archiver errors”; act now after 15 minutes (own)",
    ),
    growth_check("postgresql"),
)

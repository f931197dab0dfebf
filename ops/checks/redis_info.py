"""What is asked about a Redis, all from one INFO: memory, clients, and whether it saves.

What the Redis is for is not known here (cache, sessions, queue), so what is normal for a
cache is told without alarm.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.checks.words import MB, duration, many, size

_OLDEST_SUPPORTED: Final = 7


def _info(context: Context, name: str) -> Any:
    """A field of INFO; services that only resemble Redis leave some out."""
    try:
        return context.facts["info"][name]
    except KeyError:
        raise CannotCheck("this server does not tell", detail=f"INFO has no {name}") from None


def _config(context: Context, name: str) -> str:
    try:
        return str(context.facts["config"][name])
    except KeyError:
        raise CannotCheck(
            "the console may not read the settings of Redis",
            "If the host allows it: ACL SETUSER name +config|get",
            context.facts["config_refusal"],
        ) from None


def count_keys(info: Mapping[str, Any], what: str) -> int:
    """Keys, or keys that expire, in all numbered databases."""
    spaces = (value for name, value in info.items() if name[:2] == "db" and name[2:].isdigit())
    return sum(int(space[what]) for space in spaces)


def _since(context: Context) -> str:
    return f"in the last {duration(_info(context, 'uptime_in_seconds'))}"


def _answers(context: Context, check: Check) -> Reading:
    milliseconds = context.facts["ping_ms"]
    return Reading(check.judge(milliseconds), {"time": f"{milliseconds:.1f}"}, milliseconds, "PING")


def _memory(context: Context, check: Check) -> Reading:
    used, limit = int(_info(context, "used_memory")), int(_info(context, "maxmemory"))
    of_machine = limit == 0
    limit = limit or int(context.facts["info"].get("total_system_memory", 0))
    policy = str(context.facts["info"].get("maxmemory_policy", "unknown"))
    words: dict[str, Any] = {"used": size(used)}
    if not limit:
        no_limit = "Redis uses {used} of memory; how much it may use, this server does not tell."
        return Reading(Level.INFO, words, sentence=no_limit)
    percent = 100 * used / limit
    words |= {"limit": size(limit), "percent": f"{percent:.0f}"}
    detail = f"used_memory {used:,}, limit {limit:,}, maxmemory_policy {policy}"
    level = check.judge(percent) if used >= check.quiet_below else Level.GOOD
    if level is not Level.GOOD and policy.startswith("allkeys") and not of_machine:
        full = "Redis' memory is {percent} % full; to take in new items it drops old ones."
        return Reading(Level.INFO, words, percent, detail, sentence=full)
    return Reading(level, words, percent, detail)


def _last_save(context: Context, check: Check) -> Reading:
    info = context.facts["info"]
    statuses = {"rdb_last_bgsave_status": _info(context, "rdb_last_bgsave_status")}
    if info.get("aof_enabled"):
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status"):
            statuses[name] = info.get(name, "ok")
    detail = ", ".join(f"{name} {status}" for name, status in statuses.items())
    failed = any(status != "ok" for status in statuses.values())
    return Reading(Level.NOW if failed else Level.GOOD, detail=detail)


def _save_age(context: Context, check: Check) -> Reading:
    if not _config(context, "save"):
        return Reading(Level.GOOD, sentence="Redis is not set to save copies by itself.")
    changes = int(_info(context, "rdb_changes_since_last_save"))
    hours = max(0.0, time.time() - int(_info(context, "rdb_last_save_time"))) / 3600
    words = {"age": duration(hours * 3600), "changes": many(changes, "change")}
    level = check.judge(hours) if changes > check.quiet_below else Level.GOOD
    return Reading(level, words, hours, f"rdb_changes_since_last_save {changes:,}")


def _persistence(context: Context, check: Check) -> Reading:
    keys = count_keys(context.facts["info"], "keys")
    if _info(context, "aof_enabled"):
        return Reading(Level.GOOD, detail="appendonly yes")
    schedule = _config(context, "save")
    level = Level.INFO if not schedule and keys > check.quiet_below else Level.GOOD
    sentence = "" if schedule or level is Level.INFO else "Redis saves nothing, and holds nothing."
    words = {"keys": many(keys, "item")}
    return Reading(level, words, keys, f"appendonly no, save {schedule!r}", sentence=sentence)


def _clients(context: Context, check: Check) -> Reading:
    used = int(_info(context, "connected_clients"))
    limit = context.facts["info"].get("maxclients")
    limit = int(limit if limit is not None else _config(context, "maxclients"))
    refused = int(context.facts["info"].get("rejected_connections", 0))
    percent = 100 * used / max(1, limit)
    words = {"used": used, "limit": f"{limit:,}"}
    level = check.judge(percent) if used >= check.quiet_below else Level.GOOD
    detail = f"connected_clients {used}, rejected_connections {refused}"
    if level is Level.GOOD and refused:
        words |= {"refused": many(refused, "program"), "since": _since(context)}
        turned_away = "There are seats now, but {refused} found none {since}."
        return Reading(Level.INFO, words, percent, detail, sentence=turned_away)
    return Reading(level, words, percent, detail)


def _hits(context: Context, check: Check) -> Reading:
    """Totals since the start, and a purpose that is not known: told without alarm."""
    hits, misses = int(_info(context, "keyspace_hits")), int(_info(context, "keyspace_misses"))
    total = hits + misses
    missed = 100 * misses / total if total else 0.0
    words = {"percent": f"{missed:.0f}", "since": _since(context)}
    detail = f"keyspace_hits {hits:,}, keyspace_misses {misses:,}"
    if total < check.quiet_below:
        few = "Too little was looked up {since} to judge this."
        return Reading(Level.GOOD, words, missed, detail, sentence=few)
    level = Level.GOOD if check.judge(missed) is Level.GOOD else Level.INFO
    return Reading(level, words, missed, detail)


def _evictions(context: Context, check: Check) -> Reading:
    evicted = int(_info(context, "evicted_keys"))
    level = Level.INFO if check.judge(evicted) is not Level.GOOD else Level.GOOD
    words = {"items": many(evicted, "item"), "since": _since(context)}
    return Reading(level, words, evicted, f"evicted_keys {evicted:,}")


def _version(context: Context, check: Check) -> Reading:
    version = str(_info(context, "redis_version"))
    behind = _OLDEST_SUPPORTED - int(version.split(".")[0])
    return Reading(check.judge(behind), {"version": version}, behind, f"redis_version {version}")


CHECKS: Final = (
    Check(
        id="redis.answers",
        title="Redis answers",
        measure=_answers,
        finding="Redis takes {time} ms to answer; the app may feel slow.",
        why="What the app keeps in Redis is out of its reach while Redis does not answer.",
        fix="Check that Redis runs, that its machine is not overloaded, and the network.",
        good="Redis answers in {time} ms.",
        unit="ms",
        warning=100,
        source="own",
    ),
    Check(
        id="redis.last_save",
        title="Saving to disk",
        measure=_last_save,
        finding="The last time Redis saved to its disk, it failed.",
        why="After a restart everything since the last good save would be gone, and Redis may "
        "refuse changes until saving works again.",
        fix="Make room on Redis' disk, check the rights on its folder, then run: BGSAVE",
        good="No save to disk has failed.",
        source="rdb_last_bgsave_status, aof_last_write_status",
        remedy=("redis.bgsave",),
    ),
    Check(
        id="redis.memory",
        title="Memory",
        measure=_memory,
        finding="Redis' memory is {percent} % full ({used} of {limit}).",
        why="When it is full, Redis refuses new items or drops items, as it is set to.",
        fix="Find out which program fills it, or have the limit raised: CONFIG SET maxmemory …",
        good="Redis uses {used} of {limit} memory.",
        unit="% of the limit",
        warning=80,
        critical=90,
        floor="5 MB",
        quiet_below=5 * MB,
        source="Prometheus alerts 90; 80 own",
    ),
    Check(
        id="redis.clients",
        title="Seats for clients",
        measure=_clients,
        finding="{used} of {limit} seats for clients are taken.",
        why="When all are taken, Redis turns programs away.",
        fix="Restart programs that hold more connections than they need, or have the limit "
        "maxclients raised.",
        good="{used} of {limit} seats for clients are taken.",
        unit="% of the seats",
        warning=80,
        critical=90,
        floor="5 clients",
        quiet_below=5,
        source="own; refused connections: Prometheus alerts",
    ),
    Check(
        id="redis.save_age",
        title="Newest copy on disk",
        measure=_save_age,
        finding="The newest copy on Redis' disk is {age} old; {changes} came after it.",
        why="After a crash Redis comes back as of that copy.",
        fix="Run: BGSAVE",
        good="Redis' copy on disk is fresh enough.",
        unit="hours",
        warning=24,
        critical=48,
        source="Prometheus alerts 24 h",
        remedy=("redis.bgsave",),
    ),
    Check(
        id="redis.persistence",
        title="Surviving a restart",
        measure=_persistence,
        finding="Redis keeps {keys} in memory only: a restart forgets them.",
        why="For a cache that is as it should be. For a job queue or for main data it is not.",
        fix="If it holds more than a cache, have saving switched on: CONFIG SET appendonly yes",
        good="Redis saves to its disk.",
        unit="items",
        source="information, because the purpose of this Redis is not known (own)",
    ),
    Check(
        id="redis.hits",
        title="Useful look-ups",
        measure=_hits,
        finding="{percent} % of the look-ups found nothing {since}.",
        why="If this Redis is a cache, it hardly helps.",
        fix="Show this to whoever makes the app.",
        good="Most look-ups found something {since}.",
        unit="% found nothing",
        warning=20,
        critical=50,
        floor="10,000 look-ups",
        quiet_below=10_000,
        source="own",
    ),
    Check(
        id="redis.evictions",
        title="Items thrown out",
        measure=_evictions,
        finding="{items} had to go for lack of memory {since}.",
        why="For a cache that is normal. For a job queue or for main data it is a loss.",
        fix="If it holds more than a cache, have its memory raised: CONFIG SET maxmemory …",
        good="Nothing had to go for lack of memory {since}.",
        unit="items",
        warning=1,
        source="information, because the purpose of this Redis is not known (own)",
    ),
    Check(
        id="redis.version",
        title="Version",
        measure=_version,
        finding="Redis {version} is old and gets no more repairs.",
        why="Faults and security holes that are found later stay open.",
        fix="Plan the step to a newer version.",
        good="Redis {version} is new enough.",
        unit="major versions before 7",
        warning=1,
        source="before 7; Redis Insight warns before 6",
    ),
)

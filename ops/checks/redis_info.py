"""What is asked about a Redis, all from one INFO: memory, clients, and whether it saves.

Where nobody has said what the Redis is for, what is normal for a cache is told without alarm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.checks.history import counted
from ops.checks.purpose import Purpose
from ops.checks.words import MB, duration, many, size

_OLDEST_SUPPORTED: Final = 7


def info(context: Context, name: str) -> Any:
    """A field of INFO; services that only resemble Redis leave some out."""
    try:
        return context.facts["info"][name]
    except KeyError:
        raise CannotCheck("this server does not tell", detail=f"INFO has no {name}") from None


def config(context: Context, name: str) -> str:
    """A setting; many hosts keep them to themselves."""
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


def started(context: Context) -> float:
    """When this Redis was started (seconds since the epoch); its counters count from then."""
    return float(context.facts["asked_at"]) - float(info(context, "uptime_in_seconds"))


def _answers(context: Context, check: Check) -> Reading:
    milliseconds = context.facts["ping_ms"]
    return Reading(check.judge(milliseconds), {"time": f"{milliseconds:.1f}"}, milliseconds, "PING")


def _memory(context: Context, check: Check) -> Reading:
    used, limit = int(info(context, "used_memory")), int(info(context, "maxmemory"))
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
    status = info(context, "rdb_last_bgsave_status")
    level = Level.GOOD if status == "ok" else Level.NOW
    return Reading(level, detail=f"rdb_last_bgsave_status {status}")


def _save_age(context: Context, check: Check) -> Reading:
    if not config(context, "save"):
        return Reading(Level.GOOD, sentence="Redis is not set to save copies by itself.")
    changes = int(info(context, "rdb_changes_since_last_save"))
    hours = max(0.0, context.now - int(info(context, "rdb_last_save_time"))) / 3600
    words = {"age": duration(hours * 3600), "changes": many(changes, "change")}
    level = check.judge(hours) if changes > check.quiet_below else Level.GOOD
    return Reading(level, words, hours, f"rdb_changes_since_last_save {changes:,}")


def _persistence(context: Context, check: Check) -> Reading:
    keys = count_keys(context.facts["info"], "keys")
    if info(context, "aof_enabled"):
        return Reading(Level.GOOD, detail="appendonly yes")
    schedule = config(context, "save")
    detail = f"appendonly no, save {schedule!r}"
    words = {"keys": many(keys, "item")}
    if schedule:
        return Reading(Level.GOOD, words, keys, detail)
    if keys <= check.quiet_below:
        nothing = "Redis saves nothing, and holds nothing."
        return Reading(Level.GOOD, words, keys, detail, sentence=nothing)
    purpose = context.facts["purpose"]
    if purpose is not None and not purpose.may_lose:
        level = Level.SOON if purpose is Purpose.SESSIONS else Level.NOW
        words["purpose"] = purpose.in_words
        lost = "A restart of Redis loses all its {keys}, though it is used for: {purpose}."
        return Reading(level, words, keys, detail, sentence=lost)
    return Reading(Level.INFO, words, keys, detail)


def _clients(context: Context, check: Check) -> Reading:
    used = int(info(context, "connected_clients"))
    limit = context.facts["info"].get("maxclients")
    limit = int(limit if limit is not None else config(context, "maxclients"))
    refused = int(context.facts["info"].get("rejected_connections", 0))
    found = counted(context, check.id, {"refused": refused}, started(context))
    percent = 100 * used / max(1, limit)
    words = {"used": used, "limit": f"{limit:,}", "since": found.since}
    level = check.judge(percent) if used >= check.quiet_below else Level.GOOD
    detail = f"connected_clients {used}, rejected_connections {refused}"
    if level is not Level.NOW and found.by["refused"]:
        words["refused"] = many(int(found.by["refused"]), "program")
        away = "There are seats now, but {refused} found none {since}."
        worse = Level.INFO if found.is_total else Level.NOW
        return Reading(worse, words, percent, detail, sentence=away)
    return Reading(level, words, percent, detail)


def _hits(context: Context, check: Check) -> Reading:
    figures = {
        "hits": int(info(context, "keyspace_hits")),
        "misses": int(info(context, "keyspace_misses")),
    }
    found = counted(context, check.id, figures, started(context))
    total = found.by["hits"] + found.by["misses"]
    missed = 100 * found.by["misses"] / total if total else 0.0
    words = {"percent": f"{missed:.0f}", "since": found.since}
    detail = f"keyspace_hits {found.by['hits']:,.0f}, keyspace_misses {found.by['misses']:,.0f}"
    if total < check.quiet_below:
        few = "Too little was looked up {since} to judge this."
        return Reading(Level.GOOD, words, missed, detail, sentence=few)
    purpose, level = context.facts["purpose"], found.level(check.judge(missed))
    if purpose is not Purpose.CACHE and level is not Level.GOOD:
        level = Level.INFO if purpose is None else Level.GOOD
        others = "" if purpose is None else "For what Redis is used for here, this does not matter."
        return Reading(level, words, missed, detail, sentence=others)
    return Reading(level, words, missed, detail)


def _evictions(context: Context, check: Check) -> Reading:
    """A cache is there to drop items; for anything else each one is a loss."""
    figures = {
        "evicted": int(info(context, "evicted_keys")),
        "commands": int(info(context, "total_commands_processed")),
    }
    found = counted(context, check.id, figures, started(context))
    evicted = found.by["evicted"]
    share = 100 * evicted / max(1.0, found.by["commands"])
    words = {"items": many(int(evicted), "item"), "since": found.since}
    detail = f"evicted_keys {evicted:,.0f}, {share:.1f} % of the commands"
    purpose = context.facts["purpose"]
    level = Level.INFO if evicted else Level.GOOD
    if purpose is Purpose.CACHE:
        level = found.level(check.judge(share)) if evicted else Level.GOOD
    elif purpose is not None and evicted:
        level = found.level(Level.NOW)
    return Reading(level, words, share, detail)


def _version(context: Context, check: Check) -> Reading:
    version = str(info(context, "redis_version"))
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
        opens_after=3,
        closes_at=0.9,
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
        source="rdb_last_bgsave_status",
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
        source="own; act now for a queue or main data, look soon for sessions, information for a "
        "cache or where the purpose is not known",
        needs="+config|get",
        remedy=("redis.appendonly",),
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
        why="A cache then helps less. For a job queue or for main data it is a loss.",
        fix="If it holds more than a cache, have its memory raised: CONFIG SET maxmemory …",
        good="Nothing had to go for lack of memory {since}.",
        unit="% of the commands",
        warning=1,
        source="own; of a cache. Act now where Redis is no cache, information where its purpose "
        "is not known",
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

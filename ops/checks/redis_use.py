"""What the memory of a Redis goes to, and what makes the programs that use it wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.checks.history import Sample
from ops.checks.purpose import Purpose
from ops.checks.redis_info import count_keys, info
from ops.checks.words import MB, listed, many, size

_HOUR: Final = 3600

_STOP_EVERYBODY: Final = ("KEYS", "FLUSHALL", "FLUSHDB")

_GAUGES_KEPT: Final = 12

_GAUGE_EVERY_SECONDS: Final = 600


def _asked(context: Context, name: str, rights: str) -> Any:
    """What was asked besides INFO, or why it was refused."""
    try:
        return context.facts["asked"][name]
    except KeyError:
        raise CannotCheck(
            "the console's user of Redis may not look at this",
            f"As the administrator of Redis, run: ACL SETUSER name {rights}",
            context.facts["refusals"].get(name, ""),
        ) from None


def _no_limit(context: Context, check: Check) -> Reading:
    used = int(info(context, "used_memory"))
    unlimited = int(info(context, "maxmemory")) == 0
    level = Level.INFO if unlimited and used >= check.quiet_below else Level.GOOD
    return Reading(level, {"used": size(used)}, used, f"maxmemory {info(context, 'maxmemory')}")


def _fragmentation(context: Context, check: Check) -> Reading:
    used, ratio = int(info(context, "used_memory")), float(info(context, "mem_fragmentation_ratio"))
    wasted = int(info(context, "mem_fragmentation_bytes"))
    words = {"wasted": size(max(0, wasted)), "ratio": f"{ratio:.1f}"}
    detail = f"mem_fragmentation_ratio {ratio}, {wasted:,} bytes"
    if used < check.quiet_below or (wasted < check.quiet_below and ratio >= 1):
        return Reading(Level.GOOD, words, ratio, detail)
    if ratio < 0.9:
        return Reading(
            Level.NOW,
            words,
            ratio,
            detail,
            sentence="Part of Redis' memory has been moved to the disk by the machine.",
            fix="Give the machine more memory, or let Redis use less: CONFIG SET maxmemory …",
            remedy=(),
        )
    return Reading(check.judge(ratio), words, ratio, detail)


def _blocked(context: Context, check: Check) -> Reading:
    """Waiting is what the workers of a queue do, so it is compared with the usual."""
    waiting = int(info(context, "blocked_clients"))
    words = {"waiting": many(waiting, "program")}
    if context.history is None:
        return Reading(Level.GOOD, words, waiting)
    kept = context.history.samples.get(check.id, [])
    usual = sum(one.figures["waiting"] for one in kept) / len(kept) if kept else float(waiting)
    if not kept or context.now - kept[-1].taken >= _GAUGE_EVERY_SECONDS:
        kept = [*kept, Sample(context.now, {"waiting": waiting})][-_GAUGES_KEPT:]
        context.history.samples[check.id] = kept
    times = waiting / max(1.0, usual)
    level = check.judge(times) if waiting >= check.quiet_below else Level.GOOD
    words["usual"] = f"{usual:.0f}"
    return Reading(level, words, times, f"blocked_clients {waiting}, usually {usual:.1f}")


def _slow_commands(context: Context, check: Check) -> Reading:
    entries = _asked(context, "slowlog", "+slowlog|get")
    recent = [one for one in entries if context.now - one["start_time"] <= _HOUR]
    names = sorted({one["command"] for one in recent})
    stops = [name for name in names if name in _STOP_EVERYBODY]
    words = {
        "commands": many(len(recent), "slow command"),
        "names": listed(stops or names),
        "longest": f"{max((one['duration'] for one in recent), default=0) / 1000:,.0f}",
    }
    detail = "\n".join(f"{one['command']}: {one['duration'] / 1000:,.1f} ms" for one in recent[:20])
    level = check.judge(len(recent))
    if stops and level is Level.GOOD:
        level = Level.SOON
    return Reading(level, words, len(recent), detail)


def _fork(context: Context, check: Check) -> Reading:
    milliseconds = int(info(context, "latest_fork_usec")) / 1000
    words = {"time": f"{milliseconds:,.0f}"}
    return Reading(check.judge(milliseconds), words, milliseconds, "latest_fork_usec")


def _no_expiry(context: Context, check: Check) -> Reading:
    if context.facts["purpose"] is not Purpose.CACHE:
        return Reading(Level.GOOD, sentence="Only asked of a cache.")
    keys, expiring = (count_keys(context.facts["info"], what) for what in ("keys", "expires"))
    limit = int(info(context, "maxmemory")) or int(info(context, "total_system_memory"))
    full = 100 * int(info(context, "used_memory")) / max(1, limit)
    percent = 100 * (keys - expiring) / max(1, keys)
    words = {"percent": f"{percent:.0f}", "full": f"{full:.0f}"}
    policy = str(context.facts["info"].get("maxmemory_policy", ""))
    quiet = full < check.quiet_below or policy.startswith("allkeys")
    level = Level.GOOD if quiet else check.judge(percent)
    return Reading(level, words, percent, f"{keys - expiring:,} of {keys:,} keys never expire")


def _big_keys(context: Context, check: Check) -> Reading:
    sample: Mapping[str, int] = _asked(context, "sample", "+scan +memory|usage ~*")
    big = {name: bytes_ for name, bytes_ in sample.items() if bytes_ >= check.quiet_below}
    words: dict[str, Any] = {"looked": f"{len(sample):,}", "items": many(len(big), "item")}
    if not big:
        return Reading(Level.GOOD, words, 0)
    words |= {"have": "is" if len(big) == 1 else "are", "largest": size(max(big.values()))}
    ranked = sorted(big.items(), key=lambda item: -item[1])[:10]
    detail = "\n".join(f"{name[:80]}: {bytes_:,} bytes" for name, bytes_ in ranked)
    return Reading(Level.INFO, words, len(big), detail)


CHECKS: Final = (
    Check(
        id="redis.fragmentation",
        title="Holes in memory",
        measure=_fragmentation,
        finding="Redis takes {ratio} times the memory that it needs; {wasted} are holes.",
        why="The machine has less memory for everything else.",
        fix="Run: MEMORY PURGE (harmless); if it comes back, a restart at a quiet time helps.",
        good="Redis takes little more memory than it needs.",
        unit="times the memory needed",
        warning=1.5,
        critical=2,
        floor="100 MB of holes",
        quiet_below=100 * MB,
        source="Redis' manual on memory; floor because an empty Redis shows 7 and more",
        remedy=("redis.memory_purge",),
        opens_after=2,
        closes_at=0.9,
    ),
    Check(
        id="redis.slow_commands",
        title="Slow commands",
        measure=_slow_commands,
        finding="{commands} within the last hour ({names}), the longest of {longest} ms.",
        why="Redis does one thing at a time: while it is busy with one command, all others wait.",
        fix="Show this to whoever makes the app.",
        good="No command held up the others for long.",
        unit="an hour",
        warning=10,
        critical=100,
        source="own; look soon at any KEYS, FLUSHALL or FLUSHDB",
        needs="+slowlog|get",
        remedy=("redis.slowlog_reset",),
    ),
    Check(
        id="redis.fork",
        title="Pause when saving",
        measure=_fork,
        finding="When Redis begins to save to its disk, everybody waits for {time} ms.",
        why="For the people who use the app it stands still for that long.",
        fix="Ask whoever runs the machine to switch off “transparent huge pages”, or to give "
        "Redis a less busy machine.",
        good="Saving to disk holds up nobody.",
        unit="ms",
        warning=200,
        critical=1000,
        source="Redis' manual on latency; own figures",
    ),
    Check(
        id="redis.blocked",
        title="Programs that wait",
        measure=_blocked,
        finding="{waiting} wait for something to arrive in Redis; usually it is {usual}.",
        why="Those who should bring the work may have stopped.",
        fix="Look whether all programs of the app are running.",
        good="No more programs wait than usual.",
        unit="times the usual",
        warning=2,
        floor="10 programs",
        quiet_below=10,
        source="own",
        opens_after=2,
    ),
    Check(
        id="redis.no_expiry",
        title="Items that never expire",
        measure=_no_expiry,
        finding="{percent} % of the items of this cache never expire, and its memory is {full} % "
        "full.",
        why="Memory only ever grows.",
        fix="Show this to whoever makes the app: items of a cache should expire.",
        good="The cache empties itself.",
        unit="% of the items",
        warning=50,
        floor="70 % of memory in use",
        quiet_below=70,
        source="own",
    ),
    Check(
        id="redis.no_limit",
        title="Limit of memory",
        measure=_no_limit,
        finding="Redis has no limit of its own and uses {used}; it may take all memory of its "
        "machine.",
        why="When a machine runs out of memory it stops programs, as likely the database as Redis.",
        fix="Set a limit in Redis' settings, such as: CONFIG SET maxmemory 1gb",
        good="Redis has a limit of memory, or needs little.",
        unit="bytes",
        floor="64 MB in use",
        quiet_below=64 * MB,
        source="Redis' manual on maxmemory; advice",
    ),
    Check(
        id="redis.big_keys",
        title="Very large items",
        measure=_big_keys,
        finding="Of {looked} items looked at, {items} {have} very large (up to {largest}).",
        why="Fetching or deleting one holds up everybody else.",
        fix="Show this to whoever makes the app.",
        good="None of {looked} items looked at is very large.",
        unit="items",
        floor="1 MB an item",
        quiet_below=MB,
        source="Redis Insight 1 MB; of a sample; advice",
        needs="+scan +memory|usage ~*",
    ),
)

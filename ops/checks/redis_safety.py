"""Whether what a Redis holds is safe: what it drops or refuses, its copies, and who is let in."""

from __future__ import annotations

import ipaddress
from typing import Final

from ops.checks.base import Check, Context, Level, Reading
from ops.checks.history import Sample, counted
from ops.checks.purpose import Purpose
from ops.checks.redis_info import config, info, started
from ops.checks.words import duration, many

_REFUSALS: Final = ("OOM", "READONLY", "MISCONF")


def _policy(context: Context, check: Check) -> Reading:
    policy, purpose = str(info(context, "maxmemory_policy")), context.facts["purpose"]
    drops = policy.startswith("allkeys")
    words = {"policy": policy, "purpose": purpose.in_words if purpose else ""}
    detail = f"maxmemory {info(context, 'maxmemory')}, maxmemory-policy {policy}"
    if purpose is None or int(info(context, "maxmemory")) == 0:
        told = "Redis has no limit of its own, so nothing is dropped or refused."
        unknown = "Whether this fits depends on what Redis is for, which nobody has said yet."
        return Reading(Level.GOOD, words, detail=detail, sentence=unknown if not purpose else told)
    if purpose.may_lose and policy == "noeviction":
        return Reading(
            Level.SOON,
            words,
            detail=detail,
            sentence="When memory is full, this cache refuses new items instead of dropping old "
            "ones.",
            fix="Let it drop what was used least: CONFIG SET maxmemory-policy allkeys-lru",
            subjects=("allkeys-lru",),
        )
    if drops and not purpose.may_lose:
        level = Level.SOON if purpose is Purpose.SESSIONS else Level.NOW
        return Reading(level, words, detail=detail, subjects=("noeviction",))
    return Reading(Level.GOOD, words, detail=detail)


def _append_file(context: Context, check: Check) -> Reading:
    if not info(context, "aof_enabled"):
        return Reading(Level.GOOD, sentence="Redis does not note down each change.")
    written = str(info(context, "aof_last_write_status"))
    rewritten = str(info(context, "aof_last_bgrewrite_status"))
    detail = f"aof_last_write_status {written}, aof_last_bgrewrite_status {rewritten}"
    if written != "ok":
        return Reading(Level.NOW, detail=detail)
    if rewritten == "ok":
        return Reading(Level.GOOD, detail=detail)
    grows = "Redis could not tidy up its notes of changes; they go on growing."
    return Reading(Level.SOON, detail=detail, sentence=grows)


def _replication(context: Context, check: Check) -> Reading:
    if info(context, "role") == "slave":
        if info(context, "master_link_status") == "up":
            return Reading(Level.GOOD)
        seconds = max(0, int(context.facts["info"].get("master_link_down_since_seconds", 0)))
        return Reading(check.judge(seconds), {"time": duration(seconds)}, seconds)
    fed = int(info(context, "connected_slaves"))
    before = context.history.last(check.id) if context.history else None
    if context.history is not None and (before is None or fed > before.figures["fed"]):
        context.history.samples[check.id] = [Sample(context.now, {"fed": fed})]
    if before is not None and fed < before.figures["fed"]:
        words = {"gone": many(int(before.figures["fed"]) - fed, "stand-in copy", "stand-in copies")}
        away = "{gone} of this Redis no longer fetch its changes."
        return Reading(Level.SOON, words, fed, f"connected_slaves {fed}", sentence=away)
    none = "" if fed else "No stand-in copy is fed from this Redis."
    return Reading(Level.GOOD, {}, fed, f"connected_slaves {fed}", sentence=none)


def _open_door(context: Context, check: Check) -> Reading:
    if not context.facts["lets_in_anybody"]:
        return Reading(Level.GOOD)
    bound = config(context, "bind").split()
    guarded = config(context, "protected-mode") == "yes"
    detail = f"bind {' '.join(bound) or '*'}, protected-mode {'yes' if guarded else 'no'}"
    if guarded or (bound and all(_is_loopback(address) for address in bound)):
        within = "Redis asks for no password, but lets in programs of its own machine only."
        return Reading(Level.INFO, detail=detail, sentence=within)
    return Reading(Level.NOW, detail=detail)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.lstrip("-")).is_loopback
    except ValueError:
        return address.lstrip("-") == "localhost"


def _errors(context: Context, check: Check) -> Reading:
    told = context.facts["info"]
    refusals = sum(int(told.get(f"errorstat_{name}", {}).get("count", 0)) for name in _REFUSALS)
    figures = {
        "errors": int(info(context, "total_error_replies")),
        "commands": int(info(context, "total_commands_processed")),
        "refusals": refusals,
    }
    found = counted(context, check.id, figures, started(context))
    # An unknown command counts as an error and not as a command.
    percent = 100 * found.by["errors"] / max(1.0, found.by["commands"], found.by["errors"])
    words = {
        "errors": many(int(found.by["errors"]), "command"),
        "percent": f"{percent:.1f}",
        "since": found.since,
        "refused": many(int(found.by["refusals"]), "change"),
    }
    detail = f"{found.by['errors']:,.0f} errors in {found.by['commands']:,.0f} commands"
    if found.by["refusals"]:
        return Reading(
            found.level(Level.NOW),
            words,
            percent,
            detail,
            sentence="Redis has refused to save {refused} {since}.",
            fix="Look at its memory and at its saving to disk: one of them is the reason.",
        )
    enough = found.by["commands"] >= check.quiet_below
    level = found.level(check.judge(percent)) if enough else Level.GOOD
    return Reading(level, words, percent, detail)


CHECKS: Final = (
    Check(
        id="redis.policy",
        title="What happens when memory is full",
        measure=_policy,
        finding="When memory is full, Redis drops items, though it is used for: {purpose}.",
        why="What is dropped is gone, and nobody is told.",
        fix="Let it refuse new items instead, and raise its memory: "
        "CONFIG SET maxmemory-policy noeviction",
        good="What happens when memory is full ({policy}) fits what Redis is for.",
        source="Redis' manual on eviction; the mapping is our own",
        remedy=("redis.policy",),
    ),
    Check(
        id="redis.open_door",
        title="Who is let in",
        measure=_open_door,
        finding="Redis lets in anybody from other machines, without a password.",
        why="Whoever reaches its address can read, change and delete everything, and often take "
        "over the machine.",
        fix="Set a password (requirepass) in Redis' settings and in the app, and let it listen "
        "to this machine only (bind 127.0.0.1).",
        good="Nobody gets in without a password.",
        source="Redis' manual on security",
        needs="+config|get",
    ),
    Check(
        id="redis.append_file",
        title="Notes of changes",
        measure=_append_file,
        finding="Redis could not write its changes to the disk.",
        why="After a restart they would be gone, and Redis may refuse changes until it works.",
        fix="Make room on Redis' disk and check the rights on its folder.",
        good="Redis notes down each change.",
        source="aof_last_write_status, aof_last_bgrewrite_status",
    ),
    Check(
        id="redis.errors",
        title="Commands that failed",
        measure=_errors,
        finding="{errors} ({percent} %) ended with an error {since}.",
        why="The app is being refused something that it needs.",
        fix="Show this to whoever makes the app.",
        good="Hardly a command fails.",
        unit="% of the commands",
        warning=1,
        floor="10,000 commands",
        quiet_below=10_000,
        source="own; act now where Redis refuses changes (OOM, READONLY, MISCONF)",
        closes_at=0.9,
    ),
    Check(
        id="redis.replication",
        title="Stand-in copies",
        measure=_replication,
        finding="This stand-in copy lost touch with its main Redis {time} ago.",
        why="It answers with old data, and could not take over without a loss.",
        fix="Look whether the main Redis runs, and at the network between the two.",
        good="The stand-in copies are in touch.",
        unit="seconds",
        warning=30,
        critical=300,
        source="Prometheus alerts; 30 s and 5 min own",
        opens_after=2,
    ),
)

"""Fixes for a Redis. What is allowed is asked of Redis itself (ACL DRYRUN) just before.

The driver is loaded when it is needed: whoever only asks for the list of fixes does without.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ops.checks.words import size
from ops.errors import OpsError, Refused
from ops.fixes.base import Fix, Kind, Obstacle
from ops.progress import Progress
from ops.target import redact

if TYPE_CHECKING:
    from redis import Redis

_SAVE_SECONDS: Final = 3600
_BETWEEN_LOOKS_SECONDS: Final = 0.1

POLICIES: Final = (
    *("noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random"),
    *("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"),
)


def _may(*needed: str) -> Callable[[Redis, str], Obstacle | None]:
    """Whether the user may call the `needed` commands, written as in ACLs: CONFIG|SET."""

    def may(client: Redis, _subject: str) -> Obstacle | None:
        missing = [command for command in needed if not _is_allowed(client, command)]
        if not missing:
            return None
        return _not_allowed(client, missing)

    return may


def _not_allowed(client: Redis, commands: list[str]) -> Obstacle:
    rights = " ".join(f"+{command.lower()}" for command in commands)
    return Obstacle(
        "The console's Redis user may not do this.",
        f"As the administrator of Redis, run: ACL SETUSER {_user(client)} {rights}",
    )


def _is_allowed(client: Redis, command: str) -> bool:
    """ACL DRYRUN is there since 7.0, and is itself a right; where it cannot be asked, the
    command's own answer tells."""
    from redis.exceptions import ResponseError

    arguments = [*command.split("|"), *(("x", "y") if command == "CONFIG|SET" else ())]
    try:
        answer: Any = _ask(client, "ACL", "DRYRUN", _user(client), *arguments)
    except ResponseError:
        return True
    return answer in (True, "OK")


def _ask(client: Redis, *command: str) -> Any:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def _user(client: Redis) -> str:
    from redis.exceptions import ResponseError

    try:
        return str(client.acl_whoami())
    except ResponseError:
        return str(client.connection_pool.connection_kwargs.get("username") or "default")


def _command(text: str) -> Callable[[Redis, str], str]:
    return lambda _client, _subject: text


def _save(client: Redis, _subject: str, progress: Progress) -> str:
    """Raises OpsError where the save failed, Cancelled where a person no longer waits for it."""
    progress.report(0, 1, "Redis saves to its disk")
    if not _info(client)["rdb_bgsave_in_progress"]:
        _call(client, "BGSAVE")
    ends = time.monotonic() + _SAVE_SECONDS
    while _info(client)["rdb_bgsave_in_progress"]:
        if time.monotonic() > ends:
            raise OpsError("Redis still saves after an hour.", "Look again later.")
        progress.report(0, 1, "Redis saves to its disk")
        time.sleep(_BETWEEN_LOOKS_SECONDS)
    if _info(client)["rdb_last_bgsave_status"] != "ok":
        raise OpsError(
            "Redis could not save to its disk; the copy that it had there is kept.",
            "Make room on Redis' disk and check the rights on its folder, then try again.",
        )
    return "Redis has a fresh copy on its disk."


def _info(client: Redis) -> dict[str, Any]:
    info: Any = client.info("persistence")
    return dict(info)


def _purge(client: Redis, _subject: str, progress: Progress) -> str:
    progress.report(0, 1, "Redis gives memory back")
    before: Any = client.info("memory")
    _call(client, "MEMORY", "PURGE")
    after: Any = client.info("memory")
    given = max(0, int(before["used_memory_rss"]) - int(after["used_memory_rss"]))
    return f"Redis gave back {size(given)} of memory."


def _forget_slow(client: Redis, _subject: str, progress: Progress) -> str:
    progress.report(0, 1, "Emptying the list")
    _call(client, "SLOWLOG", "RESET")
    return "The list of slow commands is empty and fills anew."


def _policy_command(_client: Redis, subject: str) -> str:
    if subject not in POLICIES:
        raise Refused(f"Redis has no policy {subject!r}.", f"It has: {', '.join(POLICIES)}.")
    return f"CONFIG SET maxmemory-policy {subject}"


def _set_policy(client: Redis, subject: str, progress: Progress) -> str:
    _policy_command(client, subject)
    progress.report(0, 1, "Setting")
    _call(client, "CONFIG", "SET", "maxmemory-policy", subject)
    return f"When its memory is full, Redis goes by {subject}.{_written_down(client)}"


def _append(client: Redis, _subject: str, progress: Progress) -> str:
    progress.report(0, 1, "Setting")
    _call(client, "CONFIG", "SET", "appendonly", "yes")
    return f"Redis writes every change to its disk.{_written_down(client)}"


def _written_down(client: Redis) -> str:
    """Have the setting survive a restart, where Redis has a settings file that it may write."""
    from redis.exceptions import ResponseError

    try:
        client.config_rewrite()
    except ResponseError:
        return (
            " It holds until Redis restarts: its settings file could not be changed, so have it "
            "set there too."
        )
    return " It is written into Redis' settings file, so it survives a restart."


def _call(client: Redis, *command: str) -> None:
    from redis.exceptions import NoPermissionError, ResponseError

    try:
        _ask(client, *command)
    except NoPermissionError as cause:
        refused = _not_allowed(client, ["|".join(command[:2])])
        raise Refused(refused.reason, refused.hint, redact(str(cause))) from cause
    except ResponseError as cause:
        raise OpsError(
            "Redis refused to do it. Nothing was changed.",
            "The details say why.",
            redact(str(cause)),
        ) from cause


FIXES: Final[tuple[Fix[Redis], ...]] = (
    Fix(
        id="redis.bgsave",
        title="Save a copy now",
        what="Redis writes a fresh copy of all that it holds to its disk, beside its work.",
        kind=Kind.ONE_CLICK,
        locks="Redis stands still for a moment when it begins, mostly far less than a second.",
        command=_command("BGSAVE"),
        may=_may("BGSAVE"),
        run=_save,
        beside_work=True,
    ),
    Fix(
        id="redis.memory_purge",
        title="Give memory back",
        what="Redis hands memory that it holds but does not use back to the machine.",
        kind=Kind.ONE_CLICK,
        locks="Redis stands still for a moment, mostly far less than a second.",
        command=_command("MEMORY PURGE"),
        may=_may("MEMORY|PURGE"),
        run=_purge,
        beside_work=True,
    ),
    Fix(
        id="redis.slowlog_reset",
        title="Empty the list of slow commands",
        what="The list is emptied, so that only new slow commands show. Nothing else is changed.",
        kind=Kind.ONE_CLICK,
        locks="Nobody has to wait.",
        command=_command("SLOWLOG RESET"),
        may=_may("SLOWLOG|RESET"),
        run=_forget_slow,
        beside_work=True,
    ),
    Fix(
        id="redis.policy",
        title="Change what happens when memory is full",
        what="With noeviction Redis refuses new items; with the others it drops old ones.",
        kind=Kind.GUIDED,
        locks="Nobody has to wait. If memory is full already, it acts at once.",
        command=_policy_command,
        may=_may("CONFIG|SET"),
        run=_set_policy,
        subject="policy",
        beside_work=True,
    ),
    Fix(
        id="redis.appendonly",
        title="Switch on saving",
        what="Redis writes every change to its disk, so that a restart loses at most a second. "
        "It needs room on the disk for about twice what it holds.",
        kind=Kind.GUIDED,
        locks="Redis stands still for a moment when it begins, and gets a little slower.",
        command=_command("CONFIG SET appendonly yes"),
        may=_may("CONFIG|SET"),
        run=_append,
        beside_work=True,
    ),
)

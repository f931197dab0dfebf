"""Looking into a Redis to ask about its health.

The driver is loaded when it is needed: it would be a quarter of all that `ops` loads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ops.checks.base import CannotCheck, Check, Context
from ops.checks.purpose import Purpose
from ops.checks.redis_info import CHECKS as INFO
from ops.checks.redis_info import count_keys
from ops.checks.redis_safety import CHECKS as SAFETY
from ops.checks.redis_use import CHECKS as USE
from ops.errors import Busy, OpsError, SettingsError, Unavailable
from ops.target import redact

if TYPE_CHECKING:
    from redis import Redis

_SECONDS: Final = 2
_SLOWLOG_READ: Final = 128
_KEYS_SAMPLED: Final = 200

CHECKS: Final[tuple[Check, ...]] = (*INFO, *SAFETY, *USE)


@contextmanager
def connected(url: str, *, seconds: float, **options: Any) -> Iterator[Redis]:
    """A connection to the Redis at `url` that waits so long for an answer; `options` are the
    driver's.

    Raises:
        Unavailable: no answer, or not let in.
        Busy: it is starting and still loads its data.
        SettingsError: `url` is not the address of a Redis.
    """
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        client = Redis.from_url(
            url,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            decode_responses=True,
            encoding_errors="replace",  # names of keys are bytes
            **options,
        )
    except ValueError:  # its words tell a part of the address
        raise SettingsError(
            "REDIS_URL is not the address of a Redis.",
            "Write it like redis://:password@host:6379/0",
        ) from None
    try:
        with client:
            yield client
    except (RedisError, OSError) as cause:
        raise _in_words(cause) from cause


@contextmanager
def open_context(url: str, purpose: Purpose | None = None) -> Iterator[Context]:
    """Ask one INFO of the Redis at `url`; every check looks at that answer. `purpose` is what
    it is for. Raises what `connected` does."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with connected(url, seconds=_SECONDS, retry=Retry(NoBackoff(), 0)) as client:
        facts = _look(client)
    facts["purpose"] = purpose
    yield Context(_no_questions, facts, str(facts["info"].get("redis_version", "")))


def _look(client: Redis) -> dict[str, Any]:
    from redis.exceptions import ResponseError

    client.ping()  # connecting and logging in are not part of the measure
    began = time.perf_counter()
    client.ping()
    milliseconds = 1000 * (time.perf_counter() - began)
    info: Any = client.info()
    config: Any = {}
    refusal = ""
    try:
        for name in ("save", "maxclients", "bind", "protected-mode"):
            config |= client.config_get(name)
    except ResponseError as cause:  # many hosts keep CONFIG to themselves
        refusal = redact(str(cause))
    asked: dict[str, Any] = {}
    refusals: dict[str, str] = {}
    for name, question in (("slowlog", _slowlog), ("sample", _sample)):
        try:
            asked[name] = question(client)
        except ResponseError as cause:
            refusals[name] = redact(str(cause))
    return {
        "info": info,
        "asked_at": time.time(),
        "config": config,
        "config_refusal": refusal,
        "asked": asked,
        "refusals": refusals,
        "lets_in_anybody": _lets_in_anybody(client),
        "ping_ms": milliseconds,
    }


def _slowlog(client: Redis) -> list[dict[str, Any]]:
    """The newest slow commands, without what they were about."""
    told: Any = client.slowlog_get(_SLOWLOG_READ)
    return [
        {
            "start_time": one["start_time"],
            "duration": one["duration"],
            "command": _text(one["command"]).split(" ")[0].upper(),
        }
        for one in told
    ]


def _sample(client: Redis) -> dict[str, int]:
    """Some keys and the bytes that each takes, in two trips."""
    _, names = client.scan(count=_KEYS_SAMPLED)
    asking = client.pipeline(transaction=False)
    for name in names[:_KEYS_SAMPLED]:
        asking.memory_usage(name, samples=5)
    return {
        _text(name): int(used or 0) for name, used in zip(names, asking.execute(), strict=False)
    }


def _lets_in_anybody(client: Redis) -> bool:
    """Whether it answers somebody who does not give a password."""
    from redis import ConnectionPool, Redis
    from redis.exceptions import RedisError

    options = client.connection_pool.connection_kwargs
    login = ("username", "password")
    stranger = {name: value for name, value in options.items() if name not in login}
    try:
        with Redis(
            connection_pool=ConnectionPool(
                connection_class=client.connection_pool.connection_class, **stranger
            )
        ) as other:
            return bool(other.ping())
    except (RedisError, OSError):
        return False


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _in_words(cause: Exception) -> OpsError:
    from redis.exceptions import (
        AuthenticationError,
        AuthorizationError,
        BusyLoadingError,
        ResponseError,
    )

    detail = redact(f"{type(cause).__name__}: {cause}")
    if isinstance(cause, BusyLoadingError):
        return Busy("Redis is starting and still loads its data.", "Wait a moment.", detail)
    if isinstance(cause, (AuthenticationError, AuthorizationError)) or "NOAUTH" in str(cause):
        return Unavailable(
            "Redis does not accept the console's password.", "Check REDIS_URL.", detail
        )
    if isinstance(cause, ResponseError):
        return Unavailable(
            "Redis does not let the console look at it.",
            "Give the console's user the commands PING, INFO and CONFIG GET, for example: "
            "ACL SETUSER name +ping +info +config|get",
            detail,
        )
    return Unavailable(
        "Redis does not answer.",
        "Check that it runs, and that REDIS_URL is right.",
        detail,
    )


def _no_questions(query: str) -> list[Mapping[str, Any]]:
    raise CannotCheck("Redis has no queries", detail=query)


def details(context: Context) -> dict[str, Any]:
    """Figures for a report: bytes, counts, seconds; None where the server does not tell."""
    info = context.facts["info"]
    figures: dict[str, Any] = {
        name: info.get(name)
        for name in (
            "redis_version",
            "uptime_in_seconds",
            "role",
            "used_memory",
            "used_memory_peak",
            "maxmemory",
            "maxmemory_policy",
            "connected_clients",
            "rejected_connections",
            "instantaneous_ops_per_sec",
            "evicted_keys",
            "aof_enabled",
            "rdb_last_save_time",
            "rdb_last_bgsave_status",
        )
    }
    hits, misses = info.get("keyspace_hits", 0), info.get("keyspace_misses", 0)
    figures["keys"] = count_keys(info, "keys")
    figures["keys_with_expiry"] = count_keys(info, "expires")
    figures["hit_rate"] = hits / (hits + misses) if hits + misses else None
    figures["save"] = context.facts["config"].get("save")
    figures["ping_ms"] = round(context.facts["ping_ms"], 2)
    return figures

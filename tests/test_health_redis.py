"""The health of a Redis: each bad state is made, seen, repaired, and gone."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from ops.checks.base import Finding, HealthReport, Level, Status
from ops.checks.redis import CHECKS, open_context
from ops.health import get_redis_report
from tests.health_reports import alarms, assert_has_the_shape, finding
from tests.services.ports import free_port
from tests.services.redis import RealRedis


@pytest.fixture(scope="module")
def server() -> Iterator[RealRedis]:
    """A Redis of our own: its settings are changed, and its folder is reached into."""
    started = RealRedis()
    yield started
    started.stop()


@pytest.fixture
def client(server: RealRedis) -> Iterator[redis.Redis]:
    """A connection to an empty Redis with fresh counters."""
    with redis.Redis.from_url(server.url) as connection:
        connection.flushall()
        connection.config_resetstat()
        yield connection
        connection.flushall()


def report_on(server: RealRedis) -> HealthReport:
    return get_redis_report(server.url)


def look(server: RealRedis, id: str, **thresholds: Any) -> Finding:
    """One check by itself, with thresholds that seconds can reach."""
    check = next(check for check in CHECKS if check.id == f"redis.{id}")
    with open_context(server.url) as context:
        return replace(check, **thresholds).answer(context)


def test_an_empty_redis_raises_no_alarm(server: RealRedis, client: redis.Redis) -> None:
    report = report_on(server)
    assert_has_the_shape(report, "redis")
    assert alarms(report) == []
    assert report.status is Status.HEALTHY
    assert report.headline == "Everything we looked at is fine."
    assert report.details["keys"] == 0
    assert report.details["hit_rate"] is None


def test_the_redis_of_the_tests_has_a_report_of_the_same_shape(redis_url: str) -> None:
    report = get_redis_report(redis_url)
    assert_has_the_shape(report, "redis")
    assert len(report.findings) == len(CHECKS)


def test_details_count_keys_and_hits(server: RealRedis, client: redis.Redis) -> None:
    client.set("a", 1)
    client.set("b", 1, ex=100)
    client.get("a")
    client.get("missing")
    details = report_on(server).details
    assert details["keys"] == 2
    assert details["keys_with_expiry"] == 1
    assert details["hit_rate"] == 0.5
    assert details["used_memory"] > 0


def test_an_unreachable_redis_is_a_report() -> None:
    began = time.monotonic()
    report = get_redis_report(f"redis://:top-secret@127.0.0.1:{free_port()}/0")
    assert time.monotonic() - began < 5
    assert_has_the_shape(report, "redis")
    assert report.status is Status.UNHEALTHY
    assert [one.id for one in report.findings] == ["redis.answers"]
    assert report.headline == "Redis does not answer."
    assert "REDIS_URL" in report.findings[0].fix
    assert "top-secret" not in str(report.as_dict())


def test_a_redis_that_stays_silent_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        report = get_redis_report(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        assert time.monotonic() - began < 4
    assert report.headline == "Redis does not answer."


@pytest.mark.parametrize("login", ["", ":wrong-password@"])
def test_a_redis_that_does_not_let_us_in_is_a_report(server: RealRedis, login: str) -> None:
    report = get_redis_report(f"redis://{login}127.0.0.1:{server.port}/0")
    assert report.status is Status.UNHEALTHY
    assert "password" in report.headline
    assert "wrong-password" not in str(report.as_dict())


def test_an_address_that_is_none_is_a_report() -> None:
    report = get_redis_report("http://:top-secret@localhost")
    assert report.status is Status.UNHEALTHY
    assert "not the address of a Redis" in report.headline
    assert "top-secret" not in str(report.as_dict())


def test_without_rights_nothing_is_called_good(server: RealRedis, client: redis.Redis) -> None:
    client.execute_command("ACL", "SETUSER", "plain", "on", ">pass", "+ping", "+info")
    client.set("a", 1)
    try:
        report = get_redis_report(f"redis://plain:pass@127.0.0.1:{server.port}/0")
    finally:
        client.execute_command("ACL", "DELUSER", "plain")
    assert_has_the_shape(report, "redis")
    assert report.status is Status.UNKNOWN
    for id in ("redis.persistence", "redis.save_age"):
        found = finding(report, id)
        assert found.level is Level.UNKNOWN
        assert "+config|get" in found.fix
    assert finding(report, "redis.memory").level is Level.GOOD


def test_a_user_who_may_not_even_look(server: RealRedis, client: redis.Redis) -> None:
    client.execute_command("ACL", "SETUSER", "blind", "on", ">pass", "+ping")
    try:
        report = get_redis_report(f"redis://blind:pass@127.0.0.1:{server.port}/0")
    finally:
        client.execute_command("ACL", "DELUSER", "blind")
    assert_has_the_shape(report, "redis")
    assert "does not let the console look" in report.headline
    assert "+info" in report.findings[0].fix


def test_a_slow_answer(server: RealRedis) -> None:
    assert look(server, "answers").level is Level.GOOD
    assert look(server, "answers", warning=0).level is Level.SOON


def test_memory_that_fills_up(server: RealRedis, client: redis.Redis) -> None:
    client.set("large", b"x" * (12 << 20))
    used = int(client.info("memory")["used_memory"])
    levels = {}
    try:
        for percent in (50, 85, 95):
            client.config_set("maxmemory", used * 100 // percent)
            levels[percent] = look(server, "memory").level
        client.config_set("maxmemory-policy", "allkeys-lru")
        as_cache = look(server, "memory")
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)
    assert levels == {50: Level.GOOD, 85: Level.SOON, 95: Level.NOW}
    assert as_cache.level is Level.INFO
    assert "drops old ones" in as_cache.sentence
    assert look(server, "memory").level is Level.GOOD


def test_a_save_that_failed(server: RealRedis, client: redis.Redis) -> None:
    """A folder of the same name is in the way of the file."""
    in_the_way = server.folder / "dump.rdb"
    in_the_way.mkdir()
    _save(client, "err")
    found = look(server, "last_save")
    assert found.level is Level.NOW
    assert "failed" in found.sentence
    assert report_on(server).status is Status.UNHEALTHY
    in_the_way.rmdir()
    _save(client, "ok")
    assert look(server, "last_save").level is Level.GOOD
    Path(in_the_way).unlink()


def _save(client: redis.Redis, outcome: str) -> None:
    client.bgsave()
    deadline = time.monotonic() + 10
    while True:
        info = client.info("persistence")
        if not info["rdb_bgsave_in_progress"] and info["rdb_last_bgsave_status"] == outcome:
            return
        assert time.monotonic() < deadline, info
        time.sleep(0.02)


def test_what_a_restart_forgets(server: RealRedis, client: redis.Redis) -> None:
    assert look(server, "persistence").sentence == "Redis saves nothing, and holds nothing."
    client.mset({f"key {number}": 1 for number in range(1200)})
    found = look(server, "persistence")
    assert found.level is Level.INFO
    assert "keeps 1,200 items in memory only" in found.sentence
    client.config_set("save", "3600 1")
    assert look(server, "persistence").level is Level.GOOD
    client.config_set("save", "")
    client.config_set("appendonly", "yes")
    assert look(server, "persistence").level is Level.GOOD
    client.config_set("appendonly", "no")


def test_the_age_of_the_copy_on_disk(server: RealRedis, client: redis.Redis) -> None:
    assert "not set to save" in look(server, "save_age").sentence
    client.config_set("save", "3600 100000")
    try:
        client.set("a", 1)
        assert look(server, "save_age").level is Level.GOOD
        found = look(server, "save_age", warning=0)
        assert found.level is Level.SOON
        assert "came after it" in found.sentence
        _save(client, "ok")
        assert look(server, "save_age", warning=0).level is Level.GOOD
    finally:
        client.config_set("save", "")
        (server.folder / "dump.rdb").unlink(missing_ok=True)


def test_seats_for_clients(server: RealRedis, client: redis.Redis) -> None:
    assert look(server, "clients").level is Level.GOOD
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(redis.Redis.from_url(server.url)).ping()
        client.config_set("maxclients", 11)
        try:
            found = look(server, "clients")
        finally:
            client.config_set("maxclients", 10000)
    assert found.level in (Level.SOON, Level.NOW)
    assert "of 11 seats for clients are taken" in found.sentence
    assert look(server, "clients").level is Level.GOOD


def test_programs_that_found_no_seat(server: RealRedis, client: redis.Redis) -> None:
    client.config_set("maxclients", 1)
    try:
        with pytest.raises(redis.ConnectionError), redis.Redis.from_url(server.url) as other:
            other.ping()
        report = report_on(server)
    finally:
        client.config_set("maxclients", 10000)
    assert report.status is Status.UNHEALTHY
    found = look(server, "clients")
    assert found.level is Level.INFO
    assert "found none in the last" in found.sentence


def test_look_ups_that_find_nothing(server: RealRedis, client: redis.Redis) -> None:
    for _ in range(5):
        client.get("missing")
    assert "Too little was looked up" in look(server, "hits").sentence
    found = look(server, "hits", quiet_below=5)
    assert found.level is Level.INFO
    assert "100 % of the look-ups found nothing" in found.sentence
    client.set("there", 1)
    for _ in range(45):
        client.get("there")
    assert look(server, "hits", quiet_below=5).level is Level.GOOD


def test_items_thrown_out(server: RealRedis, client: redis.Redis) -> None:
    assert look(server, "evictions").level is Level.GOOD
    client.mset({f"key {number}": b"x" * 1000 for number in range(3000)})
    used = int(client.info("memory")["used_memory"])
    client.config_set("maxmemory-policy", "allkeys-random")
    client.config_set("maxmemory", used - 500_000)
    client.set("one more", b"x" * 1000)
    client.config_set("maxmemory", 0)
    client.config_set("maxmemory-policy", "noeviction")
    found = look(server, "evictions")
    assert found.level is Level.INFO
    assert "had to go for lack of memory" in found.sentence


def test_an_old_version(server: RealRedis) -> None:
    assert look(server, "version").level is Level.GOOD
    found = look(server, "version", warning=-99)
    assert found.level is Level.SOON
    assert "is old" in found.sentence

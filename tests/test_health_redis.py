"""The health of a Redis: each bad state is made, seen, repaired, and gone."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from ops.checks.base import Finding, HealthReport, Level, Status
from ops.checks.history import History
from ops.checks.purpose import Purpose
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


def look(
    server: RealRedis,
    id: str,
    *,
    purpose: Purpose | None = None,
    history: History | None = None,
    later: float = 0,
    **thresholds: Any,
) -> Finding:
    """One check by itself, `later` seconds from now, with thresholds that seconds can reach."""
    check = next(check for check in CHECKS if check.id == f"redis.{id}")
    with open_context(server.url, purpose) as context:
        seen = replace(context, history=history, now=time.time() + later)
        return replace(check, **thresholds).answer(seen)


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
    for id, right in (
        ("persistence", "+config|get"),
        ("save_age", "+config|get"),
        ("slow_commands", "+slowlog|get"),
        ("big_keys", "+scan +memory|usage"),
    ):
        found = finding(report, f"redis.{id}")
        assert found.level is Level.UNKNOWN
        assert right in found.fix
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
    levels = {purpose: look(server, "persistence", purpose=purpose).level for purpose in Purpose}
    assert levels == {
        Purpose.CACHE: Level.INFO,
        Purpose.SESSIONS: Level.SOON,
        Purpose.QUEUE: Level.NOW,
        Purpose.MAIN: Level.NOW,
    }
    found = look(server, "persistence", purpose=Purpose.QUEUE)
    assert "loses all its 1,200 items, though it is used for: Work that waits" in found.sentence
    assert found.remedy == ("redis.appendonly",)
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
    assert "found none since" in found.sentence
    history = History()
    look(server, "clients", history=history)
    client.config_set("maxclients", 1)
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(server.url) as other:
        other.ping()
    client.config_set("maxclients", 10000)
    found = look(server, "clients", history=history, later=3600)
    assert found.level is Level.NOW
    assert "found none in the last 1 hour" in found.sentence
    assert look(server, "clients", history=history, later=3 * 3600).level is Level.GOOD


def test_look_ups_that_find_nothing(server: RealRedis, client: redis.Redis) -> None:
    for _ in range(5):
        client.get("missing")
    assert "Too little was looked up" in look(server, "hits").sentence
    found = look(server, "hits", quiet_below=5)
    assert found.level is Level.INFO
    assert "100 % of the look-ups found nothing" in found.sentence
    assert look(server, "hits", quiet_below=5, purpose=Purpose.QUEUE).level is Level.GOOD
    history = History()
    look(server, "hits", history=history)
    for _ in range(5):
        client.get("missing")
    judged = {"quiet_below": 5, "history": history, "later": 3600, "purpose": Purpose.CACHE}
    assert look(server, "hits", **judged).level is Level.NOW
    client.set("there", 1)
    for _ in range(45):
        client.get("there")
    assert look(server, "hits", quiet_below=5).level is Level.GOOD


def test_items_thrown_out(server: RealRedis, client: redis.Redis) -> None:
    assert look(server, "evictions").level is Level.GOOD
    client.mset({f"key {number}": b"x" * 1000 for number in range(3000)})
    used = int(client.info("memory")["used_memory"])
    histories = {purpose: History() for purpose in Purpose}
    for purpose, history in histories.items():
        look(server, "evictions", purpose=purpose, history=history)
    client.config_set("maxmemory-policy", "allkeys-random")
    client.config_set("maxmemory", used - 500_000)
    client.set("one more", b"x" * 1000)
    client.config_set("maxmemory", 0)
    client.config_set("maxmemory-policy", "noeviction")
    found = look(server, "evictions")
    assert found.level is Level.INFO
    assert "had to go for lack of memory" in found.sentence
    for purpose, history in histories.items():
        found = look(server, "evictions", purpose=purpose, history=history, later=3600)
        assert found.level is (Level.SOON if purpose is Purpose.CACHE else Level.NOW)


def test_an_old_version(server: RealRedis) -> None:
    assert look(server, "version").level is Level.GOOD
    found = look(server, "version", warning=-99)
    assert found.level is Level.SOON
    assert "is old" in found.sentence


def test_what_happens_when_memory_is_full(server: RealRedis, client: redis.Redis) -> None:
    def level(purpose: Purpose | None) -> Level:
        return look(server, "policy", purpose=purpose).level

    assert {level(purpose) for purpose in (None, *Purpose)} == {Level.GOOD}  # there is no limit
    client.config_set("maxmemory", 1 << 30)
    try:
        assert (level(None), level(Purpose.QUEUE)) == (Level.GOOD, Level.GOOD)
        refuses = look(server, "policy", purpose=Purpose.CACHE)
        assert refuses.level is Level.SOON
        assert "this cache refuses new items" in refuses.sentence
        client.config_set("maxmemory-policy", refuses.subjects[0])
        assert level(Purpose.CACHE) is Level.GOOD
        assert (level(Purpose.SESSIONS), level(Purpose.MAIN)) == (Level.SOON, Level.NOW)
        drops = look(server, "policy", purpose=Purpose.QUEUE)
        assert drops.level is Level.NOW
        assert "drops items, though it is used for: Work that waits" in drops.sentence
        client.config_set("maxmemory-policy", drops.subjects[0])
        assert level(Purpose.QUEUE) is Level.GOOD
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_without_a_limit(server: RealRedis, client: redis.Redis) -> None:
    assert look(server, "no_limit").level is Level.GOOD
    found = look(server, "no_limit", quiet_below=1)
    assert found.level is Level.INFO
    assert "no limit of its own" in found.sentence
    client.config_set("maxmemory", 1 << 30)
    assert look(server, "no_limit", quiet_below=1).level is Level.GOOD
    client.config_set("maxmemory", 0)


def test_an_open_door(server: RealRedis, client: redis.Redis) -> None:
    assert look(server, "open_door").level is Level.GOOD
    client.config_set("requirepass", "")
    try:
        within = look(server, "open_door")
        assert within.level is Level.INFO
        assert "programs of its own machine only" in within.sentence
        client.config_set("protected-mode", "no")
        assert look(server, "open_door").level is Level.INFO
        client.config_set("bind", "127.0.0.1 -198.51.100.7")  # nobody's address
        found = look(server, "open_door")
        assert found.level is Level.NOW
        assert "anybody from other machines, without a password" in found.sentence
    finally:
        client.config_set("bind", "127.0.0.1")
        client.config_set("protected-mode", "yes")
        client.config_set("requirepass", server.password)
    assert look(server, "open_door").level is Level.GOOD


def test_notes_of_changes_that_cannot_be_tidied_up(server: RealRedis, client: redis.Redis) -> None:
    assert "does not note down" in look(server, "append_file").sentence
    client.config_set("appendonly", "yes")
    _wait(client, "ok")
    assert look(server, "append_file").level is Level.GOOD
    names = [path.name for path in server.folder.glob("appendonlydir/*.base.*")]
    number = max(int(name.split(".")[2]) for name in names)
    in_the_way = server.folder / "appendonlydir" / f"appendonly.aof.{number + 1}.base.rdb"
    in_the_way.mkdir()
    client.bgrewriteaof()
    _wait(client, "err")
    found = look(server, "append_file")
    assert found.level is Level.SOON
    assert "could not tidy up its notes" in found.sentence
    in_the_way.rmdir()
    client.bgrewriteaof()
    _wait(client, "ok")
    assert look(server, "append_file").level is Level.GOOD
    client.config_set("appendonly", "no")


def _wait(client: redis.Redis, outcome: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        told = client.info("persistence")
        busy = told["aof_rewrite_in_progress"] or told["aof_rewrite_scheduled"]
        if not busy and told["aof_last_bgrewrite_status"] == outcome:
            return
        assert time.monotonic() < deadline, told
        time.sleep(0.02)


def test_commands_that_fail(server: RealRedis, client: redis.Redis) -> None:
    history = History()
    look(server, "errors", history=history)
    for _ in range(20):
        with pytest.raises(redis.ResponseError):
            client.execute_command("NONSENSE")
    eager = {"quiet_below": 10, "history": history}
    found = look(server, "errors", later=3600, **eager)
    assert found.level is Level.SOON
    assert "ended with an error in the last 1 hour" in found.sentence
    pipeline = client.pipeline(transaction=False)
    for _ in range(2000):
        pipeline.ping()
    pipeline.execute()
    assert look(server, "errors", later=3 * 3600, **eager).level is Level.GOOD


def test_changes_that_are_refused(server: RealRedis, client: redis.Redis) -> None:
    history = History()
    look(server, "errors", history=history)
    client.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("a", 1)
    client.config_set("maxmemory", 0)
    found = look(server, "errors", history=history, later=3600)
    assert found.level is Level.NOW
    assert "has refused to save 1 change in the last 1 hour" in found.sentence
    assert look(server, "errors", history=history, later=3 * 3600).level is Level.GOOD


def test_a_stand_in_copy_that_lost_touch(server: RealRedis, client: redis.Redis) -> None:
    copy = RealRedis()
    history = History()
    try:
        with redis.Redis.from_url(copy.url) as follower:
            follower.config_set("masterauth", server.password)
            follower.replicaof("127.0.0.1", server.port)
            _until(lambda: follower.info("replication")["master_link_status"] == "up")
            assert look(copy, "replication").level is Level.GOOD
            assert look(server, "replication", history=history).level is Level.GOOD
            follower.config_set("masterauth", "wrong")
            follower.replicaof("127.0.0.1", free_port())
            _until(lambda: follower.info("replication")["master_link_status"] == "down")
            lost = look(copy, "replication", warning=0)
            assert lost.level is Level.SOON
            assert "lost touch with its main Redis" in lost.sentence
            _until(lambda: client.info("replication")["connected_slaves"] == 0)
            gone = look(server, "replication", history=history)
            assert gone.level is Level.SOON
            assert "1 stand-in copy of this Redis no longer fetch" in gone.sentence
            follower.config_set("masterauth", server.password)
            follower.replicaof("127.0.0.1", server.port)
            _until(lambda: follower.info("replication")["master_link_status"] == "up")
            assert look(server, "replication", history=history).level is Level.GOOD
    finally:
        copy.stop()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def test_holes_in_memory(server: RealRedis, client: redis.Redis) -> None:
    """Every second item is deleted, so that no page becomes free."""
    pipeline = client.pipeline(transaction=False)
    for number in range(40_000):
        pipeline.set(f"key {number}", b"x" * 700)
    pipeline.execute()
    for number in range(40_000):
        if number % 4:
            pipeline.delete(f"key {number}")
    pipeline.execute()
    _until(lambda: look(server, "fragmentation", quiet_below=1 << 20).level is not Level.GOOD)
    found = look(server, "fragmentation", quiet_below=1 << 20)
    assert "times the memory that it needs" in found.sentence
    assert found.remedy == ("redis.memory_purge",)
    assert look(server, "fragmentation").level is Level.GOOD  # too small to matter


def test_slow_commands(server: RealRedis, client: redis.Redis) -> None:
    client.slowlog_reset()
    assert look(server, "slow_commands").level is Level.GOOD
    client.config_set("slowlog-log-slower-than", 0)
    for _ in range(11):
        client.set("my secret", "diary")
    client.config_set("slowlog-log-slower-than", 10_000_000)
    found = look(server, "slow_commands")
    assert found.level is Level.SOON
    assert "slow commands within the last hour" in found.sentence
    assert "secret" not in found.technical
    client.slowlog_reset()
    assert look(server, "slow_commands").level is Level.GOOD
    client.config_set("slowlog-log-slower-than", 0)
    client.keys("nothing*")
    client.config_set("slowlog-log-slower-than", 10_000)
    assert "(KEYS)" in look(server, "slow_commands").sentence
    client.slowlog_reset()


def test_a_pause_when_saving(server: RealRedis, client: redis.Redis) -> None:
    _save(client, "ok")
    assert look(server, "fork").level in (Level.GOOD, Level.SOON)
    found = look(server, "fork", warning=0, critical=1e9)
    assert found.level is Level.SOON
    assert "everybody waits for" in found.sentence
    (server.folder / "dump.rdb").unlink(missing_ok=True)


def test_more_programs_that_wait_than_usual(server: RealRedis, client: redis.Redis) -> None:
    history = History()
    assert look(server, "blocked", history=history).level is Level.GOOD
    with ExitStack() as stack:
        for _ in range(3):
            other = stack.enter_context(redis.Redis.from_url(server.url))
            waiting = other.connection_pool.get_connection()
            waiting.send_command("BLPOP", "nothing", 0)
            stack.callback(waiting.disconnect)
        _until(lambda: client.info("clients")["blocked_clients"] == 3)
        found = look(server, "blocked", history=history, quiet_below=3)
        assert found.level is Level.SOON
        assert "3 programs wait for something to arrive in Redis; usually it is 0" in found.sentence
    _until(lambda: client.info("clients")["blocked_clients"] == 0)
    assert look(server, "blocked", history=history, quiet_below=3).level is Level.GOOD


def test_items_of_a_cache_that_never_expire(server: RealRedis, client: redis.Redis) -> None:
    client.mset({f"key {number}": b"x" * 1000 for number in range(100)})
    client.config_set("maxmemory", int(int(client.info("memory")["used_memory"]) / 0.8))
    try:
        found = look(server, "no_expiry", purpose=Purpose.CACHE)
        assert found.level is Level.SOON
        assert "100 % of the items of this cache never expire" in found.sentence
        assert look(server, "no_expiry", purpose=Purpose.MAIN).level is Level.GOOD
        for number in range(60):
            client.expire(f"key {number}", 1000)
        assert look(server, "no_expiry", purpose=Purpose.CACHE).level is Level.GOOD
    finally:
        client.config_set("maxmemory", 0)


def test_very_large_items(server: RealRedis, client: redis.Redis) -> None:
    client.set(b"not text \xff", b"x")
    assert look(server, "big_keys").level is Level.GOOD
    client.set("film", b"x" * (2 << 20))
    found = look(server, "big_keys")
    assert found.level is Level.INFO
    assert "1 item is very large (up to 2" in found.sentence
    client.delete("film")
    assert look(server, "big_keys").level is Level.GOOD

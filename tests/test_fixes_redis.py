"""Fixes of Redis: the bad state is made, cured by the job, and the finding is gone; a user
without the right is refused with the line that gives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ops.checks.purpose import Purpose
from ops.errors import OpsError, Refused, Unavailable
from ops.fixes import FIXES, command_of, obstacle
from ops.health import redis_health_of
from ops.health_settings import set_purpose, set_threshold
from ops.installation import Installation
from ops.jobs import create, execute
from tests.health_reports import finding
from tests.services.ports import free_port
from tests.services.redis import RealRedis


@pytest.fixture(scope="module")
def server() -> Iterator[RealRedis]:
    """A Redis of our own: its settings are changed."""
    started = RealRedis()
    yield started
    started.stop()


@pytest.fixture
def client(server: RealRedis) -> Iterator[Any]:
    """A connection to an empty Redis that saves nothing."""
    with redis.Redis.from_url(server.url, decode_responses=True) as connection:
        connection.flushall()
        yield connection
        connection.config_set("appendonly", "no")
        connection.config_set("save", "")
        connection.config_set("maxmemory-policy", "noeviction")


@pytest.fixture
def home(server: RealRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation with that Redis and a SQLite file."""
    return _home(server.url, tmp_path, monkeypatch)


def _home(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPS_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{folder / 'live.db'}")
    monkeypatch.setenv("REDIS_URL", url)
    return Installation.open()


def press(home: Installation, fix: str, *subjects: str, check: str = "") -> Any:
    """The fix as the Health page starts it: as a job."""
    params = {"fix": fix, "subjects": list(subjects), "check": check}
    return execute(home, create(home, "fix", "main", "somebody", params))


def look(home: Installation, check: str) -> Any:
    report = redis_health_of(home)
    assert report is not None
    return finding(report, check)


def test_an_old_copy_is_followed_by_a_fresh_one(home: Installation, client: Any) -> None:
    client.config_set("save", "3600 100000")
    client.set("a", 1)
    from ops.checks.redis import CHECKS

    check = next(one for one in CHECKS if one.id == "redis.save_age")
    set_threshold(home.store, ":redis", check, warning=0, critical=48, who="somebody")
    found = look(home, check.id)
    assert found.level == "soon"
    assert found.remedy == ("redis.bgsave",)
    done = press(home, "redis.bgsave", check=check.id)
    assert done["told"] == ["Redis has a fresh copy on its disk."]
    assert done["helped"] is True
    assert look(home, check.id).level == "good"


def test_a_save_that_fails_says_so(home: Installation, server: RealRedis, client: Any) -> None:
    in_the_way = server.folder / "dump.rdb"
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    try:
        with pytest.raises(OpsError, match="could not save to its disk"):
            press(home, "redis.bgsave", check="redis.last_save")
        assert look(home, "redis.last_save").level == "now"
    finally:
        in_the_way.rmdir()
    assert press(home, "redis.bgsave", check="redis.last_save")["helped"] is True


def test_saving_is_switched_on(home: Installation, client: Any) -> None:
    set_purpose(home.store, Purpose.MAIN, who="somebody")
    client.mset({f"key {number}": 1 for number in range(1200)})
    press(home, "redis.appendonly")
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert look(home, "redis.persistence").level == "good"


def test_what_happens_when_memory_is_full(home: Installation, client: Any) -> None:
    target, fix = home.target("main"), FIXES["redis.policy"]
    assert command_of(home, target, fix, "allkeys-lru") == "CONFIG SET maxmemory-policy allkeys-lru"
    press(home, fix.id, "allkeys-lru")
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
    with pytest.raises(Refused, match="no policy"):
        press(home, fix.id, "allkeys-lru\r\nFLUSHALL")


def test_the_list_of_slow_commands_and_unused_memory(home: Installation, client: Any) -> None:
    client.config_set("slowlog-log-slower-than", 0)
    client.set("a", 1)
    client.config_set("slowlog-log-slower-than", 10_000_000)
    assert client.slowlog_len() > 0
    press(home, "redis.slowlog_reset")
    assert client.slowlog_len() == 0
    assert "gave back" in press(home, "redis.memory_purge")["told"][0]


@pytest.mark.parametrize(
    ("fix", "right", "subject"),
    [
        ("redis.bgsave", "+bgsave", ()),
        ("redis.memory_purge", "+memory|purge", ()),
        ("redis.slowlog_reset", "+slowlog|reset", ()),
        ("redis.policy", "+config|set", ("noeviction",)),
        ("redis.appendonly", "+config|set", ()),
    ],
)
@pytest.mark.parametrize("asks", ["+acl|dryrun +acl|whoami", ""])
def test_without_the_right_it_is_refused_with_the_line_that_gives_it(
    server: RealRedis,
    client: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fix: str,
    right: str,
    subject: tuple[str, ...],
    asks: str,
) -> None:
    """Whether Redis lets itself be asked beforehand, or only its answer tells."""
    may = ["on", ">pass", "~*", "+ping", "+info", "+config|get", *asks.split()]
    client.execute_command("ACL", "SETUSER", "plain", "reset", *may)
    home = _home(f"redis://plain:pass@127.0.0.1:{server.port}/0", tmp_path, monkeypatch)
    try:
        with pytest.raises(Refused, match="may not do this") as refused:
            press(home, fix, *subject)
        assert refused.value.hint.split("run: ")[1] == f"ACL SETUSER plain {right}"
        client.execute_command("ACL", "SETUSER", "plain", right)
        press(home, fix, *subject)
    finally:
        client.execute_command("ACL", "DELUSER", "plain")
    assert client.config_get("requirepass")


def test_a_redis_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = _home(f"redis://:hidden@127.0.0.1:{free_port()}/0", tmp_path, monkeypatch)
    with pytest.raises(Unavailable, match="does not answer") as error:
        press(home, "redis.bgsave")
    assert "hidden" not in str(error.value.as_dict())
    found = obstacle(home, home.target("main"), FIXES["redis.bgsave"], "")
    assert found is not None

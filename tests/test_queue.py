"""Jobs on more than one machine: a store in PostgreSQL, a queue in Redis, workers as processes."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import redis

from console.accounts import SESSION_COOKIE
from ops import Catalog, create_backup
from ops.checks.base import Finding, Level
from ops.duties import DUTIES
from ops.errors import Refused, Unavailable
from ops.health_memory import keep_results, load_history
from ops.installation import Installation
from ops.jobs import State, cancel, look, queue, recent, start
from ops.jobs.oversight import look_after
from ops.locks import locks_of
from ops.recovery import settle_all
from tests.databases import SQLiteDatabase, filled_file
from tests.services.console import running_console
from tests.services.postgres import RealPostgres
from tests.services.redis import RealRedis
from tests.services.worker import RunningWorker
from tests.waiting import ended, held_by_another, wait_for, waiting_restore

# Workers have to start, or to come back, first.
_ended = partial(ended, seconds=60)
_waiting_restore = partial(waiting_restore, seconds=60)


@pytest.fixture
def live(tmp_path: Path) -> SQLiteDatabase:
    """A filled database that the jobs work on."""
    return filled_file(tmp_path)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RealRedis]:
    """A Redis of our own, which a test may kill."""
    server = RealRedis()
    yield server
    server.stop()


@pytest.fixture
def more_settings(redis_server: RealRedis, store_url: str) -> dict[str, str]:
    """The jobs are done by workers, who share a memory; the queue is empty."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return {"REDIS_URL": redis_server.url, "OPS_STORE_URL": store_url, "OPS_QUEUE": "redis"}


@pytest.fixture
def workers(home: Installation, tmp_path: Path) -> Iterator[list[RunningWorker]]:
    """Two workers that take jobs."""
    with _workers(tmp_path, 2) as running:
        yield running


@contextmanager
def _workers(folder: Path, number: int) -> Iterator[list[RunningWorker]]:
    with ExitStack() as stack:
        running = [RunningWorker(folder, f"worker {name}") for name in range(number)]
        stack.callback(_stop, running)
        for worker in running:
            assert worker.is_ready(), worker.log.read_text()
        yield running


def _stop(running: list[RunningWorker]) -> None:
    for worker in running:
        worker.ask_to_stop()
    for worker in running:
        worker.stop()


def settings_of_the_tests() -> dict[str, str]:
    """What a console needs to know besides its data folder."""
    names = [name for name in os.environ if name.startswith(("OPS_", "REDIS_URL"))]
    return {name: os.environ[name] for name in names if name != "OPS_DATA_DIR"}


def _saved(home: Installation, live: SQLiteDatabase) -> Path:
    archive = create_backup(home.target("live"), home.folder).archive
    live.drift()
    return archive


def test_workers_do_the_jobs_one_at_a_time_on_each_database(
    home: Installation, live: SQLiteDatabase, workers: list[RunningWorker]
) -> None:
    archive = _saved(home, live)
    with held_by_another(live):
        job_id = _waiting_restore(home, archive)
        assert [worker.is_at_work() for worker in workers].count(True) == 1
        with pytest.raises(Refused, match="already running"):
            start(home, "restore", "live", "somebody else", {"archive": str(archive)})
    assert _ended(home, job_id).state is State.DONE
    assert _ended(home, start(home, "backup", "live", "somebody", {})).state is State.DONE
    assert len(Catalog(home.folder, "live").entries()) == 2


def test_a_worker_killed_in_mid_job_leaves_an_interrupted_job_and_a_free_target(
    home: Installation, live: SQLiteDatabase, workers: list[RunningWorker]
) -> None:
    archive = _saved(home, live)
    drifted = live.fingerprint()
    with held_by_another(live):
        job_id = _waiting_restore(home, archive)
        (victim,) = [worker for worker in workers if worker.is_at_work()]
        began = time.monotonic()
        victim.kill()
        locks = locks_of(home.folder)
        while locks.is_held(f"job-{job_id}"):
            assert time.monotonic() - began < 10
            time.sleep(0.05)
    job = _ended(home, job_id)
    assert job.state is State.INTERRUPTED
    look_after(home)
    assert live.fingerprint() == drifted
    job_id = start(home, "restore", "live", "somebody", {"archive": str(archive)})
    assert _ended(home, job_id).state is State.DONE
    assert live.fingerprint() != drifted


def test_a_worker_that_was_killed_counts_no_longer(
    home: Installation, redis_server: RealRedis, tmp_path: Path
) -> None:
    with _workers(tmp_path, 1) as (worker,):
        wait_for(lambda: queue.state_of(home) == "Waiting until a worker is free", 20)
        worker.kill()
        worker.process.wait()
    with redis.Redis.from_url(redis_server.url) as client:
        (name,) = client.smembers("rq:workers")
        assert 0 < client.ttl(name) <= 120
        client.delete(name)  # as it will be after that time
    assert queue.state_of(home).startswith("No worker runs")


def test_cancelling_reaches_a_worker(
    home: Installation, live: SQLiteDatabase, workers: list[RunningWorker]
) -> None:
    archive = _saved(home, live)
    drifted = live.fingerprint()
    with held_by_another(live):
        job_id = _waiting_restore(home, archive)
        began = time.monotonic()
        cancel(home, job_id)
        assert _ended(home, job_id).state is State.CANCELLED
        assert time.monotonic() - began < 5
    assert live.fingerprint() == drifted


def test_a_job_goes_on_while_redis_is_gone_and_the_next_ones_are_refused(
    home: Installation,
    live: SQLiteDatabase,
    redis_server: RealRedis,
    workers: list[RunningWorker],
) -> None:
    archive = _saved(home, live)
    with held_by_another(live):
        job_id = _waiting_restore(home, archive)
        redis_server.kill()
        time.sleep(0.5)
    assert _ended(home, job_id).state is State.DONE
    with pytest.raises(Unavailable, match=r"Redis.* does not answer"):
        start(home, "backup", "live", "somebody", {})
    assert recent(home, limit=1)[0].state is State.FAILED
    redis_server.come_back()
    assert _ended(home, start(home, "backup", "live", "somebody", {})).state is State.DONE


def test_a_job_that_the_queue_has_lost_is_handed_over_again(
    home: Installation, redis_server: RealRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = start(home, "backup", "live", "somebody", {})
    with redis.Redis.from_url(redis_server.url) as client:
        kept = b"".join(client.dump(key) or b"" for key in client.scan_iter())
        for secret in (redis_server.password, str(tmp_path), "somebody"):
            assert secret.encode() not in kept
        client.flushall()
    look_after(home)
    assert look(home, job_id).note.startswith("No worker runs")
    monkeypatch.setattr("ops.jobs.oversight._LOST_SECONDS", 0)
    look_after(home)
    assert queue.knows(home, job_id)
    with _workers(tmp_path, 1) as (worker,):
        assert _ended(home, job_id).state is State.DONE
        assert worker.stop() == 0


def test_a_waiting_job_is_cancelled_before_it_begins(home: Installation, tmp_path: Path) -> None:
    job_id = start(home, "backup", "live", "somebody", {})
    cancel(home, job_id)
    assert look(home, job_id).state is State.CANCELLED
    second = start(home, "backup", "live", "somebody", {})
    with _workers(tmp_path, 1):
        assert _ended(home, second).state is State.DONE
    assert look(home, job_id).state is State.CANCELLED
    assert len(Catalog(home.folder, "live").entries()) == 1


def test_what_stands_in_redis_makes_a_worker_run_nothing_else(
    home: Installation, redis_server: RealRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rq
    from rq.job import JobStatus
    from rq.serializers import JSONSerializer

    harm = tmp_path / "harm"
    act = f"import os\n\ndef act(*_):\n    os.mkdir({str(harm)!r})\n"
    (tmp_path / "strange.py").write_text(act)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with (
        redis.Redis.from_url(redis_server.url) as client,
        socket.create_server(("127.0.0.1", 0)) as listener,
        _workers(tmp_path, 1),
    ):
        strange = rq.Queue(queue.NAME, connection=client, serializer=JSONSerializer)
        strange.enqueue_call("os.mkdir", args=(str(harm),), result_ttl=0)
        calls = {f"on_{end}": rq.Callback("strange.act") for end in ("success", "failure")}
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        webhook = rq.Webhook(address, JobStatus.FINISHED, timeout=1)
        strange.enqueue_call("os.getpid", result_ttl=0, webhooks=[webhook], **calls)
        job_id = start(home, "backup", "live", "somebody", {})
        assert _ended(home, job_id).state is State.DONE
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not harm.exists()


def test_a_store_that_crashes_in_mid_job_frees_no_lock_for_others(
    home: Installation,
    live: SQLiteDatabase,
    pg16: RealPostgres,
    workers: list[RunningWorker],
) -> None:
    archive = _saved(home, live)
    with held_by_another(live):
        job_id = _waiting_restore(home, archive)
        pg16.restart()
        assert locks_of(home.folder).is_held(f"job-{job_id}")
        ends = time.monotonic() + 20
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        while pg16.query(held)[0][0] < 3:  # the job's, its target's, its database's
            assert time.monotonic() < ends
            time.sleep(0.1)
        settle_all(home)
        assert look(home, job_id).state is State.RUNNING
    assert _ended(home, job_id).state is State.DONE


def test_two_consoles_share_one_memory(
    home: Installation, live: SQLiteDatabase, tmp_path: Path, workers: list[RunningWorker]
) -> None:
    settings = settings_of_the_tests()
    with ExitStack() as stack:
        first, second = [
            stack.enter_context(running_console(tmp_path, **settings)) for _ in range(2)
        ]
        token = first.link.rpartition("=")[2]
        with second.stranger() as client:
            client.get("/login", params={"token": token})
            session = client.cookies[SESSION_COOKIE]
        with first.stranger() as client:
            client.cookies[SESSION_COOKIE] = session
            assert client.get("/api/session").status_code == 204
        job_id = start(home, "backup", "live", "somebody", {})
        assert _ended(home, job_id).state is State.DONE
        archive = Path(str((look(home, job_id).result or {})["archive"]))
        with held_by_another(live):
            job_id = _waiting_restore(home, archive)
            first.stop(signal.SIGKILL)
            assert look(home, job_id).state is State.RUNNING
        assert _ended(home, job_id).state is State.DONE


def test_every_duty_can_be_done_on_a_shared_store(
    home: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    for duty in [*DUTIES, *DUTIES]:
        duty.do(home)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_what_the_health_page_remembers_is_kept_in_a_shared_store(home: Installation) -> None:
    found = Finding("some.check", "Some check", Level.INFO, "It is so.")
    for taken, kept in ((100.0, 100.0), (50.0, 100.0), (200.0, 200.0)):
        keep_results(home.store, "live", [found], taken=taken)
        results = load_history(home.store, "live").results
        assert results["some.check"].checked_at == kept

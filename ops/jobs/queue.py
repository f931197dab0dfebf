"""Handing jobs to workers by way of Redis (RQ), and being such a worker.

Only a job's id goes through Redis; what it is to do stands in the store. A worker takes nothing
but the id from there either, and runs the very program that a console runs by itself: whoever may
write to Redis can have a waiting job done, and nothing else. The queue's name is fixed, so each
installation needs a Redis, or a database number in it, of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import redis
import rq
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError, StopRequested
from rq.job import JobStatus
from rq.serializers import JSONSerializer
from rq.worker import SimpleWorker

from ops.errors import OpsError, ToolFailed, Unavailable
from ops.installation import Installation
from ops.jobs import command_of, environment
from ops.jobs.oversight import look_after
from ops.programs import run
from ops.target import redact

log = logging.getLogger(__name__)

NAME: Final = "ops-console"
_ANSWER_SECONDS: Final = 5
_AGAIN_SECONDS: Final = 2
_OVERSEE_SECONDS: Final = 5
_FORGET_FAILURES_SECONDS: Final = 3600
_FORGOTTEN_SECONDS: Final = 60
"""How long a worker that died still counts as one; where it had no job, a minute more."""
_NO_LIMIT: Final = -1
_AHEAD: Final = (JobStatus.QUEUED, JobStatus.DEFERRED, JobStatus.SCHEDULED)


def put(home: Installation, job_id: str) -> None:
    """Hand a job to the workers. Raises Unavailable."""
    try:
        queue = rq.Queue(NAME, connection=_connection(home), serializer=JSONSerializer)
        queue.enqueue_call(
            "ops.jobs.execute",
            args=(job_id,),
            job_id=job_id,
            description=job_id,
            timeout=_NO_LIMIT,
            result_ttl=0,
            failure_ttl=_FORGET_FAILURES_SECONDS,
        )
    except RedisError as cause:
        raise _gone(cause) from cause


def knows(home: Installation, job_id: str) -> bool:
    """Whether a job still lies in the queue. Raises Unavailable."""
    try:
        found = rq.job.Job.fetch(job_id, connection=_connection(home), serializer=JSONSerializer)
        return found.get_status() in _AHEAD
    except NoSuchJobError:
        return False
    except RedisError as cause:
        raise _gone(cause) from cause


def state_of(home: Installation) -> str:
    """What a waiting job waits for, in words."""
    try:
        connection = _connection(home)
        # The list keeps the names of those that died; what each of them says of itself fades.
        names = SimpleWorker.all_keys(connection=connection)
        is_served = bool(names) and bool(connection.exists(*names))
    except RedisError as cause:
        return _gone(cause).message
    if not is_served:
        return "No worker runs: somebody must start `ops-console worker`"
    return "Waiting until a worker is free"


def work(home: Installation) -> None:
    """Do the jobs of the queue, one after the other, until a signal asks to stop; a job that is
    under way is finished first. A Redis that goes away is waited for."""
    while True:
        try:
            connection = redis.Redis.from_url(_address(home))
            worker = _Worker(
                [NAME],
                connection=connection,
                serializer=JSONSerializer,
                worker_ttl=_FORGOTTEN_SECONDS,
            )
            worker.home = home
            worker.work(logging_level="WARNING")
            if worker.is_told_to_stop:
                return
        except RedisError as cause:
            log.warning("Redis does not answer: %s", type(cause).__name__)
        except StopRequested:
            return
        time.sleep(_AGAIN_SECONDS)


class _Job(rq.job.Job):
    """RQ would import and call whatever functions stand in Redis, and whatever address."""

    do: Callable[[str], None]

    def restore(self, raw_data: Any) -> None:
        super().restore(raw_data)
        self._success_callback_name = None
        self._failure_callback_name = None
        self._stopped_callback_name = None
        self.webhooks = []

    def perform(self) -> None:
        self.do(self.id)


class _Worker(SimpleWorker):
    """Starts the job's own process and waits for it, without forking itself."""

    job_class = _Job
    max_connection_wait_time = 5.0
    home: Installation
    is_told_to_stop = False

    def request_stop(self, signum: Any, frame: Any) -> None:
        self.is_told_to_stop = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def get_heartbeat_ttl(self, job: Any, working_time: float = 0.0) -> int:
        return _FORGOTTEN_SECONDS

    def execute_job(self, job: Any, queue: Any) -> None:
        job.do = self._do
        super().execute_job(job, queue)

    def _do(self, job_id: str) -> None:
        """The job ends with this process, if that is killed: see `ops.programs.run`."""
        try:
            log.info("job %s begins", job_id)
            run(command_of(job_id), env=environment(self.home), watch=self._watch, every=1)
            log.info("job %s has ended", job_id)
        except ToolFailed as failed:
            # Its row tells people; what it wrote to its log tells whoever looks after workers.
            log.warning("job %s: %s", job_id, failed.detail)

    _watched = 0.0

    def _watch(self) -> None:
        if time.monotonic() - self._watched < _OVERSEE_SECONDS:
            return
        self._watched = time.monotonic()
        try:
            self.heartbeat()
        except RedisError:
            log.info("Redis does not answer; the job goes on")
        try:
            look_after(self.home)
        except Exception:
            log.exception("the jobs could not be looked after")


def _connection(home: Installation) -> redis.Redis:
    """A client that does not wait long."""
    return redis.Redis.from_url(
        _address(home),
        socket_timeout=_ANSWER_SECONDS,
        socket_connect_timeout=_ANSWER_SECONDS,
    )


def _address(home: Installation) -> str:
    assert home.settings.redis_url is not None
    return home.settings.redis_url.get_secret_value()


def _gone(cause: RedisError) -> OpsError:
    return Unavailable(
        "The queue (Redis) does not answer, so the work was not begun. Nothing was changed.",
        "Check that Redis runs, then start it again.",
        redact(str(cause)),
    )

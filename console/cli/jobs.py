"""The commands of `ops-console` about jobs: `jobs`, `cancel` and `worker`."""

from __future__ import annotations

import logging
import sys
import time
from typing import Final

import click

from console.cli.terminal import answering, json_option, note, tell
from console.context import console
from ops.errors import Refused, SettingsError

_HEEDED_SECONDS: Final = 45
_LOOK_SECONDS: Final = 0.5


@click.command("jobs")
@click.option("--target", metavar="NAME", help="Only of this database.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="How many at most.")
@json_option
def list_jobs(target: str | None, limit: int, as_json: bool) -> None:
    """List the newest jobs: what they do, how far they are, how they ended."""
    with answering(as_json):
        from ops import jobs
        from ops.jobs.words import progress_line

        home = console()
        found = jobs.recent(home, home.target(target).name if target else None, limit=limit)
        lines = []
        for job in found:
            told = progress_line(job) if job.is_active else (job.error or {}).get("error", "")
            about = f"{job.id}  {job.kind:<8} {job.target:<12} {job.state.value:<11} {told}"
            lines.append(about.rstrip())
        tell(as_json, [job.as_dict() for job in found], "\n".join(lines) or "No jobs yet.")


@click.command()
@click.argument("job")
@json_option
def cancel(job: str, as_json: bool) -> None:
    """Stop JOB (an id from `jobs`) and wait until it has stopped. Exit status 0 when it has."""
    with answering(as_json):
        from ops import jobs
        from ops.jobs.oversight import look_after

        home = console()
        if not jobs.look(home, job).is_active:
            raise Refused("This job has ended already.", "`ops-console jobs` says how.")
        jobs.cancel(home, job)
        asked = jobs.get(home, job)
        told = f"{asked.kind}, {job}"
        note(home, "cancel", asked.target, told)
        ends = time.monotonic() + _HEEDED_SECONDS
        while jobs.look(home, job).is_active and time.monotonic() < ends:
            look_after(home)
            time.sleep(_LOOK_SECONDS)
        look_after(home)
        found = jobs.look(home, job)
        told = (found.error or {}).get("error", "")
        if found.is_active:
            told = "It is at a step that must not be broken off, and stops or ends after that."
        tell(as_json, found.as_dict(), f"{found.state.value.capitalize()}. {told}".strip())
        sys.exit(0 if found.state is jobs.State.CANCELLED else 1)


@click.command()
def worker() -> None:
    """Do the jobs that consoles put into the queue (OPS_QUEUE=redis), until told to stop."""
    with answering(False):
        from ops.recovery import settle_all
        from ops.settings import Queue

        home = console()
        if home.settings.queue is not Queue.REDIS:
            raise SettingsError("There is no queue: OPS_QUEUE is not redis.")
        from ops.jobs import queue

        logging.getLogger("ops.jobs").setLevel(logging.WARNING)  # a worker has no other page
        logging.getLogger("ops.jobs.queue").setLevel(logging.INFO)
        settle_all(home)
        click.echo("The worker is ready.")
        sys.stdout.flush()
        queue.work(home)


COMMANDS: Final = (list_jobs, cancel, worker)

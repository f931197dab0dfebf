"""What there is to say about a target's backups and their schedule, as findings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from ops import jobs
from ops.catalog import Catalog, CatalogEntry, EntryState
from ops.checks.backups import BackupFact, backup_findings
from ops.checks.backups_schedule import RunFact, ScheduleFact, Upkeep
from ops.checks.base import Finding
from ops.errors import OpsError
from ops.installation import Installation
from ops.jobs import State
from ops.runs import Run, RunState, recent_runs
from ops.schedule import Routine, Schedule, schedule_of
from ops.target import Target

_RUNS: Final = 40
_JOBS: Final = 60


def findings_about_backups(
    home: Installation, target: Target, entries: Sequence[CatalogEntry]
) -> list[Finding]:
    """Every check of backups; `entries` are all of the target's catalog."""
    now = datetime.now(UTC)
    schedule, unreadable = None, ""
    try:
        schedule = schedule_of(home, target.name)
    except OpsError as error:
        unreadable = f"{error} {error.detail}"
    upkeep = Upkeep(
        _schedule(schedule, now) if schedule else None,
        runs=[_run(run) for run in recent_runs(home, target.name, limit=_RUNS)],
        seconds=_seconds_of_backups(home, target),
        missing=Catalog(home.folder, target.name).missing(),
        free_bytes=home.folder.free_bytes(),
        unreadable=unreadable,
    )
    kept = [_fact(entry) for entry in entries if entry.state is not EntryState.FOREIGN]
    return backup_findings(kept, now, upkeep=upkeep)


def _schedule(schedule: Schedule, now: datetime) -> ScheduleFact:
    timetable = schedule.plan.timetables()[Routine.BACKUP]
    words = f"{timetable.in_words()} ({timetable.zone})"
    return ScheduleFact(schedule.plan.is_on, words, timetable.longest_gap(now).total_seconds())


def _run(run: Run) -> RunFact:
    waits = run.state is RunState.WAITING
    return RunFact(
        run.kind.value,
        run.due_at,
        run.state.value,
        run.tries,
        (run.error or {}).get("error", ""),
        datetime.fromtimestamp(run.next_try, UTC) if waits else None,
    )


def _seconds_of_backups(home: Installation, target: Target) -> list[float]:
    found = jobs.recent(home, target.name, limit=_JOBS)
    done = [job for job in found if job.kind == "backup" and job.state is State.DONE]
    return [job.ended - job.started for job in done if job.ended and job.started]


def _fact(entry: CatalogEntry) -> BackupFact:
    failure, tested = entry.failure, entry.tested
    passed = [proof.at for proof in (tested, entry.checked) if proof and proof.passed]
    return BackupFact(
        entry.created_at,
        entry.size_bytes,
        entry.is_good,
        entry.name,
        failure.problem if failure else "",
        tested.at if tested and tested.passed else None,
        max(passed, default=None),
        entry.made_here,
        entry.is_note_lost,
    )

"""Figures about everything that is looked after, in the text form that Prometheus reads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ops import jobs
from ops.catalog import Catalog
from ops.checks.backups_schedule import is_ahead
from ops.checks.base import HealthReport, Level
from ops.checkup import own_reports_of, score_of
from ops.dialects import dialect_of
from ops.errors import OpsError
from ops.health import redis_health_of
from ops.health_settings import REDIS
from ops.installation import Installation
from ops.jobs import Job, State
from ops.target import Target

log = logging.getLogger(__name__)

CACHED_SECONDS: Final = 15
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_JOBS_LOOKED_AT: Final = 200

LEVELS: Final = {Level.GOOD: 0, Level.INFO: 0, Level.SOON: 1, Level.NOW: 2, Level.UNKNOWN: 3}
"""0 good, 1 look soon, 2 act now, 3 could not check."""


class Metrics:
    """The figures, at most 15 seconds old: however often they are asked for, the databases are
    asked once in that time. Deep checks are not asked; what they last found is told."""

    def __init__(self, home: Installation) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._made_at = float("-inf")
        self._text = b""

    def text(self) -> bytes:
        """The figures as Prometheus reads them."""
        with self._lock:
            if time.monotonic() - self._made_at > CACHED_SECONDS:
                registry = CollectorRegistry(auto_describe=False)
                registry.register(_Figures(self._home))
                self._text = generate_latest(registry)
                self._made_at = time.monotonic()
            return self._text


class _Figures(Collector):
    """Collects all figures once."""

    def __init__(self, home: Installation) -> None:
        self._home = home

    def describe(self) -> list[Metric]:
        """Nothing: what there is shows only when it is collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every figure of every target."""
        told = _Families()
        for target in self._home.targets:
            _health(told, self._home, target)
            _backups(told, self._home, target)
            _size(told, target)
            _jobs(told, self._home, target)
        redis = redis_health_of(self._home)
        if redis is not None:
            _levels(told, REDIS, redis)
        yield from told.families


class _Families:
    """The families of figures, each with what it means."""

    def __init__(self) -> None:
        def family(name: str, told: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"ops_{name}", told, labels=["target", *labels])

        self.level = family(
            "health_level", "0 good, 1 look soon, 2 act now, 3 could not check.", "check"
        )
        self.aside = family("health_put_aside", "1 where a finding was put aside.", "check")
        self.score = family("health_score", "0 to 100.")
        self.age = family("backup_age_seconds", "Age of the newest good backup.")
        self.tested = family("backup_test_age_seconds", "Time since a test restore passed.")
        self.backups = family("backups", "Kept backups that are good.")
        self.backup_bytes = family("backup_size_bytes", "Size of the newest good backup.")
        self.bytes = family("database_size_bytes", "Size of the database.")
        self.duration = family("job_duration_seconds", "How long the last job took.", "kind")
        self.outcome = family("job_last_success", "1 where the last job was done.", "kind")
        self.ended = family("job_last_end_timestamp_seconds", "When the last job ended.", "kind")

    @property
    def families(self) -> tuple[GaugeMetricFamily, ...]:
        """All of them, in a fixed order."""
        return tuple(vars(self).values())


def _health(told: _Families, home: Installation, target: Target) -> None:
    reports = own_reports_of(home, target.name)
    for report in reports:
        _levels(told, target.name, report)
    findings = [finding for report in reports for finding in report.findings]
    told.score.add_metric([target.name], score_of(findings))


def _levels(told: _Families, name: str, report: HealthReport) -> None:
    for finding in report.findings:
        level = LEVELS[finding.level] if finding.looked_at else LEVELS[Level.UNKNOWN]
        told.level.add_metric([name, finding.id], level)
        told.aside.add_metric([name, finding.id], int(finding.aside is not None))


def _backups(told: _Families, home: Installation, target: Target) -> None:
    good = [entry for entry in Catalog(home.folder, target.name).entries() if entry.is_good]
    told.backups.add_metric([target.name], len(good))
    if good:
        now = datetime.now(UTC)
        dated = [entry for entry in good if not is_ahead(entry.created_at, now)]
        newest = max(dated or good, key=lambda entry: entry.created_at)
        told.age.add_metric([target.name], max(0, time.time() - newest.created_at.timestamp()))
        told.backup_bytes.add_metric([target.name], newest.size_bytes)
    passed = [entry.tested.at for entry in good if entry.tested and entry.tested.passed]
    if passed:
        told.tested.add_metric([target.name], max(0, time.time() - max(passed).timestamp()))


def _size(told: _Families, target: Target) -> None:
    """A database that does not answer has no size; that it does not, its checks tell."""
    try:
        size = dialect_of(target.engine).facts(target.engine).size_bytes
    except OpsError as error:
        log.info("No size of %s: %s", target.name, error)
        return
    told.bytes.add_metric([target.name], size)


def _jobs(told: _Families, home: Installation, target: Target) -> None:
    """The last one of each kind that has ended."""
    last: dict[str, Job] = {}
    for job in jobs.recent(home, target.name, limit=_JOBS_LOOKED_AT):
        if not job.is_active:
            last.setdefault(job.kind, job)
    for kind, job in last.items():
        labels, ended = [target.name, kind], job.ended or job.created
        told.duration.add_metric(labels, max(0, ended - (job.started or ended)))
        told.outcome.add_metric(labels, int(job.state is State.DONE))
        told.ended.add_metric(labels, ended)

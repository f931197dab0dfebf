"""All findings about one target, whoever they come from."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from ops.catalog import Catalog, CatalogEntry, EntryState
from ops.checks.alerts import alert_findings
from ops.checks.backups import BackupFact, backup_findings
from ops.checks.base import Finding
from ops.checks.outlook import outlook_findings
from ops.health import get_health_report, get_redis_report
from ops.installation import Installation
from ops.notify import HEARTBEAT, standing_of
from ops.samples import CONSOLE, FREE_DISK, samples_of
from ops.target import Target
from ops.trends import DAY, WINDOW_DAYS


def findings_of(home: Installation, target: Target) -> list[Finding]:
    """What there is to say about the database, its backups and the disks."""
    report = get_health_report(target.engine)
    return [*report.findings, *backups_of(home, target), *outlook_of(home, target)]


def redis_findings(home: Installation) -> list[Finding]:
    """What there is to say about Redis; nothing where none is set."""
    url = home.settings.redis_url
    return [] if url is None else list(get_redis_report(url.get_secret_value()).findings)


def backups_of(home: Installation, target: Target) -> list[Finding]:
    """What there is to say about the kept archives."""
    entries = Catalog(home.folder, target.name).entries()
    facts = [_fact(entry) for entry in entries if entry.state is not EntryState.FOREIGN]
    return backup_findings(facts, datetime.now(UTC))


def outlook_of(home: Installation, target: Target) -> list[Finding]:
    """When the disks will be full."""
    now = time.time()
    since = now - WINDOW_DAYS * DAY
    database = samples_of(home.store, target.name, FREE_DISK, since=since)
    backups = samples_of(home.store, CONSOLE, FREE_DISK, since=since)
    return outlook_findings(database, backups, now)


def alerts_of(home: Installation) -> list[Finding]:
    """Whether messages arrive, and whether the watchdog hears of backups."""
    return alert_findings(standing_of(home), standing_of(home, HEARTBEAT), time.time())


def _fact(entry: CatalogEntry) -> BackupFact:
    failure, tested = entry.failure, entry.tested
    return BackupFact(
        entry.created_at,
        entry.size_bytes,
        entry.manifest is not None and failure is None,
        entry.name,
        failure.problem if failure else "",
        tested.at if tested and tested.passed else None,
    )

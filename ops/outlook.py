"""What is to come, and who will hear of it, as findings: full disks, and messages that arrive."""

from __future__ import annotations

import time

from ops.checks.alerts import alert_findings
from ops.checks.base import Finding
from ops.checks.outlook import outlook_findings
from ops.installation import Installation
from ops.notify import HEARTBEAT, standing_of
from ops.samples import CONSOLE, FREE_DISK, samples_of
from ops.target import Target
from ops.trends import DAY, WINDOW_DAYS


def findings_about_disks(home: Installation, target: Target) -> list[Finding]:
    """When the disks of the database and of the backups will be full."""
    now = time.time()
    since = now - WINDOW_DAYS * DAY
    database = samples_of(home.store, target.name, FREE_DISK, since=since)
    backups = samples_of(home.store, CONSOLE, FREE_DISK, since=since)
    return outlook_findings(database, backups, now)


def findings_about_messages(home: Installation) -> list[Finding]:
    """Whether messages arrive, and whether the watchdog hears of backups."""
    return alert_findings(standing_of(home), standing_of(home, HEARTBEAT), time.time())

"""Everything about the health of one target: its database, its backups, what is to come, and the
Redis beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ops.backup_health import findings_about_backups
from ops.catalog import Catalog
from ops.checks.base import Finding, HealthReport, Level
from ops.health import health_of, redis_health_of, report_about, report_of
from ops.installation import Installation
from ops.outlook import findings_about_disks, findings_about_messages

_COSTS: Final = {Level.NOW: (40, 100), Level.SOON: (8, 40), Level.UNKNOWN: (3, 15)}
"""Points that each finding of a level takes away, and how many all of them may take."""


@dataclass(frozen=True)
class Checkup:
    """Everything there is to say about a target: its database, its backups, what is to come and
    who will hear of it, and the Redis beside it (None where none is set)."""

    database: HealthReport
    backups: HealthReport
    outlook: HealthReport
    redis: HealthReport | None

    @property
    def reports(self) -> tuple[HealthReport, ...]:
        """The parts, in the order in which they are told."""
        parts = (self.database, self.backups, self.outlook, self.redis)
        return tuple(part for part in parts if part)

    @property
    def whole(self) -> HealthReport:
        """All findings together, the worst as the headline."""
        findings = [finding for part in self.reports for finding in part.findings]
        return report_of(self.database.backend, findings, {})

    @property
    def score(self) -> int:
        """0 to 100. It says less than the headline, and stands behind it."""
        return score_of(self.whole.findings)

    def as_dict(self) -> dict[str, Any]:
        """The checkup as plain JSON types."""
        whole = self.whole
        return {
            "status": whole.status.value,
            "headline": whole.headline,
            "score": self.score,
            "reports": [report.as_dict() for report in self.reports],
        }


def checkup_of(home: Installation, name: str | None = None) -> Checkup:
    """Look at everything about a target. Raises Refused: there is none of that name."""
    return Checkup(*own_reports_of(home, name), redis_health_of(home))


def own_reports_of(
    home: Installation, name: str | None = None
) -> tuple[HealthReport, HealthReport, HealthReport]:
    """The parts of a checkup that are about this target alone: its database, its backups, what
    is to come. Raises Refused: there is none of that name."""
    return health_of(home, name), backups_health_of(home, name), outlook_health_of(home, name)


def backups_health_of(home: Installation, name: str | None = None) -> HealthReport:
    """What there is to say about the kept archives of a target."""
    target = home.target(name)
    entries = Catalog(home.folder, target.name).entries()
    found = findings_about_backups(home, target, entries)
    return report_about(home, target.name, "backups", found, {"backups": len(entries)})


def outlook_health_of(home: Installation, name: str | None = None) -> HealthReport:
    """When the disks will be full, and whether anybody is told when something breaks."""
    target = home.target(name)
    found = [*findings_about_disks(home, target), *findings_about_messages(home)]
    return report_about(home, target.name, "outlook", found, {})


def score_of(findings: Iterable[Finding]) -> int:
    """100 less what each finding costs: 40 for one to act on now, 8 soon, 3 for what could not
    be checked. What was put aside costs nothing."""
    counting = [finding for finding in findings if finding.aside is None]
    lost = sum(
        min(most, each * sum(finding.level is level for finding in counting))
        for level, (each, most) in _COSTS.items()
    )
    return max(0, 100 - lost)

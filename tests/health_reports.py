"""What the tests of all health reports share: the shape, and finding one finding."""

from __future__ import annotations

import json

from ops.checks.base import URGENCY, Finding, HealthReport, Level, Status

FINDING_KEYS = {
    *("id", "title", "level", "sentence", "why", "fix"),
    *("technical", "value", "looked_at", "remedy", "subjects", "checked_at", "since", "aside"),
}
STATUS_OF = {
    Level.NOW: Status.UNHEALTHY,
    Level.SOON: Status.DEGRADED,
    Level.UNKNOWN: Status.UNKNOWN,
    Level.INFO: Status.HEALTHY,
    Level.GOOD: Status.HEALTHY,
}


def finding(report: HealthReport, id: str) -> Finding:
    """The one finding with this id."""
    (found,) = [finding for finding in report.findings if finding.id == id]
    return found


def alarms(report: HealthReport) -> list[str]:
    """The sentences that ask for something."""
    calm = (Level.GOOD, Level.INFO)
    return [finding.sentence for finding in report.findings if finding.level not in calm]


def assert_has_the_shape(report: HealthReport, backend: str) -> None:
    """Every report looks alike, whatever it is about."""
    document = json.loads(json.dumps(report.as_dict()))
    assert set(document) == {"status", "backend", "headline", "details", "findings"}
    assert document["backend"] == backend
    assert document["headline"]
    assert document["findings"]
    assert all(set(entry) == FINDING_KEYS for entry in document["findings"])
    urgencies = [URGENCY[finding.level] for finding in report.findings]
    assert urgencies == sorted(urgencies)
    assert report.status is STATUS_OF[report.findings[0].level]
    ids = [finding.id for finding in report.findings]
    assert len(ids) == len(set(ids))
    for one in report.findings:
        assert one.title
        assert one.sentence.endswith("."), one.sentence
        assert "{" not in one.sentence + one.fix, one
        if one.level in (Level.NOW, Level.SOON):
            assert one.why, one.id
            assert one.fix, one.id

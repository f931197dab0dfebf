"""A health report to hand to someone: a page that needs nothing else, a PDF, or JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from ops.checks.base import Finding, Level
from ops.checkup import Checkup, checkup_of
from ops.dialects import dialect_of
from ops.installation import Installation

PARTS: Final = {"backups": "Backups", "outlook": "Outlook", "redis": "Redis"}
_URGENCY_WORDS: Final = {
    Level.NOW: "Act now",
    Level.SOON: "Look at this soon",
    Level.UNKNOWN: "Could not check",
    Level.INFO: "Good to know",
    Level.GOOD: "Fine",
}


class Format(StrEnum):
    """What a report can be; the value is the ending of its file's name."""

    HTML = "html"
    PDF = "pdf"
    JSON = "json"

    @property
    def media_type(self) -> str:
        """The type as the web calls it."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES: Final = {
    Format.HTML: "text/html; charset=utf-8",
    Format.PDF: "application/pdf",
    Format.JSON: "application/json",
}


@dataclass(frozen=True)
class Report:
    """A checkup with what it is about. `made_at` carries its time zone."""

    database: str
    kind: str
    made_at: datetime
    checkup: Checkup

    @property
    def findings(self) -> list[tuple[str, Finding]]:
        """(part, finding) of what asks for something, the worst first; what was put aside last."""
        names = {
            finding.id: PARTS.get(report.backend, "Database")
            for report in self.checkup.reports
            for finding in report.findings
        }
        return [
            (names[finding.id], finding)
            for finding in self.checkup.whole.findings
            if finding.level not in (Level.GOOD, Level.INFO) or not finding.looked_at
        ]

    @property
    def quiet(self) -> list[Finding]:
        """What was looked at and asks for nothing."""
        loud = {finding.id for _, finding in self.findings}
        return [finding for finding in self.checkup.whole.findings if finding.id not in loud]

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        return {
            "database": self.database,
            "kind": self.kind,
            "made_at": self.made_at.isoformat(),
            **self.checkup.as_dict(),
        }

    def file_name(self, format: Format) -> str:
        """A name that says what it is, such as `health-2026-11-25.pdf`."""
        return f"health-{self.made_at:%Y-%m-%d}.{format.value}"


def make_report(home: Installation, name: str | None = None) -> Report:
    """Look at everything about a target now. Raises Refused: there is none of that name."""
    target = home.target(name)
    dialect = dialect_of(target.engine)
    return Report(
        database=dialect.database_name(target.engine),
        kind=dialect.title,
        made_at=datetime.now(UTC),
        checkup=checkup_of(home, target.name),
    )


def rendered(report: Report, format: Format) -> bytes:
    """The report as the content of a file."""
    if format is Format.JSON:
        return json.dumps(report.as_dict(), indent=2, default=str).encode()
    if format is Format.HTML:
        from ops.report.html import as_html

        return as_html(report).encode(errors="replace")
    from ops.report.pdf import as_pdf

    return as_pdf(report)


def urgency_of(finding: Finding) -> str:
    """How urgent a finding is, in words."""
    return _URGENCY_WORDS[finding.level] if finding.looked_at else "Not looked at"


def lines_of(finding: Finding) -> list[tuple[str, str]]:
    """What is told about a finding below its sentence: (what it is, the text)."""
    told = [("Why it matters", finding.why), ("What to do", finding.fix)]
    if finding.aside is not None:
        until = datetime.fromtimestamp(finding.aside.until, UTC)
        told.append(
            (f"Put aside until {until:%d %B %Y} by {finding.aside.who}", finding.aside.reason)
        )
    return [(name, text) for name, text in told if text]

"""`ops-console health`: how the database is, its backups, and the Redis beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from console.cli.terminal import answering, options, tell
from console.context import console
from ops.checks.base import HealthReport, Status
from ops.errors import Refused, Unavailable

HEALTH_EXIT = {
    Status.HEALTHY: 0,
    Status.DEGRADED: 1,
    Status.UNHEALTHY: 2,
    Status.UNKNOWN: 3,
}
_WORST_FIRST = (Status.UNHEALTHY, Status.UNKNOWN, Status.DEGRADED, Status.HEALTHY)


@click.command()
@options
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report to hand to someone to this file: .html, .pdf or .json.",
)
def health(target: str | None, as_json: bool, report: Path | None) -> None:
    """Say how the database, its backups, and Redis where it is set, are doing."""
    with answering(as_json):
        from ops.checkup import checkup_of

        reports = checkup_of(console(), target).reports
        worst = next(s for s in _WORST_FIRST if any(r.status is s for r in reports))
        document = {"status": worst.value, "reports": [r.as_dict() for r in reports]}
        tell(as_json, document, "\n".join(_health_lines(reports)))
        if report is not None:
            _write_report(target, report)
        sys.exit(HEALTH_EXIT[worst])


def _write_report(target: str | None, path: Path) -> None:
    """Raises OpsError: the file cannot be written, or its ending tells no format."""
    from ops.report import Format, make_report, rendered

    endings = [format.value for format in Format]
    if path.suffix.removeprefix(".").lower() not in endings:
        raise Refused(
            f"{path.name} does not end like a report.", f"End it with .{', .'.join(endings)}."
        )
    content = rendered(make_report(console(), target), Format(path.suffix[1:].lower()))
    try:
        path.write_bytes(content)
    except OSError as cause:
        raise Unavailable(
            f"The report could not be written to {path}.", "Choose another file.", str(cause)
        ) from cause


def _health_lines(reports: Sequence[HealthReport]) -> Iterator[str]:
    for report in reports:
        yield f"{report.backend}: {report.status.value}. {report.headline}"
        for finding in report.findings:
            if finding.level.value not in ("good", "info") or not finding.looked_at:
                yield f"  [{finding.level.value}] {finding.sentence} {finding.fix}".rstrip()


COMMANDS: Final = (health,)

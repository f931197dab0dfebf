"""The deep questions about health: those that read a whole database, asked by a job."""

from __future__ import annotations

from ops.checks.base import Finding
from ops.dialects import dialect_of
from ops.dialects.base import Replacement
from ops.progress import SILENT, Progress
from ops.target import Target


def look_deep(
    target: Target, *, staged: Replacement | None = None, progress: Progress = SILENT
) -> tuple[Finding, ...]:
    """Ask every deep check of `target`, or of a `staged` copy of it, which spares the live
    database. What cannot be told from where it looked is left out.

    Raises:
        Unavailable: the database does not answer.
        Cancelled: between two checks.
    """
    dialect = dialect_of(target.engine)
    checks = [check for check in dialect.checks() if check.deep]
    found = []
    with dialect.health_context(target.engine, staged=staged, deep=True) as context:
        for number, check in enumerate(checks):
            if check.versions.hold_for(context.version):
                progress.report(number, len(checks), check.title)
                found.append(check.answer(context))
    return tuple(finding for finding in found if finding.looked_at)

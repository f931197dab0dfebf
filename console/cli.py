"""The command `ops-console`.

Results go to stdout; with --json as one JSON document and nothing else. Progress goes to
stderr, and only to a terminal. Exit status: 0 done, 1 not done, 2 wrong usage;
`health` follows the monitoring plugins: 0 healthy, 1 degraded, 2 unhealthy, 3 unknown.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click

from console.cli_jobs import COMMANDS
from console.context import console
from console.schedule_command import decision_lines, schedule
from console.terminal import (
    Terminal,
    answering,
    difference_lines,
    json_option,
    note,
    options,
    tell,
    user,
)
from ops.activity import COMMAND_LINE
from ops.aftermath import ASKED_FROM
from ops.checks.base import HealthReport, Status
from ops.errors import Cancelled, NotConfirmed, Refused, Unavailable
from ops.proof import Prove
from ops.target import Target

HEALTH_EXIT = {
    Status.HEALTHY: 0,
    Status.DEGRADED: 1,
    Status.UNHEALTHY: 2,
    Status.UNKNOWN: 3,
}
_WORST_FIRST = (Status.UNHEALTHY, Status.UNKNOWN, Status.DEGRADED, Status.HEALTHY)


def _run_job(kind: str, target: Target, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Do the work here, as the same job that a page would start.

    Ctrl-C asks it to stop at its next report; an exception out of nowhere could be lost in a
    library. A second Ctrl-C breaks it off.
    """
    from ops import jobs

    def stop(_signal: int, _frame: FrameType | None) -> None:
        jobs.stop_asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    home, shown = console(), Terminal()
    asked = {**params, ASKED_FROM: COMMAND_LINE}
    job_id = jobs.create(home, kind, target.name, user(), asked)
    signal.signal(signal.SIGINT, stop)
    try:
        return jobs.execute(home, job_id, shown)
    except KeyboardInterrupt:
        raise Cancelled from None
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        shown.close()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ops-console")
def main() -> None:
    """Look after a SQLite or PostgreSQL database, and the Redis beside it."""
    os.umask(0o077)  # what the console writes is for its own user only
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("ops.jobs").setLevel(logging.CRITICAL)  # its errors are answered below


@main.command()
@click.option("--host", help="Address to listen on (OPS_HOST).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (OPS_PORT).")
def serve(host: str | None, port: int | None) -> None:
    """Start the web console."""
    with answering(False):
        from console.web.serve import serve as run

        run(console(), host=host, port=port)


@main.command("link")
def link() -> None:
    """Print a link that signs in once, for who has lost the password."""
    with answering(False):
        from console.accounts import make_sign_in_link_token

        settings = console().settings
        token = make_sign_in_link_token()
        note(console(), "link")
        click.echo(f"http://{settings.host}:{settings.port}/login?token={token}")


@main.command()
@options
@click.option("--label", default="", help="What to call this backup.")
@click.option(
    "--prove",
    type=click.Choice([choice.value for choice in Prove]),
    help="How to try it: none, quick (read back) or full (a test restore); OPS_PROVE_BACKUPS.",
)
@click.option(
    "--checksums/--no-checksums",
    default=None,
    help="Keep checksums of every table's content, which takes longer (OPS_CHECKSUMS).",
)
def backup(
    target: str | None, as_json: bool, label: str, prove: str | None, checksums: bool | None
) -> None:
    """Make a backup and print the archive's path."""
    with answering(as_json):
        asked = {"label": label, "prove": prove, "checksums": checksums}
        params = {name: value for name, value in asked.items() if value is not None}
        made = _run_job("backup", console().target(target), params)
        tell(as_json, made, made["archive"])
        if "proof" not in made:
            return
        if not as_json:
            click.echo("\n".join([*made["notes"], *_proof_lines(made["proof"])]), err=True)
        sys.exit(0 if made["proof"] and made["proof"]["ok"] else 1)


def _proof_lines(proof: Mapping[str, Any] | None) -> Iterator[str]:
    """What a test restore found, and each table that differs."""
    if proof is None:
        return
    if proof["ok"] and proof["full"]:
        yield f"Brought back as a test: {_exact(proof['comparison'])}."
        return
    if proof["ok"]:
        yield (
            f"Read to its end: {_exact(proof['comparison'])}. It was not brought to life: the "
            "console's user may not create databases."
        )
        return
    yield f"{'Could not be brought back' if proof['full'] else 'Not usable'}: {proof['problem']}"
    yield from (proof["detail"] or "").splitlines()


def _exact(comparison: list[Mapping[str, Any]]) -> str:
    if not comparison:
        return "it holds nothing to compare it with"
    every_value = ", every value" if all(table["content"] for table in comparison) else ""
    return f"{len(comparison):,} of {len(comparison):,} tables exact{every_value}"


@main.command()
@options
@click.argument("archive")
@click.option("--yes", is_flag=True, help="Replace the live database without asking.")
@click.option(
    "--trust-foreign", is_flag=True, help="Also restore a backup that this console did not make."
)
@click.option(
    "--beside", is_flag=True, help="Leave the live database; make a new one beside it to look at."
)
def restore(
    target: str | None, as_json: bool, archive: str, yes: bool, trust_foreign: bool, beside: bool
) -> None:
    """Put ARCHIVE (a path, or a name from `list`) in the place of the live database."""
    with answering(as_json):
        chosen = console().target(target)
        path = _find_archive(chosen, archive)
        params = {"archive": str(path.absolute()), "trust_foreign": trust_foreign}
        if beside:
            made = _run_job("beside", chosen, params)
            text = f"The backup stands beside the database, until {made['until']}, at:"
            tell(as_json, made, "\n".join([text, made["address"], *made["notes"]]))
            return
        _confirm(chosen, f"replace the database with {path.name}", yes)
        done = _run_job("restore", chosen, params)
        way_back = "Undo it with: ops-console undo" if done["undo"] else "It cannot be undone."
        tell(as_json, done, "\n".join(["Restored.", *done["notes"], way_back]))


@main.command()
@options
@click.argument("archive")
@click.option(
    "--trust-foreign", is_flag=True, help="Also read a backup that this console did not make."
)
def compare(target: str | None, as_json: bool, archive: str, trust_foreign: bool) -> None:
    """Say, row by row, what restoring ARCHIVE would change. Changes nothing."""
    with answering(as_json):
        chosen = console().target(target)
        path = _find_archive(chosen, archive)
        params = {"archive": str(path.absolute()), "trust_foreign": trust_foreign}
        found = _run_job("compare", chosen, params)
        tell(as_json, found, "\n".join(difference_lines(found["tables"])))


@main.command()
@options
@click.option("--yes", is_flag=True, help="Do not ask.")
def undo(target: str | None, as_json: bool, yes: bool) -> None:
    """Put back the database as it was before the last restore."""
    with answering(as_json):
        chosen = console().target(target)
        _confirm(chosen, "undo the last restore", yes)
        done = _run_job("undo", chosen, {})
        tell(as_json, done, "Undone. `ops-console undo` again brings the restored one back.")


@main.command()
@options
@click.argument("archive")
@click.option("--full", is_flag=True, help="Bring it back beside the live database, as a test.")
@click.option(
    "--trust-foreign", is_flag=True, help="Also bring back one that this console did not make."
)
def verify(
    target: str | None, as_json: bool, archive: str, full: bool, trust_foreign: bool
) -> None:
    """Read ARCHIVE (a path, or a name from `list`) and compare it with its manifest."""
    with answering(as_json):
        from ops.verify import verify_archive

        chosen = console().target(target)
        path = _find_archive(chosen, archive)
        if full:
            params = {"archive": str(path.absolute()), "trust_foreign": trust_foreign}
            proof = _run_job("test", chosen, params)
            tell(as_json, proof, "\n".join(_proof_lines(proof)))
            sys.exit(0 if proof["ok"] else 1)
        shown = Terminal()
        result = verify_archive(path, progress=shown)
        shown.close()
        good = "Whole." if result.has_proof else "Whole, but it carries no checksum of its own."
        text = good if result.ok else f"Not usable: {result.problem}"
        tell(as_json, result.as_dict(), text)
        sys.exit(0 if result.ok else 1)


@main.command("list")
@options
def list_(target: str | None, as_json: bool) -> None:
    """List the backups, newest first."""
    with answering(as_json):
        from ops.catalog import Catalog

        entries = Catalog(console().folder, console().target(target).name).entries()
        lines = [
            f"{e.created_at:%Y-%m-%d %H:%M} UTC  {e.size_bytes:>14,}  {e.name}  "
            f"{e.problem or e.label}".rstrip()
            for e in entries
        ]
        tell(as_json, [e.as_dict() for e in entries], "\n".join(lines) or "No backups yet.")


main.add_command(schedule)


@main.command()
@options
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(target: str | None, as_json: bool, dry_run: bool, yes: bool) -> None:
    """Delete the backups that the schedule does not keep, and say why each other one stays."""
    with answering(as_json):
        from ops.prune import look_ahead
        from ops.schedule import Plan, schedule_of

        home, chosen = console(), console().target(target)
        found = schedule_of(home, chosen.name)
        planned = look_ahead(chosen, home.folder, found.plan if found else Plan()).as_dict()
        if dry_run or (found and not planned["deleted"]):
            tell(as_json, planned, "\n".join(decision_lines(planned)))
            return
        if found:
            _confirm(chosen, f"delete {len(planned['deleted'])} old backups", yes)
        done = _run_job("prune", chosen, {})
        tell(as_json, done, "\n".join(decision_lines(done)))


@main.command()
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


@main.command()
@json_option
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option("--search", default="", metavar="WORDS", help="Only lines with all these words.")
def activity(as_json: bool, limit: int, search: str) -> None:
    """Say who did what, newest first."""
    with answering(as_json):
        from ops.activity import Filter, entries
        from ops.activity.words import sentence

        found = entries(console(), Filter(text=search), limit=limit)
        lines = [
            f"{datetime.fromtimestamp(e.at, UTC):%Y-%m-%d %H:%M:%S} UTC  {e.who} ({e.where}) "
            f"{sentence(e, '{:%Y-%m-%d %H:%M UTC}'.format)}{f': {e.detail}' if e.detail else ''}"
            for e in found
        ]
        tell(as_json, [e.as_dict() for e in found], "\n".join(lines) or "Nothing yet.")


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


def _find_archive(target: Target, archive: str) -> Path:
    from ops.catalog import Catalog

    path = Path(archive)
    return path if path.is_file() else Catalog(console().folder, target.name).entry(archive).path


def _confirm(target: Target, what: str, yes: bool) -> None:
    """Ask for the database's name, unless --yes was given."""
    if yes:
        return
    from ops.dialects import dialect_of

    name = dialect_of(target.engine).database_name(target.engine)
    if not sys.stdin.isatty():
        raise NotConfirmed(f"This would {what}.", "Add --yes to do it without being asked.")
    told = click.prompt(f"This will {what}. Type the database's name ({name}) to go on", err=True)
    if told != name:
        raise NotConfirmed("The name was not the database's.", "Type it exactly.")


for _command in COMMANDS:
    main.add_command(_command)


if __name__ == "__main__":
    main()

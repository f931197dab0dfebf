"""`ops-console schedule` (showing it, setting it, on and off) and `prune`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from console.cli.terminal import answering, note, options, tell, user
from console.cli.work import confirm, run_job
from console.context import console
from ops.errors import Refused
from ops.installation import Installation
from ops.retention import Policy
from ops.schedule import NAMES, Plan, Schedule, plan_from, save_plan, schedule_of

_ORDINALS = ("daily", "weekly", "monthly")


@click.group(invoke_without_command=True)
@options
@click.pass_context
def schedule(context: click.Context, target: str | None, as_json: bool) -> None:
    """Show when backups are made by themselves, and how many are kept."""
    if context.invoked_subcommand is None:
        with answering(as_json):
            _show(console().target(target).name, as_json)
    elif target is not None or as_json:
        raise click.UsageError(f"Options belong behind `{context.invoked_subcommand}`.")


@schedule.command("set")
@options
@click.option("--at", "at_time", metavar="HH:MM", help="Every day at this time; else 03:00.")
@click.option("--cron", metavar="LINE", help="Instead of --at: a cron line of five fields.")
@click.option("--zone", metavar="NAME", help="Time zone, like Europe/Berlin; else as it is, UTC.")
@click.option("--keep", metavar="D,W,M", help="How many daily, weekly, monthly ones; else 7,4,3.")
@click.option("--make-up/--no-make-up", default=None, help="Make up a run that was missed.")
def set_(
    target: str | None,
    as_json: bool,
    at_time: str | None,
    cron: str | None,
    zone: str | None,
    keep: str | None,
    make_up: bool | None,
) -> None:
    """Have backups made by themselves; what is not given stays as it is."""
    with answering(as_json):
        home, name = console(), console().target(target).name
        former = schedule_of(home, name)
        base = former.plan if former else Plan()
        if at_time is not None and cron is not None:
            raise Refused("--at and --cron cannot stand together.", "Give one of them.")
        asked: dict[str, object | None] = {
            "is_on": True,
            "zone": zone,
            "backup": _daily(at_time) if at_time is not None else cron,
            "makes_up": make_up,
            "keep": None if keep is None else _counts(keep, base.keep),
        }
        changes = {field: value for field, value in asked.items() if value is not None}
        _save(home, name, plan_from(changes, base))
        _show(name, as_json)


@schedule.command()
@options
def off(target: str | None, as_json: bool) -> None:
    """Make no more backups by itself, until `schedule on`."""
    _switch(target, as_json, is_on=False)


@schedule.command()
@options
def on(target: str | None, as_json: bool) -> None:
    """Make backups by itself again, as it was set."""
    _switch(target, as_json, is_on=True)


def _switch(target: str | None, as_json: bool, *, is_on: bool) -> None:
    with answering(as_json):
        home, name = console(), console().target(target).name
        former = schedule_of(home, name)
        if former is None:
            raise Refused("There is no schedule yet.", "Make one: ops-console schedule set")
        _save(home, name, plan_from({"is_on": is_on}, former.plan))
        _show(name, as_json)


def _save(home: Installation, target: str, plan: Plan) -> None:
    save_plan(home, target, plan, user())
    note(home, "schedule", target, plan.in_words())


def _daily(text: str) -> str:
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if found is None:
        raise Refused(f"{text!r} is not a time of day.", "Write it like 03:00.")
    return f"{int(found[2])} {int(found[1])} * * *"


def _counts(text: str, base: Policy) -> dict[str, object]:
    found = re.fullmatch(r"(\d{1,4}),(\d{1,4}),(\d{1,4})", text.replace(" ", ""))
    if found is None:
        raise Refused(
            f"{text!r} does not tell how many backups to keep.",
            "Write three numbers, like 7,4,3 for 7 daily, 4 weekly and 3 monthly ones.",
        )
    return {**base.model_dump(), **dict(zip(_ORDINALS, map(int, found.groups()), strict=True))}


def _show(target: str, as_json: bool) -> None:
    found = schedule_of(console(), target)
    now = datetime.now(UTC)
    runs = found.next_backups(now) if found else []
    document: dict[str, Any] = {
        "target": target,
        "plan": found.plan.model_dump(mode="json") if found else None,
        "next": [run.isoformat() for run in runs],
    }
    tell(as_json, document, "\n".join(_lines(target, found, runs)))


def _lines(target: str, found: Schedule | None, runs: list[datetime]) -> Iterator[str]:
    if found is None:
        yield f"{target}: no backup is made by itself. Start it with: ops-console schedule set"
        return
    plan = found.plan
    off = "" if plan.is_on else " (switched off)"
    for kind, timetable in plan.timetables().items():
        yield f"{target}: {NAMES[kind]} {timetable.in_words()}, {plan.zone}{off}"
    yield f"Kept: {plan.keep.in_words()}."
    if plan.keep.holds_all:
        yield "Nothing is deleted until you say so."
    for run in runs:
        yield f"Next: {run.astimezone(ZoneInfo(plan.zone)):%A %d %b %Y, %H:%M}"


def _decision_lines(pruned: Mapping[str, Any]) -> Iterator[str]:
    """What is deleted and what stays, a line a backup, and the sum of it."""
    for backup in pruned["backups"]:
        done = "keep  " if backup["keep"] else "delete"
        yield f"{done}  {backup['created_at'][:16]}  {backup['name']}  {backup['reason']}"
    yield f"{len(pruned['deleted'])} of {len(pruned['backups'])} backups, {pruned['freed']:,} bytes"


@click.command()
@options
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(target: str | None, as_json: bool, dry_run: bool, yes: bool) -> None:
    """Delete the backups that the schedule does not keep, and say why each other one stays."""
    with answering(as_json):
        from ops.prune import look_ahead

        home, chosen = console(), console().target(target)
        found = schedule_of(home, chosen.name)
        planned = look_ahead(chosen, home.folder, found.plan if found else Plan()).as_dict()
        if dry_run or (found and not planned["deleted"]):
            tell(as_json, planned, "\n".join(_decision_lines(planned)))
            return
        if found:
            confirm(chosen, f"delete {len(planned['deleted'])} old backups", yes)
        done = run_job("prune", chosen, {})
        tell(as_json, done, "\n".join(_decision_lines(done)))
        if done["stuck"]:
            click.echo("Some could not be deleted; the reasons stand beside them.", err=True)
            sys.exit(1)


COMMANDS: Final = (schedule, prune)

"""Doing work on the command line, and asking first."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import click

from console.cli.terminal import Terminal, user
from console.context import console
from ops.activity import COMMAND_LINE
from ops.aftermath import ASKED_FROM
from ops.errors import Cancelled, NotConfirmed
from ops.target import Target


def run_job(kind: str, target: Target, params: Mapping[str, Any]) -> Mapping[str, Any]:
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


def confirm(target: Target, what: str, yes: bool) -> None:
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

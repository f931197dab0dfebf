"""How the command line answers: people on a terminal, and scripts through a pipe."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from ops.activity import COMMAND_LINE, record
from ops.errors import OpsError, Refused, SettingsError
from ops.installation import Installation
from ops.progress import Progress
from ops.settings import load_settings

_DIFFERENCES = (("lost", "rows go"), ("back", "rows come back"), ("changed", "rows change back"))
_PRESENCE = (("exists_after", "the table goes"), ("exists_now", "the table comes back"))


_target_option = click.option("--target", metavar="NAME", help="Which database; else the first.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every command about a database has."""
    return _target_option(json_option(command))


def user() -> str:
    """Who the operating system says is typing."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        return str(os.getuid())


class Terminal(Progress):
    """A progress bar on a terminal, silence in a pipe."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()

    def report(self, done: float, total: float, note: str = "") -> None:
        if self._shows:
            share = done / total if total else 0
            bar = "█" * round(share * 30)
            click.echo(f"\r\033[K{bar:<30} {share:4.0%}  {note}", nl=False, err=True)

    def close(self) -> None:
        """Leave the line that the bar was drawn on."""
        if self._shows:
            click.echo("\r\033[K", nl=False, err=True)


@contextmanager
def answering(as_json: bool) -> Iterator[None]:
    """Turn errors into what people or scripts read, and exit status 1."""
    try:
        yield
    except OpsError as error:
        if as_json:
            click.echo(json.dumps({"error": error.message, "hint": error.hint}))
        else:
            click.echo(f"{error.message}\n{error.hint}".strip(), err=True)
            if error.detail:
                click.echo(f"Details: {error.detail}", err=True)
        sys.exit(1)


def note(home: Installation, what: str, target: str = "", detail: str = "") -> None:
    """A line of activity for what is done here and now."""
    record(home, who=user(), where=COMMAND_LINE, what=what, target=target, detail=detail)


def tell(as_json: bool, document: Any, text: str) -> None:
    """The document for a script, or the text for a person."""
    click.echo(json.dumps(document, indent=2) if as_json else text)


_SAME: Final = "No row and no column of any table would change."


def difference_lines(tables: list[dict[str, Any]]) -> Iterator[str]:
    """What a restore would change, a line a table."""
    changed = 0
    for table in tables:
        told = [f"{table[what]:,} {word}" for what, word in _DIFFERENCES if table[what]]
        told += [word for what, word in _PRESENCE if not table[what]]
        told += [f"column {c} goes" for c in table["columns_lost"]]
        told += [f"column {c} comes back" for c in table["columns_back"]]
        told += [f"column {c} has another type" for c in table["columns_retyped"]]
        if told:
            changed += 1
            yield f"{table['name']}: {', '.join(told)}"
    yield f"{changed} of {len(tables)} tables would change." if changed else _SAME


def refuse_to_leave_files_of_root() -> None:
    """What root writes into the data folder, the console's own user could not read: notes about
    backups, for example, by which it knows which of them never to delete.

    Raises Refused.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return
    try:
        owner = load_settings().data_dir.stat().st_uid
    except (SettingsError, OSError):
        return  # the command itself tells
    if owner != 0:
        raise Refused(
            "This runs as root, but the data folder belongs to another user, for whom the console "
            "could not read what is written now.",
            f"Run it as that user: sudo -u '#{owner}' ops-console …",
        )

"""`ops-console activity`: who did what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

from console.cli.terminal import answering, json_option, tell
from console.context import console


@click.command()
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


COMMANDS: Final = (activity,)

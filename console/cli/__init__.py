"""The command `ops-console`.

Results go to stdout; with --json as one JSON document and nothing else. Progress goes to
stderr, and only to a terminal. Exit status: 0 done, 1 not done, 2 wrong usage;
`health` follows the monitoring plugins: 0 healthy, 1 degraded, 2 unhealthy, 3 unknown.
"""

from __future__ import annotations

import logging
import os

import click

from console.cli import activity, backups, health, jobs, schedule
from console.cli.terminal import answering, note, refuse_to_leave_files_of_root
from console.context import console


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ops-console")
@click.pass_context
def main(context: click.Context) -> None:
    """Look after a SQLite or PostgreSQL database, and the Redis beside it."""
    if context.invoked_subcommand != "serve":
        with answering(False):
            refuse_to_leave_files_of_root()
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


for part in (backups, schedule, jobs, health, activity):
    for command in part.COMMANDS:
        main.add_command(command)

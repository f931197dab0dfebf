"""Backups and restores: `backup`, `restore`, `compare`, `undo`, `verify`, `list`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from console.cli.terminal import Terminal, answering, difference_lines, options, tell
from console.cli.work import confirm, run_job
from console.context import console
from ops.proof import Prove
from ops.target import Target


@click.command()
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
        made = run_job("backup", console().target(target), params)
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


@click.command()
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
            made = run_job("beside", chosen, params)
            text = f"The backup stands beside the database, until {made['until']}, at:"
            tell(as_json, made, "\n".join([text, made["address"], *made["notes"]]))
            return
        confirm(chosen, f"replace the database with {path.name}", yes)
        done = run_job("restore", chosen, params)
        way_back = "Undo it with: ops-console undo" if done["undo"] else "It cannot be undone."
        tell(as_json, done, "\n".join(["Restored.", *done["notes"], way_back]))


@click.command()
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
        found = run_job("compare", chosen, params)
        tell(as_json, found, "\n".join(difference_lines(found["tables"])))


@click.command()
@options
@click.option("--yes", is_flag=True, help="Do not ask.")
def undo(target: str | None, as_json: bool, yes: bool) -> None:
    """Put back the database as it was before the last restore."""
    with answering(as_json):
        chosen = console().target(target)
        confirm(chosen, "undo the last restore", yes)
        done = run_job("undo", chosen, {})
        tell(as_json, done, "Undone. `ops-console undo` again brings the restored one back.")


@click.command()
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
            proof = run_job("test", chosen, params)
            tell(as_json, proof, "\n".join(_proof_lines(proof)))
            sys.exit(0 if proof["ok"] else 1)
        shown = Terminal()
        result = verify_archive(path, progress=shown)
        shown.close()
        good = "Whole." if result.has_proof else "Whole, but it carries no checksum of its own."
        text = good if result.ok else f"Not usable: {result.problem}"
        tell(as_json, result.as_dict(), text)
        sys.exit(0 if result.ok else 1)


@click.command("list")
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


def _find_archive(target: Target, archive: str) -> Path:
    from ops.catalog import Catalog

    path = Path(archive)
    return path if path.is_file() else Catalog(console().folder, target.name).entry(archive).path


COMMANDS: Final = (backup, restore, compare, undo, verify, list_)

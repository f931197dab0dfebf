"""The schedule and retention from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from console.cli import main
from console.context import console
from ops.installation import Installation
from tests.calendars import back_up_daily
from tests.databases import SQLiteDatabase, filled_file
from tests.test_cli import DONE, NOT_DONE, WRONG_USAGE


@pytest.fixture
def live(tmp_path: Path) -> SQLiteDatabase:
    return filled_file(tmp_path, rows=10)


class Command:
    """`ops-console` in this very process: each of its own takes seconds."""

    def run(self, *arguments: str, status: int = DONE) -> str:
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == status, done.output
        return done.output

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def shell(home: Installation) -> Iterator[Command]:
    console.cache_clear()
    yield Command()
    console().store.dispose()
    console.cache_clear()


def test_a_schedule_is_set_shown_and_switched_off(shell: Command) -> None:
    assert shell.json("schedule") == {"target": "live", "plan": None, "next": []}
    asked = ("--at", "04:30", "--zone", "Europe/Berlin", "--keep", "14,8,12")
    made = shell.json("schedule", "set", *asked)
    assert made["plan"]["backup"] == "30 4 * * *"
    assert made["plan"]["zone"] == "Europe/Berlin"
    kept = {name: made["plan"]["keep"][name] for name in ("daily", "weekly", "monthly")}
    assert kept == {"daily": 14, "weekly": 8, "monthly": 12}
    assert len(made["next"]) == 3
    assert shell.json("schedule") == made

    other = shell.json("schedule", "set", "--cron", "0 */6 * * *")
    assert (other["plan"]["backup"], other["plan"]["zone"]) == ("0 */6 * * *", "Europe/Berlin")
    assert "every 6 hours" in shell.run("schedule")
    assert shell.json("schedule", "off")["next"] == []
    assert "switched off" in shell.run("schedule")
    assert len(shell.json("schedule", "on")["next"]) == 3
    lines = shell.json("activity")
    assert [line["what"] for line in lines] == ["schedule"] * 4
    assert "backup every 6 hours" in lines[0]["detail"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--at", "25:00"), "not a time of day"),
        (("--zone", "Berlin"), "no time zone"),
        (("--cron", "0 3 * *"), "five fields"),
        (("--keep", "7,4"), "three numbers"),
        (("--keep", "0,4,3"), "greater than or equal to 1"),
        (("--at", "03:00", "--cron", "0 3 * * *"), "cannot stand together"),
    ],
)
def test_what_cannot_be_set_changes_nothing(
    shell: Command, asked: tuple[str, ...], told: str
) -> None:
    said = shell.run("schedule", "set", *asked, status=NOT_DONE)
    assert told in said
    assert "Nothing was changed." in said
    assert shell.json("schedule")["plan"] is None


def test_options_before_the_verb_are_not_taken_for_its_own(shell: Command) -> None:
    assert "behind `off`" in shell.run("schedule", "--target", "live", "off", status=WRONG_USAGE)


def test_prune_tells_first_asks_and_deletes(
    shell: Command, home: Installation, live: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up_daily(monkeypatch, live.target, home.folder, 4)
    assert len(shell.json("prune", "--dry-run")["backups"]) == 4
    assert "has not been chosen" in shell.run("prune", "--yes", status=NOT_DONE)
    shell.run("schedule", "set", "--keep", "2,0,0")
    told = shell.json("prune", "--dry-run")
    assert told["deleted"] == made[2:]
    assert "Add --yes" in shell.run("prune", status=NOT_DONE)
    done = shell.json("prune", "--yes")
    assert done["deleted"] == made[2:]
    assert {path.name for path in home.folder.backups("live").glob("*.zip")} == set(made[:2])
    assert shell.json("prune", "--yes")["deleted"] == []

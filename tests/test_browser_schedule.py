"""Setting a schedule in a real browser, and keeping a backup from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import Error as PlaywrightError

from ops import Target
from tests.calendars import back_up_at
from tests.services.console import RunningConsole, running_console

SLOW = 60_000
ZONE = "Europe/Berlin"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[RunningConsole]:
    path = tmp_path / "till.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE receipts (id INTEGER PRIMARY KEY, what TEXT)")
        connection.commit()
    with running_console(tmp_path, DATABASE_URL=f"sqlite:///{path}") as running:
        yield running


@pytest.fixture
def page(console: RunningConsole, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(timezone_id=ZONE)
    page = context.new_page()
    page.set_default_timeout(SLOW)
    page.goto(console.link)
    yield page
    context.close()


def _days_shown(first: datetime) -> list[str]:
    days = [first + timedelta(days=day) for day in range(3)]
    return [f"{day:%A} {day.day} {day:%b %Y}, 03:00" for day in days]


def test_a_plan_by_one_click_changed_by_controls_and_what_it_would_delete(
    console: RunningConsole, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target.parse("main", f"sqlite:///{console.folder / 'till.db'}")
    for day in range(10):
        moment = datetime.now(UTC) - timedelta(days=day, hours=30)
        back_up_at(monkeypatch, target, console.data, moment)
    page.get_by_role("button", name="Back up every day at 03:00").click()
    told = page.get_by_text("The next backup is made by itself").filter(has_text=f"({ZONE})")
    expect(told).to_be_visible(timeout=SLOW)
    _hold_what_would_be_deleted(page)
    _see_the_next_runs(page)
    _back_up_on_sundays(page)
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_text("None: the schedule is switched off")).to_be_visible(timeout=SLOW)
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_text("The schedule is switched off; switch it on")).to_be_visible(
        timeout=SLOW
    )


def _hold_what_would_be_deleted(page: Page) -> None:
    page.get_by_role("link", name="Schedule").click()
    doomed = page.get_by_role("row").filter(has_text="is deleted")
    expect(doomed.first).to_be_visible(timeout=SLOW)
    before = doomed.count()
    page.get_by_role("link", name="Backups").click()
    told = page.get_by_text("Is deleted after the next backup of the schedule")
    card = page.locator("[data-testid=stVerticalBlock]").filter(has=told)
    card.last.get_by_role("button", name="Hold").click()
    expect(page.get_by_text("Held: kept until you let it go")).to_be_visible(timeout=SLOW)
    page.get_by_role("link", name="Schedule").click()
    expect(page.get_by_text("You asked to keep it until you let it go")).to_be_visible(timeout=SLOW)
    expect(doomed).to_have_count(before - 1)


def _see_the_next_runs(page: Page) -> None:
    expect(page.get_by_text("Backups are made by themselves, every day")).to_be_visible()
    now = datetime.now(ZoneInfo(ZONE))
    three = now.replace(hour=3, minute=0, second=0, microsecond=0)
    for shown in _days_shown(three if now < three else three + timedelta(days=1)):
        expect(page.get_by_role("cell", name=shown)).to_be_visible(timeout=SLOW)


def _back_up_on_sundays(page: Page) -> None:
    box = page.get_by_role("combobox", name="How often a backup is made")
    changed = page.get_by_role("heading", name="once it is saved")
    for _ in range(6):
        # On a slow machine the page may be drawn anew between the two, which closes the list.
        with suppress(AssertionError, PlaywrightError):
            box.click(timeout=10_000)
            page.get_by_role("option", name="Every week").click(timeout=10_000)
            expect(changed).to_be_visible(timeout=10_000)
            break
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("every Sunday at 03:00 (Europe/Berlin)")).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("cell", name=", 03:00").filter(has_text="Sunday")).to_have_count(3)

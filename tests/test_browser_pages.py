"""What people meet on the pages beside the straight way: several databases, a damaged backup,
a console that is stopped, a session that is over, and a keyboard in place of a mouse."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from ops import Target, create_backup
from tests.services.console import PASSWORD, RunningConsole, running_console
from tests.services.pages import SLOW, page_of
from tests.services.ports import free_port

TABS = 80
"""No page of the console has more places for Tab to stop at."""


_DAILY_PLAN = "INSERT INTO schedules VALUES ('warehouse', '{}', 4e9, 'somebody')"
"""The default plan, with nothing due in this century."""


def _database(path: Path) -> Target:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE receipts (id INTEGER PRIMARY KEY, what TEXT)")
        rows = ((f"receipt no. {number}",) for number in range(500))
        connection.executemany("INSERT INTO receipts (what) VALUES (?)", rows)
        connection.commit()
    path.chmod(0o600)
    return Target.parse(path.stem, f"sqlite:///{path}")


def _receipts(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM receipts").fetchone()[0])


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A console that looks after two databases, of which one is large."""
    folder = tmp_path_factory.mktemp("two")
    till, stock = _database(folder / "till.db"), _database(folder / "stock.db")
    os.truncate(folder / "stock.db", 130 << 20)
    with running_console(
        folder,
        OPS_ADMIN_PASSWORD=PASSWORD,
        OPS_TARGETS__TILL=till.url.render_as_string(),
        OPS_TARGETS__WAREHOUSE=stock.url.render_as_string(),
    ) as running:
        yield running


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    fresh = browser.new_context(accept_downloads=True)
    yield fresh
    fresh.close()


def _page(context: BrowserContext, console: RunningConsole) -> Page:
    """A page of somebody who is signed in."""
    with console.signed_in() as client:
        return page_of(client, context)


def _open_watched(page: Page, address: str) -> None:
    """Open a page and wait until it has asked for the first time whether all is well."""
    with page.expect_response("**/api/session", timeout=SLOW):
        page.goto(address)


def _title(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def test_the_chosen_database_is_named_and_kept(
    console: RunningConsole, context: BrowserContext
) -> None:
    page = _page(context, console)
    page.goto(console.address)
    expect(_title(page)).to_have_text("till", timeout=SLOW)
    page.get_by_role("combobox", name="Database").click()
    page.get_by_role("option", name="warehouse").click()
    expect(_title(page)).to_have_text("stock", timeout=SLOW)
    page.get_by_role("link", name="Backups").click()
    told = page.get_by_text("Database stock (SQLite), listed as warehouse")
    for _ in range(2):
        expect(_title(page)).to_have_text("Backups", timeout=SLOW)
        expect(told).to_be_visible(timeout=SLOW)
        assert page.url == f"{console.address}/backups?db=warehouse"
        assert page.title() == "Backups · Ops Console"
        page.reload()


def test_a_page_asks_for_the_server_once_and_where_it_is(
    console: RunningConsole, context: BrowserContext
) -> None:
    """Not first in a folder of the page's own name, which costs a tenth of a second."""
    page = _page(context, console)
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{console.address}/size")
    expect(page.get_by_text("Whole database").first).to_be_visible(timeout=SLOW)
    assert [url for url in asked if "health" in url] == [f"{console.address}/_stcore/health"]
    with console.signed_in() as client:
        assert "<title>Ops Console</title>" in client.get("/size").text


def test_a_damaged_backup_is_not_offered(console: RunningConsole, context: BrowserContext) -> None:
    target = Target.parse("till", f"sqlite:///{console.folder / 'till.db'}")
    archive = create_backup(target, console.data).archive
    page = _page(context, console)
    page.goto(f"{console.address}/restore")
    field = page.get_by_label("Name of the database")
    expect(field).to_be_visible(timeout=SLOW)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    page.reload()
    expect(page.get_by_text("This backup is damaged")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Choose another backup")).to_be_visible()
    expect(field).to_have_count(0)
    archive.unlink()


def test_what_was_not_looked_at_is_not_called_fine(
    console: RunningConsole, context: BrowserContext
) -> None:
    path = console.folder / "stock.db"
    create_backup(Target.parse("warehouse", f"sqlite:///{path}"), console.data)
    console.tell_store(_DAILY_PLAN)
    page = _page(context, console)
    page.goto(f"{console.address}/?db=warehouse")
    expect(page.get_by_text("things were not looked at")).to_be_visible(timeout=SLOW)
    page.get_by_role("link", name="Health").click()
    expect(page.get_by_text("× Not looked at")).to_be_visible(timeout=SLOW)


def test_a_session_that_is_over_leads_to_signing_in_and_back(
    console: RunningConsole, context: BrowserContext
) -> None:
    page = _page(context, console)
    _open_watched(page, f"{console.address}/size?db=warehouse")
    expect(_title(page)).to_have_text("Size", timeout=SLOW)
    console.tell_store("DELETE FROM sessions")
    field = page.get_by_label("Password")
    expect(field).to_be_visible(timeout=SLOW)
    field.fill(PASSWORD)
    field.press("Enter")
    expect(_title(page)).to_have_text("Size", timeout=SLOW)
    assert page.url == f"{console.address}/size?db=warehouse"


def test_a_stopped_console_is_said_in_words_and_waited_for(
    context: BrowserContext, tmp_path: Path
) -> None:
    port = free_port()
    gone = "The console does not answer"
    with running_console(tmp_path, port) as console:
        page = _page(context, console)
        _open_watched(page, console.address)
        expect(page.get_by_role("button", name="Back up now")).to_be_visible(timeout=SLOW)
        expect(page.get_by_text(gone)).to_have_count(0)
    expect(page.get_by_text(gone)).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("dialog")).to_have_count(0)
    with running_console(tmp_path, port):
        expect(page.get_by_text(gone)).to_have_count(0, timeout=SLOW)
        page.get_by_role("link", name="Backups").click()
        expect(_title(page)).to_have_text("Backups", timeout=SLOW)


def test_everything_can_be_done_from_the_keyboard(context: BrowserContext, tmp_path: Path) -> None:
    path = tmp_path / "till.db"
    url = _database(path).url.render_as_string()
    with running_console(tmp_path, OPS_ADMIN_PASSWORD=PASSWORD, DATABASE_URL=url) as console:
        page = context.new_page()
        page.set_default_timeout(SLOW)
        page.goto(console.address)
        expect(page.get_by_label("Password")).to_be_focused()
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        _walk_to(page, page.get_by_role("button", name="Back up now"), "Enter")
        _is_read_out(page, "The backup is done.")

        _walk_to(page, page.get_by_role("link", name="Backups"), "Enter")
        with page.expect_download() as download:
            _walk_to(page, page.get_by_role("link", name="Download"), "Enter")
        assert download.value.path().stat().st_size > 0

        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM receipts WHERE id > 10")
            connection.commit()
        _walk_to(page, page.get_by_role("link", name="Restore"), "Enter")
        _walk_to(page, page.get_by_label("Name of the database"))
        page.keyboard.type("till")
        page.keyboard.press("Enter")
        button = page.get_by_role("button", name="Restore now")
        expect(button).to_be_enabled(timeout=SLOW)
        _walk_to(page, button, "Space")
        _is_read_out(page, "The restore is done.")
        assert _receipts(path) == 500

        _walk_to(page, page.get_by_role("button", name="Undo", exact=True), "Enter")
        _walk_to(page, page.get_by_role("button", name="Undo now"), "Space")
        _is_read_out(page, "The undo is done.")
        assert _receipts(path) == 10


def _walk_to(page: Page, place: Locator, key: str = "") -> None:
    """Press Tab until `place` has the focus, then the key."""
    expect(place).to_be_visible(timeout=SLOW)
    for _ in range(TABS):
        if place.evaluate("element => element === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(place).to_be_focused()
    if key:
        page.keyboard.press(key)


def _is_read_out(page: Page, text: str) -> None:
    regions = page.locator("[role=status][aria-live=polite]")
    expect(regions.filter(has_text=text)).to_have_count(1, timeout=SLOW)

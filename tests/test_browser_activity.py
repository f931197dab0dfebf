"""The pages that look back: who did what, and whether anybody is told."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.services.console import PASSWORD, RunningConsole, running_console
from tests.services.listeners import Listener, web_listener
from tests.services.pages import SLOW, page_of


@pytest.fixture(scope="module")
def hook() -> Iterator[Listener]:
    with web_listener() as listener:
        yield listener


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, hook: Listener) -> Iterator[RunningConsole]:
    """A console with messages."""
    address = f"json://ops:hunter2@127.0.0.1:{hook.port}/T0PS3CRET"
    folder = tmp_path_factory.mktemp("activity")
    with running_console(folder, OPS_ADMIN_PASSWORD=PASSWORD, OPS_NOTIFY=address) as running:
        yield running


@pytest.fixture
def page(browser: Browser, console: RunningConsole) -> Iterator[Page]:
    """A page of somebody who signed in by the form."""
    context = browser.new_context(accept_downloads=True)
    with console.stranger() as client:
        client.post("/login", data={"password": PASSWORD})
        fresh = page_of(client, context)
    yield fresh
    context.close()


def test_what_a_person_did_is_told_found_and_exported(console: RunningConsole, page: Page) -> None:
    page.goto(f"{console.address}/backups")
    page.get_by_label("What is this backup for?").fill("=before the sale on www.example.com")
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_text("Backup finished")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("There is no backup yet")).to_be_visible(timeout=SLOW)
    page.get_by_role("link", name="Activity").click()
    made = page.get_by_text("admin (127.0.0.1) made a backup of demo: =before the sale")
    expect(made).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("link", name="example")).to_have_count(0)
    expect(page.get_by_text("admin (127.0.0.1) deleted the backup of")).to_be_visible()
    expect(page.get_by_text("signed in")).to_be_visible()
    page.get_by_label("Search").fill("backup sale")
    page.get_by_label("Search").press("Enter")
    expect(page.get_by_text("signed in")).to_have_count(0, timeout=SLOW)
    expect(made).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as a file for spreadsheets").click()
    text = download.value.path().read_text("utf-8-sig")
    head, row = text.splitlines()
    assert head.startswith("id,at,who,where,what")
    assert ",admin,127.0.0.1,backup,demo,demo-shop-" in row
    assert ",done,'=before the sale on www.example.com," in row


def test_the_test_message_arrives_or_says_why_not(
    console: RunningConsole, page: Page, hook: Listener
) -> None:
    page.goto(f"{console.address}/settings")
    button = page.get_by_role("button", name="Send a test message")
    button.click()
    expect(page.get_by_text("JSON (no. 1) took the message")).to_be_visible(timeout=SLOW)
    assert hook.came[-1][0] == "Ops Console: a test"
    hook.status = 500
    button.click()
    expect(page.get_by_text("JSON (no. 1) did not take it")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("The newest message could not be delivered")).to_be_visible()
    for view in ("health", "activity"):
        page.goto(f"{console.address}/{view}")
        told = "a test. JSON no. 1" if view == "activity" else "could not be delivered"
        expect(page.get_by_text(told).first).to_be_visible(timeout=SLOW)
        content = page.content()
        assert "T0PS3CRET" not in content
        assert "hunter2" not in content


def test_a_stranger_gets_no_activity(console: RunningConsole) -> None:
    answer = httpx.get(f"{console.address}/api/activity.csv")
    assert (answer.status_code, "who" in answer.text) == (401, False)

"""The upload component in a real browser: interrupted, resumed, stopped, refused."""

from __future__ import annotations

import fcntl
import hashlib
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from console.uploads import list_uploads
from tests.services.console import PASSWORD, RunningConsole

SIZE = 40 << 20
SPEED_BYTES_PER_SECOND = 6 << 20
FIRST_PAGE_MS = 60_000

PAGE = """
import streamlit as st
from console import accounts
from console.ui.parts.uploader import uploader
session = accounts.who(st.context.cookies.get(accounts.SESSION_COOKIE))
st.title("Upload page")
st.button("Run again")
done = uploader(session.csrf, key="upload")
if done:
    st.write(f"Received {done.name}, {done.size} bytes, {done.id}")
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningConsole]:
    """A console whose only page is the component."""
    running = RunningConsole(tmp_path, PAGE, OPS_ADMIN_PASSWORD=PASSWORD)
    yield running
    running.stop()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A narrow, dark browser window, as on a phone."""
    fresh = browser.new_context(
        viewport={"width": 390, "height": 800}, color_scheme="dark", locale="en"
    )
    yield fresh
    fresh.close()


@pytest.fixture
def page(server: RunningConsole, context: BrowserContext) -> Page:
    """The page, signed in, over a line that is slow enough to interrupt."""
    page = context.new_page()
    page.goto(server.address)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Backup file").wait_for(timeout=FIRST_PAGE_MS)
    _slow_down(context, page)
    return page


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A file whose every byte matters."""
    path = tmp_path / "Größe 1.zip"
    path.write_bytes(secrets.token_bytes(SIZE))
    return path


def _slow_down(context: BrowserContext, page: Page) -> None:
    line = context.new_cdp_session(page)
    line.send("Network.enable")
    limits = {"offline": False, "latency": 5, "downloadThroughput": -1}
    limits["uploadThroughput"] = SPEED_BYTES_PER_SECOND
    line.send("Network.emulateNetworkConditions", limits)


def _choose(page: Page, path: Path) -> None:
    page.get_by_label("Backup file").set_input_files(path)


def _wait_until_it_moves(page: Page) -> None:
    expect(page.get_by_role("status")).to_contain_text("MB/s", timeout=20_000)
    page.wait_for_function(
        """() => {
            const host = document.querySelector('[data-testid="stBidiComponentIsolated"]');
            return host.shadowRoot.querySelector("progress").value > 0.3;
        }""",
        timeout=20_000,
    )


def _wait_until_received(page: Page, path: Path) -> None:
    expect(page.get_by_text(f"Received {path.name}, {SIZE} bytes")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("status")).to_have_text(f"{path.name} has arrived.")


@contextmanager
def _busy_with(path: Path) -> Iterator[None]:
    """The time in which the server still writes the slice that was stopped."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _assert_same(server: RunningConsole, path: Path) -> str:
    """The one upload there is holds what the file holds; returns its id."""
    (upload,) = list_uploads(server.data, "admin")
    assert upload.is_complete
    assert (upload.name, upload.size) == (path.name, SIZE)
    arrived = hashlib.sha256(upload.path.read_bytes()).hexdigest()
    assert arrived == hashlib.sha256(path.read_bytes()).hexdigest()
    return upload.id


def test_a_reload_only_interrupts(
    server: RunningConsole, context: BrowserContext, page: Page, backup: Path
) -> None:
    _choose(page, backup)
    _wait_until_it_moves(page)
    (begun,) = list_uploads(server.data, "admin")
    assert not begun.is_complete

    page.reload()
    expect(page.get_by_role("status")).to_contain_text("has arrived. Choose it again to go on.")
    _slow_down(context, page)
    _choose(page, backup)
    _wait_until_received(page, backup)
    assert _assert_same(server, backup) == begun.id


def test_a_run_of_the_script_does_not_interrupt(
    server: RunningConsole, page: Page, backup: Path
) -> None:
    _choose(page, backup)
    _wait_until_it_moves(page)
    page.get_by_role("button", name="Run again").click()
    _wait_until_received(page, backup)
    _assert_same(server, backup)


def test_a_restart_of_the_server_is_waited_for(
    server: RunningConsole, page: Page, backup: Path
) -> None:
    _choose(page, backup)
    _wait_until_it_moves(page)
    server.stop(signal.SIGKILL)
    expect(page.get_by_role("status")).to_contain_text("Trying again", timeout=20_000)
    again = RunningConsole(server.folder, PAGE, server.port, OPS_ADMIN_PASSWORD=PASSWORD)
    _wait_until_received(page, backup)
    _assert_same(again, backup)
    again.stop()


def test_stop_and_discard_by_keyboard(server: RunningConsole, page: Page, backup: Path) -> None:
    _choose(page, backup)
    _wait_until_it_moves(page)
    page.get_by_role("button", name="Stop").press("Enter")
    expect(page.get_by_role("status")).to_contain_text(f"Choose {backup.name} again to go on.")
    (upload,) = list_uploads(server.data, "admin")
    with _busy_with(upload.path):
        page.get_by_role("button", name="Discard").press("Enter")
        page.wait_for_timeout(600)
    expect(page.get_by_role("status")).to_have_text("What had arrived was discarded.")
    assert list_uploads(server.data, "admin") == []


def test_a_refusal_is_told_in_the_servers_words(
    server: RunningConsole, page: Page, tmp_path: Path
) -> None:
    other = tmp_path / "shop.db"
    other.write_bytes(b"not a ZIP")
    _choose(page, other)
    expect(page.get_by_role("status")).to_contain_text("This is not a ZIP file.")

    server.tell_store("DELETE FROM sessions")
    small = tmp_path / "small.zip"
    small.write_bytes(b"PK")
    _choose(page, small)
    expect(page.get_by_role("status")).to_have_text(
        "You are not signed in. Sign in, then try again."
    )


def test_it_fits_a_phone(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.get_by_label("Backup file").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390

"""What the page says after the server, or everything, was killed in mid-restore."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.services.console import RunningConsole

SLOW = 60_000
ROWS = 5000
WAITING = "Waiting for another program to finish writing"


@pytest.fixture
def till(tmp_path: Path) -> Path:
    """A small database in WAL mode."""
    path = tmp_path / "till.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA journal_mode=WAL; CREATE TABLE receipts (id INTEGER PRIMARY KEY, what TEXT);"
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
            " INSERT INTO receipts SELECT i, 'receipt ' || i FROM n"
        )
    return path


@contextmanager
def _held_busy(path: Path) -> Iterator[None]:
    """Another program is writing: a restore waits for it in its last step."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def _console(folder: Path, till: Path) -> RunningConsole:
    return RunningConsole(folder, page=None, DATABASE_URL=f"sqlite:///{till}")


def _open(browser: Browser, console: RunningConsole) -> Page:
    page = browser.new_context().new_page()
    page.set_default_timeout(SLOW)
    page.goto(console.link)
    page.get_by_role("heading", level=1).wait_for()
    return page


def _start_a_restore(page: Page, console: RunningConsole, till: Path) -> None:
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_text("Backup finished")).to_be_visible(timeout=SLOW)
    with closing(sqlite3.connect(till)) as connection:
        connection.execute("DELETE FROM receipts WHERE id > 10")
        connection.commit()
    page.goto(f"{console.address}/restore")
    field = page.get_by_label("Name of the database")
    field.fill("till")
    field.press("Enter")


def _restore_until_it_waits(page: Page) -> None:
    page.get_by_role("button", name="Restore now").click()
    expect(page.get_by_text(WAITING)).to_be_visible(timeout=SLOW)


def _kill(console: RunningConsole, *, with_jobs: bool) -> None:
    server = psutil.Process(console.process.pid)
    jobs = server.children(recursive=True)
    server.send_signal(signal.SIGKILL)
    for job in jobs if with_jobs else []:
        job.send_signal(signal.SIGKILL)
        job.wait()
    console.process.wait()


def _rows(till: Path) -> int:
    with closing(sqlite3.connect(till)) as connection:
        return int(connection.execute("SELECT count(*) FROM receipts").fetchone()[0])


def test_after_everything_was_killed_the_page_tells_the_truth(
    browser: Browser, tmp_path: Path, till: Path
) -> None:
    console = _console(tmp_path, till)
    page = _open(browser, console)
    _start_a_restore(page, console, till)
    with _held_busy(till):
        _restore_until_it_waits(page)
        _kill(console, with_jobs=True)
    assert _rows(till) == 10
    console = _console(tmp_path, till)
    page = _open(browser, console)
    page.goto(f"{console.address}/restore")
    expect(page.get_by_text("The restore was interrupted: its process ended.")).to_be_visible(
        timeout=SLOW
    )
    expect(page.get_by_role("button", name="Undo", exact=True)).to_have_count(0)
    field = page.get_by_label("Name of the database")
    field.fill("till")
    field.press("Enter")
    page.get_by_role("button", name="Restore now").click()
    expect(page.get_by_text("Restore finished")).to_be_visible(timeout=SLOW)
    assert _rows(till) == ROWS
    console.stop()


def test_a_restore_goes_on_when_only_the_server_was_killed(
    browser: Browser, tmp_path: Path, till: Path
) -> None:
    console = _console(tmp_path, till)
    page = _open(browser, console)
    _start_a_restore(page, console, till)
    with _held_busy(till):
        _restore_until_it_waits(page)
        _kill(console, with_jobs=False)
        console = _console(tmp_path, till)
        page = _open(browser, console)
        page.goto(f"{console.address}/restore")
        expect(page.get_by_text(WAITING)).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Restore finished")).to_be_visible(timeout=SLOW)
    assert _rows(till) == ROWS
    console.stop()

"""A database of 1 GiB goes down and up through the browser; the server's memory stays small."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.services.console import running_console

GIB = 1 << 30
SLOW = 900_000
LIMIT_BYTES = 300_000_000

pytestmark = pytest.mark.soak


@contextmanager
def _peak_memory(pid: int) -> Iterator[list[int]]:
    """The server's highest resident memory in bytes, looked at 20 times a second."""
    process, peak, done = psutil.Process(pid), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    yield peak
    done.set()
    thread.join()


def _make(path: Path, size: int) -> int:
    """A database of `size` bytes of random content; its rows."""
    rows = size // 65_600
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE pieces (id INTEGER PRIMARY KEY, content BLOB)")
        pieces = ((os.urandom(65_536),) for _ in range(rows))
        connection.executemany("INSERT INTO pieces (content) VALUES (?)", pieces)
        connection.commit()
    return rows


def test_one_gib_down_and_up(tmp_path: Path, browser: Browser) -> None:
    path = tmp_path / "big.db"
    rows = _make(path, GIB)
    assert path.stat().st_size >= GIB * 0.98
    with running_console(tmp_path, DATABASE_URL=f"sqlite:///{path}") as console:
        context = browser.new_context(accept_downloads=True)
        page = context.new_page()
        page.set_default_timeout(SLOW)
        with _peak_memory(console.process.pid) as peak:
            started = time.monotonic()
            page.goto(console.link)
            page.get_by_role("button", name="Back up now").click()
            expect(page.get_by_text("Backup finished")).to_be_visible(timeout=SLOW)
            print(f"\nbackup {time.monotonic() - started:.1f} s")
            page.goto(f"{console.address}/backups")
            link = page.get_by_role("link", name="Download")
            expect(link).to_be_visible(timeout=SLOW)
            started = time.monotonic()
            with page.expect_download() as info:
                link.click()
            archive = tmp_path / "down.zip"
            info.value.save_as(archive)
            print(f"download {archive.stat().st_size:,} bytes {time.monotonic() - started:.1f} s")
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("DELETE FROM pieces WHERE id > 5")
                connection.commit()
            page.goto(f"{console.address}/restore")
            page.get_by_text("A ZIP from this computer").click()
            started = time.monotonic()
            page.locator("input[type=file]").set_input_files(archive)
            field = page.get_by_label("Name of the database")
            expect(field).to_be_visible(timeout=SLOW)
            print(f"upload {time.monotonic() - started:.1f} s")
            field.fill("big")
            field.press("Enter")
            started = time.monotonic()
            page.get_by_role("button", name="Restore now").click()
            expect(page.get_by_text("Restore finished")).to_be_visible(timeout=SLOW)
            print(f"restore {time.monotonic() - started:.1f} s")
        print(f"server's peak memory {peak[0]:,} bytes")
        context.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM pieces").fetchone()[0] == rows
    assert peak[0] < LIMIT_BYTES

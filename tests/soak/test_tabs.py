"""What open pages cost while they watch a job."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.figures import recorded
from tests.services.console import RunningConsole, running_console
from tests.services.postgres import RealPostgres
from tests.test_browser_jobs import SLOW, _dumps, _locked, _page_of, database

__all__ = ["database"]

PATHS = ("/", "/health", "/size", "/connections", "/backups", "/restore")
SECONDS = 15


@pytest.mark.soak
def test_six_tabs_cost_less_than_a_third_of_a_core(
    browser: Browser, tmp_path: Path, pg16: RealPostgres, database: str
) -> None:
    with (
        recorded("six tabs, per cent of one core", 1) as outcomes,
        running_console(tmp_path, DATABASE_URL=database) as console,
    ):
        pages = [_page_of(browser, console, "admin", path) for path in PATHS]
        time.sleep(5)
        outcomes["idle"] = _share_of_a_core(console)
        with _locked(database):
            pages[0].get_by_role("button", name="Back up now").click()
            while not (dumps := _dumps(console)):
                time.sleep(0.05)
            dumps[0].suspend()  # it waits for a lock for a minute only
        for page in pages:
            expect(page.get_by_text("Backup running")).to_be_visible(timeout=SLOW)
        outcomes["watching"] = _share_of_a_core(console)
        pages[1].get_by_role("button", name="Stop").click()
        expect(pages[1].get_by_text("Backup was stopped")).to_be_visible(timeout=SLOW)
        assert max(outcomes["idle"], outcomes["watching"]) < 33


def _share_of_a_core(console: RunningConsole) -> float:
    """Processor time of the server over some seconds, in per cent of one core."""
    server = psutil.Process(console.process.pid)
    before, began = sum(server.cpu_times()[:2]), time.monotonic()
    time.sleep(SECONDS)
    used = sum(server.cpu_times()[:2]) - before
    return round(100 * used / (time.monotonic() - began), 1)

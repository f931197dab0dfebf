"""Take the README's pictures: `python -m tests.pictures`, from the running product."""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.services.chromium import running_chromium
from tests.services.console import RunningConsole, running_console
from tests.services.postgres import RealPostgres
from tests.services.redis import RealRedis

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
_WIDE, _PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
_SLOW = 60_000
_SETTLE = 3_000


def _signed_in(console: RunningConsole, browser: Browser) -> Page:
    page = browser.new_context(viewport=_WIDE).new_page()
    page.set_default_timeout(_SLOW)
    page.goto(console.link)
    page.get_by_role("heading", level=1).wait_for()
    return page


def _picture(page: Page, console: RunningConsole, view: str, name: str) -> None:
    page.goto(f"{console.address}/{view}")
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_timeout(_SETTLE)
    page.screenshot(path=FOLDER / f"{name}.png")


def _demo(folder: Path, browser: Browser) -> None:
    """All pages of the demo, and the first one on a phone in the dark."""
    with running_console(folder) as console:
        page = _signed_in(console, browser)
        for label in ("before the price update", "after the autumn sale"):
            page.goto(f"{console.address}/backups")
            page.get_by_label("What is this backup for?").fill(label)
            page.get_by_role("button", name="Back up now").click()
            page.get_by_text(label, exact=True).wait_for()
        page.goto(console.address)
        page.get_by_role("button", name="Back up every day at 03:00").click()
        page.get_by_text("The next backup is made by itself").wait_for()
        for view in ("health", "size", "backups", "schedule", "restore", "settings"):
            _picture(page, console, view, view)
        _picture(page, console, "", "overview")
        state = page.context.storage_state()
        phone = browser.new_context(viewport=_PHONE, color_scheme="dark", storage_state=state)
        page = phone.new_page()
        page.set_default_timeout(_SLOW)
        _picture(page, console, "", "overview-phone-dark")


def _connections(folder: Path, browser: Browser) -> None:
    """The page that only a server fills."""
    cluster, redis = RealPostgres(16), RealRedis()
    try:
        cluster.query("CREATE DATABASE shop")
        settings = {"DATABASE_URL": cluster.url("shop"), "REDIS_URL": redis.url}
        with running_console(folder, **settings) as console:
            page = _signed_in(console, browser)
            _picture(page, console, "connections", "connections")
    finally:
        redis.stop()
        cluster.stop()


def main() -> None:
    """Write all pictures anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with running_chromium() as browser:
        for take in (_demo, _connections):
            with tempfile.TemporaryDirectory() as folder:
                take(Path(folder), browser)


if __name__ == "__main__":
    main()

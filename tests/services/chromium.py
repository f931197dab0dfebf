"""A real Chromium, driven by Playwright: one that is here, or one that is fetched."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserType, Error, sync_playwright

from tests.services import debian
from tests.services.attempts import Attempts

# A path in this variable goes before everything else.
CHOICE = "TEST_CHROMIUM"

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# No graphics card, no shared memory worth the name in containers, and no calls home.
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """A headless Chromium that ends with the block.

    Raises:
        NotAvailable: there is none and none can be fetched.
    """
    attempts = Attempts(
        "Chromium",
        f"`playwright install --with-deps chromium`, or set {CHOICE} to a Chromium or Chrome",
    )
    _make_driver_work(attempts)
    with sync_playwright() as playwright:
        browser = _launch(playwright.chromium, attempts)
        try:
            yield browser
        finally:
            browser.close()


def _make_driver_work(attempts: Attempts) -> None:
    """Playwright's own program needs a library that a bare Debian lacks."""
    probe = [sys.executable, "-m", "playwright", "--version"]
    if attempts.run("Playwright's driver", probe):
        return
    installed = debian.can_install() and debian.install(attempts, "libatomic1")
    if installed and attempts.run("Playwright's driver with libatomic1", probe):
        return
    raise attempts.error()


def _launch(chromium: BrowserType, attempts: Attempts) -> Browser:
    """The first Chromium that starts; what costs a download comes last."""
    for way in (_chosen, _playwrights_own, _installed, _from_debian, _from_playwright):
        browser = way(chromium, attempts)
        if browser is not None:
            return browser
    raise attempts.error()


def _start(chromium: BrowserType, attempts: Attempts, path: str | None) -> Browser | None:
    flags = [*FLAGS, "--no-sandbox"] if debian.is_root() else list(FLAGS)
    try:
        return chromium.launch(headless=True, args=flags, executable_path=path)
    except Error as error:
        attempts.failed(path or "Playwright's own Chromium", str(error).split("Call log")[0])
        return None


def _chosen(chromium: BrowserType, attempts: Attempts) -> Browser | None:
    path = os.environ.get(CHOICE)
    return _start(chromium, attempts, path) if path else None


def _playwrights_own(chromium: BrowserType, attempts: Attempts) -> Browser | None:
    return _start(chromium, attempts, None)


def _installed(chromium: BrowserType, attempts: Attempts) -> Browser | None:
    """A Chromium or Chrome of the machine."""
    paths = [path for name in NAMES if (path := shutil.which(name))]
    if not paths:
        attempts.failed("a browser on the PATH", f"none of {', '.join(NAMES)}")
    browsers = (_start(chromium, attempts, path) for path in paths)
    return next((browser for browser in browsers if browser is not None), None)


def _from_debian(chromium: BrowserType, attempts: Attempts) -> Browser | None:
    """Debian's package and a font, without which every page is empty boxes."""
    if not debian.can_install():
        attempts.failed("apt-get install chromium", "needs root on a Debian")
        return None
    if not debian.install(attempts, "chromium", "fonts-dejavu-core"):
        return None
    return _installed(chromium, attempts)


def _from_playwright(chromium: BrowserType, attempts: Attempts) -> Browser | None:
    """The browser that Playwright's makers offer for download."""
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    if not attempts.run("playwright install chromium", command, timeout=900):
        return None
    return _playwrights_own(chromium, attempts)

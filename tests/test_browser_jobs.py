"""What two people see of one piece of work, each in a browser of their own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg2
import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import Error as PlaywrightError
from sqlalchemy.engine import make_url

from tests.figures import in_soak, recorded
from tests.services.console import RunningConsole, running_console
from tests.services.pages import SLOW, page_of
from tests.services.postgres import RealPostgres

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def database(pg16: RealPostgres) -> Iterator[str]:
    """The URL of a database with one table, and a parent of partitions."""
    name = f"till_{secrets.token_hex(3)}"
    pg16.query(f"CREATE DATABASE {name}")
    pg16.query("CREATE TABLE receipts (what text)", db=name)
    pg16.query("CREATE TABLE months (n int) PARTITION BY LIST (n)", db=name)
    yield pg16.url(name)
    pg16.query(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _locked(url: str) -> Iterator[None]:
    """Another program holds a table, of which there are no rows to count: pg_dump waits for it."""
    address = make_url(url).set(drivername="postgresql")
    dsn = address.render_as_string(hide_password=False)
    with closing(psycopg2.connect(dsn)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE months IN ACCESS EXCLUSIVE MODE")
        yield


def _page_of(browser: Browser, console: RunningConsole, account: str, path: str) -> Page:
    """A browser of its own in which this person is signed in."""
    context = browser.new_context(viewport=PHONE) if account != "admin" else browser.new_context()
    with console.signed_in(account) as client:
        page = page_of(client, context)
    page.goto(console.address + path)
    page.get_by_role("heading", level=1).wait_for()
    return page


def _dumps(console: RunningConsole) -> list[psutil.Process]:
    """Every pg_dump that dumps just now; not one that only tells its version."""
    found = []
    for process in psutil.Process(console.process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            if process.name() == "pg_dump" and "--format=custom" in process.cmdline():
                found.append(process)
    return found


def test_two_people_see_one_backup_and_one_of_them_stops_it(
    browser: Browser, tmp_path: Path, database: str
) -> None:
    with running_console(tmp_path, DATABASE_URL=database) as console:
        mine = _page_of(browser, console, "admin", "/backups")
        other = _page_of(browser, console, "the other", "/health")
        with _locked(database):
            mine.get_by_role("button", name="Back up now").click()
            for page in (mine, other):
                expect(page.get_by_text("Backup running")).to_be_visible(timeout=SLOW)
            expect(other.get_by_text("Begun by admin")).to_be_visible()
            mine.reload()
            expect(mine.get_by_text("Backup running")).to_be_visible(timeout=SLOW)
            while not _dumps(console):
                time.sleep(0.05)
            other.get_by_role("button", name="Stop").click()
            ends = time.monotonic() + 5
            while _dumps(console):
                assert time.monotonic() < ends
                time.sleep(0.05)
            for page in (mine, other):
                expect(page.get_by_text("Backup was stopped just now")).to_be_visible(timeout=SLOW)
        assert list(console.data.backups("main").iterdir()) == []
        mine.get_by_role("button", name="Back up now").click()
        for page in (mine, other):
            expect(page.get_by_text("Backup finished just now.")).to_be_visible(timeout=SLOW)
        for page in (mine, other):
            page.context.close()


@pytest.mark.soak
def test_two_people_see_how_far_a_backup_of_1_gib_is(
    browser: Browser, tmp_path: Path, pg16: RealPostgres, database: str
) -> None:
    rows = in_soak(1 << 20)
    fill = "INSERT INTO receipts SELECT repeat(md5(random()::text), 31) FROM generate_series(1, %s)"
    pg16.query("ALTER TABLE receipts ALTER what SET STORAGE PLAIN", db=make_url(database).database)
    pg16.query(fill, rows, db=str(make_url(database).database))
    with (
        recorded("a backup of 1 GiB, seen by two", 1) as outcomes,
        running_console(
            tmp_path, DATABASE_URL=database, OPS_PROVE_BACKUPS="full", OPS_CHECKSUMS="true"
        ) as console,
    ):
        mine = _page_of(browser, console, "admin", "/backups")
        other = _page_of(browser, console, "the other", "/size")
        mine.get_by_role("button", name="Back up now").click()
        seen: list[set[int]] = [set(), set()]
        shares: list[int] = []
        mine.get_by_text("Backup running").wait_for()
        mine.reload()
        while mine.get_by_text("Backup finished").count() == 0:
            told = [_share(page) for page in (mine, other)]
            for share, all_of_it in zip(told, seen, strict=True):
                all_of_it |= {share} - {-1}
            if -1 not in told:
                shares.append(abs(told[0] - told[1]))
            time.sleep(0.3)
        expect(other.get_by_text("Backup finished")).to_be_visible(timeout=SLOW)
        outcomes["different shares seen"] = min(map(len, seen))
        outcomes["apart at most, per cent"] = max(shares)
        assert min(map(len, seen)) >= 4
        mine.get_by_role("button", name="Back up now").click()
        while not (dumps := _dumps(console)):
            time.sleep(0.02)
        dumps[0].suspend()  # so that the button is met in time
        mine.get_by_role("button", name="Stop").click()
        expect(other.get_by_text("Backup was stopped")).to_be_visible(timeout=SLOW)
        assert len(list(console.data.backups("main").glob("*.zip"))) == 1
        assert _dumps(console) == []


def _share(page: Page) -> int:
    """The per cent that a page shows; -1 where it shows none."""
    bar, text = page.get_by_text("Backup running"), ""
    with suppress(PlaywrightError):  # it may go while it is looked at
        line = bar.first.locator("xpath=..")
        text = line.inner_text(timeout=1000) if bar.count() else ""
    parts = [part.strip() for part in text.split("·")]
    return next((int(part[:-1]) for part in parts if part.endswith("%")), -1)

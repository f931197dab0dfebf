"""The Health page in a real browser: a fix is pressed and seen to help, findings are put aside,
thresholds changed, a report taken home; and a session is ended on the Connections page."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.services.console import PASSWORD, RunningConsole, running_console
from tests.services.pages import SLOW, page_of
from tests.services.postgres import RealPostgres


def _database(path: Path) -> None:
    """One that has no notes for searching, and no backup."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA journal_mode=WAL; CREATE TABLE many (id INTEGER PRIMARY KEY, n);"
            "CREATE INDEX many_n ON many (n);"
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)"
            "INSERT INTO many SELECT i, i % 7 FROM n;"
        )
    path.chmod(0o600)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[RunningConsole]:
    folder = tmp_path_factory.mktemp("health")
    _database(folder / "till.db")
    url = f"sqlite:///{folder / 'till.db'}"
    env = {"DATABASE_URL": url, "REDIS_URL": redis_url, "OPS_ADMIN_PASSWORD": PASSWORD}
    with running_console(folder, **env) as running:
        yield running


def _open(browser: Browser, console: RunningConsole, view: str) -> Page:
    """A page of somebody who is signed in."""
    with console.signed_in() as client:
        page = page_of(client, browser.new_context(accept_downloads=True))
    page.goto(f"{console.address}/{view}")
    return page


def test_a_fix_is_pressed_and_helps(console: RunningConsole, browser: Browser) -> None:
    page = _open(browser, console, "health")
    expect(page.get_by_text("Act now: There is no backup yet.")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Score ")).to_be_visible()
    page.get_by_role("button", name="Refresh the notes").click()
    expect(page.get_by_text("It helped.")).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("button", name="Refresh the notes")).to_have_count(0, timeout=SLOW)
    with closing(sqlite3.connect(console.folder / "till.db")) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_stat1").fetchone()[0] > 0
    page.context.close()


def test_a_finding_is_put_aside_and_taken_back(console: RunningConsole, browser: Browser) -> None:
    page = _open(browser, console, "health")
    headline = page.get_by_text("Act now: There is no backup yet.")
    expect(headline).to_be_visible(timeout=SLOW)
    card = page.locator(
        "[data-testid=stVerticalBlock]", has_text="Age of the newest good backup"
    ).last
    card.get_by_role("button", name="Put aside").click()
    page.get_by_role("button", name="Put it aside").click()
    expect(page.get_by_text("Say why this can wait.")).to_be_visible()
    reason = page.get_by_label("Why it can wait")
    reason.fill("It is only a till")
    reason.press("Enter")
    page.get_by_role("button", name="Put it aside").click()
    expect(headline).to_have_count(0, timeout=SLOW)
    _unfold(page, "Put aside (1)", "It is only a till")
    again = page.get_by_role("button", name="Let it count again")
    for _ in range(5):  # a page that is drawn anew in that instant loses a click
        if headline.count() == 0 and again.is_visible():
            again.click()
        with suppress(AssertionError):
            expect(headline).to_be_visible(timeout=10_000)
            break
    expect(headline).to_be_visible()
    page.context.close()


def _unfold(page: Page, title: str, content: str) -> None:
    """Open a fold; a page that is drawn anew in that instant closes it again."""
    shown = page.get_by_text(content)
    for _ in range(5):
        page.get_by_text(title).click()
        with suppress(AssertionError):
            return expect(shown).to_be_visible()
    raise AssertionError(f"{title} does not open")


def test_what_redis_is_for_is_asked_once(console: RunningConsole, browser: Browser) -> None:
    page = _open(browser, console, "health")
    page.get_by_text("Work that waits to be done").click()
    page.get_by_role("button", name="Keep this answer").click()
    expect(page.get_by_text("What this Redis is for")).to_be_visible(timeout=SLOW)
    page.reload()
    expect(page.get_by_text("What this Redis is for")).to_be_visible(timeout=SLOW)
    page.context.close()


@pytest.mark.parametrize(("word", "start"), [("web page", b"<!doctype html>"), ("PDF", b"%PDF-")])
def test_a_report_is_taken_home(
    console: RunningConsole, browser: Browser, word: str, start: bytes
) -> None:
    page = _open(browser, console, "health")
    with page.expect_download() as download:
        page.get_by_role("link", name=word).click()
    assert download.value.suggested_filename.startswith("health-")
    assert download.value.path().read_bytes().startswith(start)
    page.context.close()


def test_a_session_in_the_way_is_ended(
    pg16: RealPostgres, browser: Browser, tmp_path: Path
) -> None:
    pg16.query("CREATE DATABASE queue")
    pg16.query("CREATE TABLE t AS SELECT 1 AS id", db="queue")
    url = pg16.url("queue")
    login = url.replace("+psycopg2", "")
    front, behind = (psycopg2.connect(login, application_name=n) for n in ("till", "shop"))
    front.cursor().execute("UPDATE t SET id = 2")
    thread = threading.Thread(target=_update, args=(behind,))
    thread.start()
    try:
        with running_console(tmp_path, DATABASE_URL=url, OPS_ADMIN_PASSWORD=PASSWORD) as console:
            page = _open(browser, console, "connections")
            expect(page.get_by_text("1 session behind it.")).to_be_visible(timeout=SLOW)
            page.get_by_role("button", name="End this session").click()
            expect(page.get_by_text("pg_terminate_backend")).to_be_visible(timeout=SLOW)
            button = page.get_by_role("button", name="Do it now")
            expect(button).to_be_disabled()
            field = page.get_by_label("type the database's name")
            field.fill("queue")
            field.press("Enter")
            expect(button).to_be_enabled()
            button.click()
            expect(page.get_by_text("The session of till has ended.")).to_be_visible(timeout=SLOW)
            expect(page.get_by_text("Nobody waits for anybody.")).to_be_visible(timeout=SLOW)
            page.context.close()
        thread.join(10)
        assert not thread.is_alive()
    finally:
        with suppress(psycopg2.Error):
            front.close()
        thread.join(10)
        behind.close()
        pg16.query("DROP DATABASE queue WITH (FORCE)")


def _update(session: psycopg2.extensions.connection) -> None:
    session.cursor().execute("UPDATE t SET id = 3")
    session.commit()

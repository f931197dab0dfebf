"""The whole way in a real browser: sign in, back up, download, lose data, upload, restore, undo."""

from __future__ import annotations

import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console_server import RunningConsole, running_console
from tests.services.postgres import RealPostgres

# The first drawing of a page takes 5 to 12 seconds on two cores.
SLOW = 60_000

Query = Callable[[str], list[tuple[object, ...]]]


@pytest.fixture(params=["sqlite", "pg16", "pg18"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str, Query]]:
    """(name, URL, a function that runs SQL) of a small database of each kind."""
    if request.param == "sqlite":
        path = tmp_path / "till.db"

        def ask(sql: str) -> list[tuple[object, ...]]:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                return connection.execute(sql).fetchall()

        ask("PRAGMA journal_mode=WAL")
        _fill(ask)
        yield "till", f"sqlite:///{path}", ask
        return
    cluster: RealPostgres = request.getfixturevalue(request.param)
    cluster.query("CREATE ROLE keeper LOGIN CREATEDB PASSWORD 'k@:/eper'")
    cluster.query("GRANT pg_monitor, pg_signal_backend TO keeper")
    cluster.query("CREATE DATABASE till OWNER keeper")

    def query(sql: str) -> list[tuple[object, ...]]:
        return cluster.query(sql.replace("%", "%%"), db="till")

    _fill(query)
    query("ALTER TABLE receipts OWNER TO keeper")
    yield "till", cluster.url("till", user="keeper", password="k@:/eper"), query
    for (name,) in cluster.query("SELECT datname FROM pg_database WHERE datname LIKE 'till%%'"):
        cluster.query(f'DROP DATABASE "{name}" WITH (FORCE)')
    cluster.query("DROP ROLE keeper")


def _fill(run: Query) -> None:
    run("CREATE TABLE receipts (id INTEGER PRIMARY KEY, what TEXT NOT NULL)")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
    run(f"INSERT INTO receipts {numbers} SELECT i, 'receipt no. ' || i FROM n")


@pytest.fixture
def console(
    database: tuple[str, str, Query], redis_url: str, tmp_path: Path
) -> Iterator[RunningConsole]:
    with running_console(tmp_path, DATABASE_URL=database[1], REDIS_URL=redis_url) as running:
        yield running


@pytest.fixture
def page(console: RunningConsole, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(SLOW)
    outside: list[str] = []
    page.on("request", lambda request: _note_outside(outside, console.address, request.url))
    page.goto(console.link)
    yield page
    context.close()
    assert outside == [], "a page asked another host"


def _note_outside(outside: list[str], address: str, url: str) -> None:
    ours = (address, address.replace("http", "ws", 1), "data:", "blob:")
    if not url.startswith(ours):
        outside.append(url)


def test_back_up_download_lose_upload_restore_undo(
    console: RunningConsole, page: Page, database: tuple[str, str, Query], tmp_path: Path
) -> None:
    name, _, query = database
    _back_up(page)
    archive = _download(page, console, tmp_path)
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        assert "manifest.json" in file.namelist()

    _test_restore(page)

    query("DELETE FROM receipts WHERE id > 10")
    _upload_and_restore(page, console, archive, name)
    assert query("SELECT count(*), max(what) FROM receipts")[0][0] == 5000

    _undo(page)
    assert query("SELECT count(*) FROM receipts")[0][0] == 10


def _back_up(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("till", timeout=SLOW)
    expect(page.get_by_text("none yet")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_text("Backup finished")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("1 tables, 5,000 rows")).to_be_visible()
    expect(page.get_by_text("none yet")).to_have_count(0)


def _download(page: Page, console: RunningConsole, folder: Path) -> Path:
    page.goto(f"{console.address}/backups")
    link = page.get_by_role("link", name="Download")
    with page.expect_download() as info:
        link.click()
    target = folder / info.value.suggested_filename
    info.value.save_as(target)
    kept = list((console.data / "backups" / "main").glob("*.zip"))
    assert [target.read_bytes()] == [path.read_bytes() for path in kept]
    return target


def _test_restore(page: Page) -> None:
    """On the Backups page, where the download left it."""
    expect(page.get_by_text("Read back whole on")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Test restore").click()
    expect(page.get_by_text("came back with exactly their 5,000 rows")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Test restore passed")).to_be_visible()
    expect(page.get_by_text("1 of 1 tables exact")).to_be_visible()


def _upload_and_restore(page: Page, console: RunningConsole, archive: Path, name: str) -> None:
    page.goto(f"{console.address}/restore")
    page.get_by_text("A ZIP from this computer").click()
    page.locator("input[type=file]").set_input_files(archive)
    expect(page.get_by_text("See what will change")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("1 of 1 tables change")).to_be_visible()
    button = page.get_by_role("button", name="Restore now")
    expect(button).to_be_disabled()
    field = page.get_by_label("Name of the database")
    field.fill(name)
    field.press("Enter")
    expect(button).to_be_enabled()
    button.click()
    expect(page.get_by_text("Restore finished")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("came back with exactly their 5,000 rows")).to_be_visible()


def _undo(page: Page) -> None:
    page.get_by_role("button", name="Undo", exact=True).click()
    page.get_by_role("button", name="Undo now").click()
    expect(page.get_by_text("Undo finished")).to_be_visible(timeout=SLOW)

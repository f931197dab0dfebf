"""Downloads from a real server: broken off, resumed, refused, big, and slow ones."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from console.accounts import SESSION_COOKIE
from tests.services.console import TARGET, RunningConsole

GIB = 1 << 30
RSS_GROWTH_LIMIT = 100 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A console with whatever is put among its backups."""
    running = RunningConsole(tmp_path_factory.mktemp("transfers"))
    yield running
    running.stop()


@pytest.fixture
def client(server: RunningConsole) -> Iterator[httpx.Client]:
    """The administrator's client."""
    with server.signed_in() as ours:
        yield ours


@pytest.fixture
def archive(server: RunningConsole) -> Path:
    """A file of 3 MB among the backups."""
    path = server.data.backups(TARGET) / "shop-20260101-120000.zip"
    path.write_bytes(secrets.token_bytes(3_000_000))
    return path


def test_an_archive_comes_whole_and_as_it_is(client: httpx.Client, archive: Path) -> None:
    answer = client.get(f"/api/backups/{TARGET}/{archive.name}")
    assert answer.status_code == 200
    assert answer.content == archive.read_bytes()
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-encoding"] == "identity"
    assert answer.headers["content-disposition"] == f'attachment; filename="{archive.name}"'
    assert "no-store" in answer.headers["cache-control"]


def test_its_size_can_be_asked_for(client: httpx.Client, archive: Path) -> None:
    answer = client.head(f"/api/backups/{TARGET}/{archive.name}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "3000000"
    assert answer.headers["accept-ranges"] == "bytes"


def test_a_broken_download_goes_on(client: httpx.Client, archive: Path) -> None:
    url, whole = f"/api/backups/{TARGET}/{archive.name}", archive.read_bytes()
    with client.stream("GET", url) as answer:
        begun = next(answer.iter_bytes(100_000))
        etag = answer.headers["etag"]
    rest = client.get(url, headers={"Range": f"bytes={len(begun)}-", "If-Range": etag})
    assert rest.status_code == 206
    assert begun + rest.content == whole
    assert client.get(url, headers={"Range": "bytes=9999999-"}).status_code == 416


def test_a_changed_archive_is_not_glued_to_the_old_one(client: httpx.Client, archive: Path) -> None:
    url = f"/api/backups/{TARGET}/{archive.name}"
    etag = client.head(url).headers["etag"]
    archive.write_bytes(b"another archive")
    answer = client.get(url, headers={"Range": "bytes=8-", "If-Range": etag})
    assert (answer.status_code, answer.content) == (200, b"another archive")


@pytest.mark.parametrize(
    "path",
    [
        "main/../../console.db",
        "main/..%2f..%2fconsole.db",
        "main/%2e%2e/%2e%2e/seal.key",
        "..%2f/console.db",
        "main/..",
        "main/.zip",
        "main/nothing.zip",
        "main/shop.zip%00.zip",
        "main/.shop.zip.part",
        "main/shop.zip.note.json",
        "main/link.zip",
        "main/folder.zip",
        "main/sh%C3%B6p.zip",
        "main//etc/passwd",
        "other/shop.zip",
        "MAIN/shop.zip",
    ],
)
def test_nothing_but_an_archive_can_be_downloaded(
    server: RunningConsole, client: httpx.Client, path: str
) -> None:
    folder = server.data.backups(TARGET)
    for name in ("shop.zip", ".shop.zip.part", "shop.zip.note.json", "shöp.zip"):
        (folder / name).write_bytes(b"CONTENT")
    (folder / "folder.zip").mkdir(exist_ok=True)
    link = folder / "link.zip"
    link.unlink(missing_ok=True)
    link.symlink_to(server.data.store_path)

    cookie = {"Cookie": f"{SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}"}
    status, text = server.ask("GET", f"/api/backups/{path}", cookie)
    assert status in (400, 404)
    assert "CONTENT" not in text
    assert client.get("/api/backups/main/shop.zip").content == b"CONTENT"


def test_a_gigabyte_goes_out_in_constant_memory(
    server: RunningConsole, client: httpx.Client, archive: Path
) -> None:
    client.get(f"/api/backups/{TARGET}/{archive.name}")
    big = server.data.backups(TARGET) / "big.zip"
    with big.open("wb") as file:
        file.truncate(GIB)
    received = 0
    with (
        server.memory_watched() as growth,
        client.stream("GET", f"/api/backups/{TARGET}/{big.name}") as answer,
    ):
        for chunk in answer.iter_raw():
            received += len(chunk)
    big.unlink()
    assert received == GIB
    assert growth() < RSS_GROWTH_LIMIT


def test_a_slow_download_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    server = RunningConsole(tmp_path)
    big = server.data.backups(TARGET) / "big.zip"
    with big.open("wb") as file:
        file.truncate(GIB)
    with (
        server.signed_in() as client,
        client.stream("GET", f"/api/backups/{TARGET}/big.zip") as answer,
    ):
        assert answer.status_code == 200
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 15

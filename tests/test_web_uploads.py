"""Uploads to a real server: in pieces, broken off, resumed, refused, and big."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from console.accounts import SESSION_COOKIE
from console.uploads import (
    Upload,
    appending,
    find_upload,
    list_uploads,
    remove_upload,
)
from console.web.routes import uploads as routes
from ops.errors import Busy
from tests.services.console import RunningConsole

GIB = 1 << 30
MAX_UPLOAD = 2 * GIB
RSS_GROWTH_LIMIT = 100 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A console that takes files of 2 GiB."""
    running = RunningConsole(
        tmp_path_factory.mktemp("transfers"), OPS_MAX_UPLOAD_GB=str(MAX_UPLOAD / 1e9)
    )
    yield running
    running.stop()


@pytest.fixture
def client(server: RunningConsole) -> Iterator[httpx.Client]:
    """The administrator's client."""
    with server.signed_in() as ours:
        yield ours


def _until(is_so: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _create(client: httpx.Client, size: int, name: str = "shop.zip") -> str:
    metadata = f"filename {base64.b64encode(name.encode()).decode()}"
    headers = {"Upload-Length": str(size), "Upload-Metadata": metadata}
    answer = client.post("/api/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def _patch(client: httpx.Client, url: str, offset: int, data: bytes) -> httpx.Response:
    return client.patch(url, content=data, headers={"Upload-Offset": str(offset)})


def _offset(client: httpx.Client, url: str) -> int:
    answer = client.head(url)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


def _found(server: RunningConsole, url: str) -> Upload:
    upload = find_upload(server.data, "admin", url.rsplit("/", 1)[1])
    assert upload is not None
    return upload


def _half_sent(server: RunningConsole, url: str, announced: int, data: bytes) -> socket.socket:
    """A PATCH whose body has stopped in the middle."""
    line = socket.create_connection(("127.0.0.1", server.port))
    with server.signed_in() as client:
        head = (
            f"PATCH {url} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpload-Offset: 0\r\n"
            f"Cookie: {SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}\r\n"
            f"X-Ops-Csrf: csrf-of-admin\r\nContent-Length: {announced}\r\n\r\n"
        )
    line.sendall(head.encode() + data)
    return line


def test_a_file_arrives_in_pieces(server: RunningConsole, client: httpx.Client) -> None:
    data = secrets.token_bytes(5_000_000)
    url = _create(client, len(data), "Größe.zip")
    for begin in range(0, len(data), 2_000_000):
        assert _offset(client, url) == begin
        assert not _found(server, url).is_complete
        answer = _patch(client, url, begin, data[begin : begin + 2_000_000])
        assert answer.status_code == 204
        assert int(answer.headers["upload-offset"]) == min(begin + 2_000_000, len(data))
    upload = _found(server, url)
    assert upload.is_complete
    assert (upload.name, upload.size, upload.offset) == ("Größe.zip", 5_000_000, 5_000_000)
    assert upload.path.suffix == ".zip"
    assert upload.path.read_bytes() == data
    assert _offset(client, url) == len(data)
    assert _patch(client, url, len(data), b"").status_code == 409


def test_an_empty_file_is_complete_at_once(server: RunningConsole, client: httpx.Client) -> None:
    url = _create(client, 0)
    assert _offset(client, url) == 0
    assert _found(server, url).is_complete


def test_what_has_arrived_is_kept_when_the_line_breaks(
    server: RunningConsole, client: httpx.Client
) -> None:
    data = secrets.token_bytes(5_000_000)
    url = _create(client, len(data))
    line = _half_sent(server, url, len(data), data[:900_000])
    line.close()
    # What was still between the line and the route may be lost; it is sent again.
    _until(lambda: _offset(client, url) > 500_000)

    def goes_on() -> bool:
        offset = _offset(client, url)
        return _patch(client, url, offset, data[offset:]).status_code == 204

    _until(goes_on)
    assert _found(server, url).path.read_bytes() == data


def test_what_has_arrived_outlives_a_killed_server(tmp_path: Path) -> None:
    data = secrets.token_bytes(5_000_000)
    first = RunningConsole(tmp_path)
    client = first.signed_in()
    url = _create(client, len(data))
    line = _half_sent(first, url, len(data), data[:3_000_000])
    _until(lambda: _offset(client, url) >= 2_000_000)
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    line.close()

    second = RunningConsole(tmp_path)
    client.base_url = httpx.URL(second.address)  # the session lives on
    offset = _offset(client, url)
    assert offset >= 2_000_000
    assert _patch(client, url, offset, data[offset:]).status_code == 204
    assert _found(second, url).path.read_bytes() == data
    second.stop()


def test_the_last_byte_before_a_crash_completes_the_file(
    server: RunningConsole, client: httpx.Client
) -> None:
    url = _create(client, 10)
    upload = _found(server, url)
    upload.path.write_bytes(b"0123456789")
    assert _offset(client, url) == 10
    assert _found(server, url).is_complete


def test_a_wrong_offset_changes_nothing(server: RunningConsole, client: httpx.Client) -> None:
    url = _create(client, 10)
    _patch(client, url, 0, b"0123")
    for offset in (0, 3, 5, 10):
        assert _patch(client, url, offset, b"").status_code == 409
    for wrong in ("", "-4", "4.0", "x", "٤", "9" * 40):
        headers = {b"Upload-Offset": wrong.encode()}
        assert client.patch(url, content=b"4", headers=headers).status_code == 409
    assert _found(server, url).path.read_bytes() == b"0123"


def test_more_than_announced_is_refused(server: RunningConsole, client: httpx.Client) -> None:
    url = _create(client, 10)
    assert _patch(client, url, 0, b"0123456789x").status_code == 413
    # Without a Content-Length it is found out while reading.
    chunked = client.patch(url, content=iter([b"01234", b"56789x"]), headers={"Upload-Offset": "0"})
    assert chunked.status_code == 413
    assert _found(server, url).path.read_bytes() == b""


def test_two_cannot_write_at_once(server: RunningConsole, client: httpx.Client) -> None:
    data = secrets.token_bytes(4_000_000)
    url = _create(client, len(data))
    line = _half_sent(server, url, len(data), data[:2_500_000])
    _until(lambda: _offset(client, url) >= 1_000_000)
    refused = _patch(client, url, _offset(client, url), b"other")
    assert refused.status_code == 423
    assert "uploaded already" in refused.json()["error"]
    assert client.delete(url).status_code == 423
    line.sendall(data[2_500_000:])
    assert b" 204 " in line.recv(1000)
    line.close()
    assert _found(server, url).path.read_bytes() == data


def test_nor_can_two_processes(server: RunningConsole, client: httpx.Client) -> None:
    url = _create(client, 10)
    with appending(server.data, _found(server, url), 0) as ours:
        ours.write(b"01234")
        assert _patch(client, url, 5, b"56789").status_code == 423
        with pytest.raises(Busy):
            remove_upload(server.data, "admin", _found(server, url).id)
    assert _patch(client, url, 5, b"56789").status_code == 204
    assert _found(server, url).path.read_bytes() == b"0123456789"


@pytest.mark.parametrize("size", [MAX_UPLOAD + 1, 10**17])
def test_too_large_a_file_is_refused_before_its_first_byte(
    server: RunningConsole, client: httpx.Client, size: int
) -> None:
    before = len(os.listdir(server.data.uploads))
    answer = client.post("/api/uploads", headers={"Upload-Length": str(size)})
    assert answer.status_code == 413
    assert "at most 2.15 GB can be uploaded" in answer.json()["error"]
    assert len(os.listdir(server.data.uploads)) == before


def test_a_file_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    server = RunningConsole(tmp_path, OPS_MAX_UPLOAD_GB="1000000")
    free = server.data.free_bytes()
    with server.signed_in() as client:
        answer = client.post("/api/uploads", headers={"Upload-Length": str(int(free * 0.95))})
        assert answer.status_code == 507
        assert "not enough room" in answer.json()["error"]
        # What others were promised counts too.
        half = {"Upload-Length": str(int(free * 0.5))}
        assert client.post("/api/uploads", headers=half).status_code == 201
        assert client.post("/api/uploads", headers=half).status_code == 507
    server.stop()


@pytest.mark.parametrize("length", ["", "-1", "1e3", "x", "٣", "1" * 30])
def test_a_size_that_is_no_number_is_refused(client: httpx.Client, length: str) -> None:
    answer = client.post("/api/uploads", headers={b"Upload-Length": length.encode()})
    assert answer.status_code == 400


def test_anothers_upload_does_not_exist(server: RunningConsole, client: httpx.Client) -> None:
    url = _create(client, 10)
    with server.signed_in("eve") as eve:
        assert eve.head(url).status_code == 404
        assert _patch(eve, url, 0, b"0123456789").status_code == 404
        assert eve.delete(url).status_code == 404
    upload = _found(server, url)
    assert find_upload(server.data, "eve", upload.id) is None
    assert list_uploads(server.data, "eve") == []
    assert upload.id in [mine.id for mine in list_uploads(server.data, "admin")]


def test_an_upload_can_be_removed(server: RunningConsole, client: httpx.Client) -> None:
    urls = [_create(client, 10), _create(client, 10)]
    _patch(client, urls[0], 0, b"01234")
    _patch(client, urls[1], 0, b"0123456789")
    for url in urls:
        upload_id = _found(server, url).id
        assert client.delete(url).status_code == 204
        assert client.head(url).status_code == 404
        assert list(server.data.uploads.glob(f"{upload_id}*")) == []


@pytest.mark.parametrize(
    "upload_id", ["..", "%2e%2e%2fconsole", "x", "0" * 32, "0" * 31 + "G", "0" * 32 + "%0a"]
)
def test_an_upload_that_never_was_is_gone(
    server: RunningConsole, client: httpx.Client, upload_id: str
) -> None:
    cookie = {"Cookie": f"{SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}"}
    assert server.ask("HEAD", f"/api/uploads/{upload_id}", cookie)[0] in (400, 404)


def test_a_gigabyte_comes_in_in_constant_memory(
    server: RunningConsole, client: httpx.Client
) -> None:
    piece = secrets.token_bytes(1 << 20)
    warm = _create(client, len(piece))
    _patch(client, warm, 0, piece)
    url, sent = _create(client, GIB), hashlib.sha256()

    def body() -> Iterator[bytes]:
        for _ in range(1024):
            sent.update(piece)
            yield piece

    headers = {"Upload-Offset": "0", "Content-Length": str(GIB)}
    with server.memory_watched() as growth:
        answer = client.patch(url, content=body(), headers=headers, timeout=120)
    assert answer.status_code == 204
    upload = _found(server, url)
    with upload.path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == sent.digest()
    assert growth() < RSS_GROWTH_LIMIT
    remove_upload(server.data, "admin", upload.id)


def test_a_sender_who_vanishes_without_a_word_keeps_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A laptop that goes to sleep closes no connection; what came is kept."""
    monkeypatch.setattr(routes, "SILENT_SECONDS", 0.2)

    async def sent() -> AsyncIterator[bytes]:
        yield b"what came"
        await asyncio.sleep(60)

    async def batches() -> list[bytes]:
        stream = sent()
        return [await routes._next_batch(stream) for _ in range(2)]

    assert asyncio.run(batches()) == [b"what came", b""]

"""The gate and signing in, against a real server: who gets in, and what strangers see."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from streamlit.web.server.starlette.starlette_routes import create_host_config_routes
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from console.accounts import SESSION_COOKIE
from tests.services.console import ROOT, RunningConsole

HTML = {"Accept": "text/html,application/xhtml+xml"}
STREAM = "/_stcore/stream"

CLOSED = [
    "/",
    "/backups",
    "/_stcore/health",
    "/_stcore/host-config",
    "/_stcore/metrics",
    "/_stcore/agent/openapi.json",
    "/_stcore/agent/interact",
    "/_stcore/bidi-components/ops_uploader/x.js",
    "/_stcore/upload_file/a/b",
    "/_stcore/stream",
    "/static/index.html",
    "/static/js/index.js",
    "/app/static/icon.png",
    "/media/x.png",
    "/component/x/index.html",
    "/favicon.png",
    "/auth/login",
    "/oauth2callback",
    "/logout",
    "/api/backups/main/x.zip",
    "/api/session",
    "/api/uploads",
    "/api/uploads/0123456789abcdef0123456789abcdef",
    "/login/",
    "/LOGIN",
    "//login",
    "/login;x",
    "/healthz/",
    "/healthz/../_stcore/health",
    "/login/../static/index.html",
    "/%6cogin/..%2f_stcore/health",
    "/nowhere",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A console without a password."""
    running = RunningConsole(tmp_path_factory.mktemp("gate"))
    yield running
    running.stop()


def _read_to_the_end(line: ClientConnection) -> None:
    while True:
        line.recv(10)


# --- Strangers ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CLOSED)
def test_a_stranger_gets_nothing(server: RunningConsole, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        status, text = server.ask(method, path)
        assert status == 401, method
        assert "signed" in text or method == "HEAD"


def test_a_made_up_session_is_a_strangers(server: RunningConsole) -> None:
    for token in ("x", "../../etc/passwd", "'; DROP TABLE sessions; --", "é"):
        cookie = {b"Cookie": f"{SESSION_COOKIE}={token}".encode()}
        assert httpx.get(server.address, headers=cookie).status_code == 401


def test_a_stranger_with_a_browser_is_led_to_the_sign_in_page(server: RunningConsole) -> None:
    with server.stranger() as client:
        answer = client.get("/backups?target=a%20b", headers=HTML)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/login?next=/backups%3Ftarget%3Da%2520b"
        assert client.get("/", headers=HTML).headers["location"] == "/login"
        page = client.get("/login")
    assert page.status_code == 200
    assert "terminal or container log" in page.text
    assert "http" not in page.text.replace(server.address, "")


def test_everybody_may_know_that_the_server_lives(server: RunningConsole) -> None:
    with server.stranger() as client:
        answer = client.get("/healthz")
        assert (answer.status_code, answer.text) == (200, "ok")
        assert client.head("/healthz").status_code == 200


@pytest.mark.parametrize("token", [None, "made up"])
def test_the_websocket_is_closed_to_strangers(server: RunningConsole, token: str | None) -> None:
    with pytest.raises(InvalidStatus) as refused:
        server.websocket(token)
    assert refused.value.response.status_code == 403


# --- Who is signed in -----------------------------------------------------------------------


def test_the_websocket_is_open_to_our_own_page_only(server: RunningConsole) -> None:
    token = server.signed_in().cookies[SESSION_COOKIE]
    with server.websocket(token) as line:
        line.close()
    near = ("http://localhost", f"http://localhost:{server.port}", f"{server.address}0")
    far = ("http://evil.example", f"http://evil.example:{server.port}", "null", "http://[")
    for origin in (*near, *far, None):
        with pytest.raises(InvalidStatus):
            server.websocket(token, origin)


def test_an_open_websocket_ends_with_its_session(server: RunningConsole) -> None:
    client = server.signed_in()
    with server.websocket(client.cookies[SESSION_COOKIE]) as line:
        server.tell_store("DELETE FROM sessions")
        line.send(b"")
        with pytest.raises(ConnectionClosed) as closed:
            _read_to_the_end(line)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_the_pages_are_open_to_who_is_signed_in(server: RunningConsole) -> None:
    with server.signed_in() as client:
        for path in ("/", "/_stcore/health", "/_stcore/host-config"):
            assert client.get(path).status_code == 200


def test_an_open_page_may_ask_whether_its_session_lives(server: RunningConsole) -> None:
    with server.signed_in() as client:
        assert client.get("/api/session").status_code == 204
        server.tell_store("DELETE FROM sessions")
        assert client.get("/api/session").status_code == 401


def test_streamlits_dialogs_are_switched_off_and_nothing_else(server: RunningConsole) -> None:
    with server.signed_in() as client:
        ours = client.get("/_stcore/host-config").json()
    default = anyio.run(_streamlits_own_host_config)
    assert ours == {**default, "blockErrorDialogs": True, "allowedOrigins": []}


async def _streamlits_own_host_config() -> dict[str, object]:
    app = ASGITransport(Starlette(routes=create_host_config_routes(None)))
    async with AsyncClient(transport=app, base_url="http://own") as client:
        answer: dict[str, object] = (await client.get("/_stcore/host-config")).json()
    return answer


def test_every_answer_tells_the_browser_to_trust_nobody_else(server: RunningConsole) -> None:
    with server.signed_in() as client:
        answers = [client.get(path) for path in ("/", "/login", "/healthz", "/api/backups/a/b")]
    answers.append(httpx.get(server.address))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Ops-Csrf": ""},
        {"X-Ops-Csrf": "wrong"},
        {"X-Ops-Csrf": "csrf-of-eve"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_requests_change_nothing(
    server: RunningConsole, headers: dict[str, str]
) -> None:
    size = {"Upload-Length": "10"}
    with server.signed_in() as client:
        assert client.post("/api/uploads", headers={**size, **headers}).status_code == 403
        ours = {"Origin": server.address, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/api/uploads", headers={**size, **ours}).status_code == 201


# --- Starting and stopping ------------------------------------------------------------------


def test_a_taken_port_is_told_in_plain_words(server: RunningConsole, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "console.cli", "serve", "--port", str(server.port)]
    env = {"PATH": "", "PYTHONPATH": str(ROOT), "OPS_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    first, *hint = done.stderr.strip().splitlines()
    assert first.startswith(f"Port {server.port} is taken by another program")
    assert len(hint) == 1


def test_a_server_that_is_told_to_stop_stops(tmp_path: Path) -> None:
    server = RunningConsole(tmp_path)
    token = server.signed_in().cookies[SESSION_COOKIE]
    with server.websocket(token):
        began = time.monotonic()
        server.stop()
    assert time.monotonic() - began < 8
    assert "Traceback" not in server.log.read_text()

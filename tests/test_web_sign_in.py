"""Signing in and out against a real server: links, passwords, cookies, guessing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from console.accounts import SESSION_COOKIE
from console.web.routes.login import local_path
from tests.services.console import PASSWORD, RunningConsole


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A console with a password."""
    folder = tmp_path_factory.mktemp("locked")
    running = RunningConsole(folder, OPS_ADMIN_PASSWORD=PASSWORD)
    yield running
    running.stop()


def test_the_printed_link_signs_in_once(tmp_path: Path) -> None:
    server = RunningConsole(tmp_path)
    with server.stranger() as client:
        assert client.head(server.link).status_code == 200  # only looked at
        answer = client.get(server.link)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Secure" not in cookie
        assert client.get("/").status_code == 200
        again = client.get(server.link)
        assert (again.status_code, again.headers["location"]) == (303, "/")
    with server.stranger() as client:
        again = client.get(server.link)
        assert again.status_code == 403
        assert "used before" in again.text
        assert client.get("/").status_code == 401
    server.stop()
    assert server.link.split("=")[1] not in server.log.read_text()


def test_the_password_signs_in_and_no_link_is_printed(locked: RunningConsole) -> None:
    assert len(locked.lines) == 1
    with locked.stranger() as client:
        wrong = client.post("/login", data={"password": "wrong"})
        assert wrong.status_code == 401
        assert "This is not the password." in wrong.text
        assert client.get("/").status_code == 401
        form = {"password": PASSWORD, "next": "/restore?a=b"}
        right = client.post("/login", data=form, headers={"Origin": locked.address})
        assert (right.status_code, right.headers["location"]) == (303, "/restore?a=b")
        assert client.get("/").status_code == 200
    assert PASSWORD not in locked.log.read_text()


def test_behind_tls_the_cookie_stays_behind_tls(locked: RunningConsole) -> None:
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    with locked.stranger() as client:
        answer = client.post("/login", data={"password": PASSWORD}, headers=proxied)
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "none x"}]
)
def test_another_site_cannot_sign_anybody_in(
    locked: RunningConsole, headers: dict[str, str]
) -> None:
    with locked.stranger() as client:
        answer = client.post("/login", data={"password": PASSWORD}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_an_endless_form_is_not_read(locked: RunningConsole) -> None:
    with locked.stranger() as client:
        answer = client.post("/login", data={"password": PASSWORD, "next": "/" + "x" * 100_000})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "backups",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "http://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "\n//evil.example",
        "//[",
    ],
)
def test_signing_in_leads_nowhere_else(wanted: str) -> None:
    assert local_path(wanted) == "/"


def test_a_name_in_the_address_cannot_become_markup(locked: RunningConsole) -> None:
    with locked.stranger() as client:
        page = client.get("/login", params={"next": '/"><script>alert(1)</script>'}).text
    assert "<script>" not in page


def test_signing_out_ends_the_session(locked: RunningConsole) -> None:
    with locked.signed_in() as client:
        token = client.cookies[SESSION_COOKIE]
        assert client.post("/logout", headers={"Origin": "http://evil.example"}).status_code == 403
        assert client.get("/").status_code == 200
        answer = client.post("/logout", headers={"Origin": locked.address})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert "Max-Age=0" in answer.headers["set-cookie"]
    old = {"Cookie": f"{SESSION_COOKIE}={token}"}
    assert httpx.get(locked.address, headers=old).status_code == 401


def test_guessing_is_braked(tmp_path: Path) -> None:
    server = RunningConsole(tmp_path, OPS_ADMIN_PASSWORD=PASSWORD)
    statuses: list[int] = []

    def guess() -> None:
        answer = httpx.post(f"{server.address}/login", data={"password": "guess"}, timeout=30)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [401] * 5 + [429] * 3

    with server.stranger() as client:
        refused = client.post("/login", data={"password": PASSWORD})
        assert refused.status_code == 429
        assert "Too many wrong passwords. Wait" in refused.text
        time.sleep(int(refused.headers["retry-after"]))
        assert client.post("/login", data={"password": PASSWORD}).status_code == 303
    server.stop()

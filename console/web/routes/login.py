"""Signing in and out: plain HTML, because a Streamlit script cannot set cookies."""

from __future__ import annotations

import time
from functools import partial
from typing import Final
from urllib.parse import parse_qs, urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from console import accounts
from console.context import console
from console.web.gate import WATCH_PATH, address_of, is_signed_in
from console.web.routes.login_page import HEADERS, login_page
from ops.activity import Outcome, record

BODY_LIMIT: Final = 8192
FAILED_LINES_A_MINUTE: Final = 20

# Passwords are checked one after the other; who waits must not take the pages' threads.
_guesses = CapacityLimiter(2)


async def login(request: Request) -> Response:
    """GET shows the form or uses a one-time link; POST takes the password."""
    if request.method == "POST":
        return await _with_password(request)
    token = request.query_params.get("token")
    # HEAD only looks: link previews must not use a link up.
    if token is None or request.method == "HEAD":
        return await _form(local_path(request.query_params.get("next", "")))
    session = await to_thread.run_sync(accounts.use_sign_in_link, token)
    if session is None and is_signed_in(request):
        return RedirectResponse(f"{_root(request)}/", 303, {"Cache-Control": "no-store"})
    await _note(request, "sign-in", session is not None, "by a link")
    if session is None:
        return await _form("/", "This sign-in link was used before or is too old.", 403)
    return _signed_in(request, session, "/")


async def logout(request: Request) -> Response:
    """End the session. The gate has refused what another site sent."""
    token = request.cookies.get(accounts.SESSION_COOKIE)
    await to_thread.run_sync(accounts.sign_out, token)
    await _note(request, "sign-out", True, "")
    answer = RedirectResponse(f"{_root(request)}/login", 303)
    answer.delete_cookie(accounts.SESSION_COOKIE, httponly=True, samesite="lax")
    return answer


async def session_lives(_request: Request) -> Response:
    """For open pages: 204 while their session lives; the gate answers 401 when it is over."""
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


def local_path(wanted: str) -> str:
    """`wanted` if it is a path of this server, else `/`: a link must not lead elsewhere."""
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    is_local = wanted.startswith("/") and not parts.scheme and not parts.netloc
    # Browsers read a backslash as a slash, and skip control characters.
    if not is_local or wanted.startswith("//") or "\\" in wanted or not wanted.isprintable():
        return "/"
    return wanted


async def _with_password(request: Request) -> Response:
    fields = await _fields(request)
    target = local_path(fields.get("next", ""))
    try:
        session = await to_thread.run_sync(
            accounts.sign_in, fields.get("password", ""), limiter=_guesses
        )
    except accounts.TooManyAttempts as error:
        return await _form(target, error.message, 429, {"Retry-After": str(error.seconds)})
    await _note(request, "sign-in", session is not None, "by the password")
    if session is None:
        return await _form(target, "This is not the password.", 401)
    return _signed_in(request, session, target)


async def _note(request: Request, what: str, went_well: bool, how: str) -> None:
    """A line of activity. Strangers can fail as often as they like: their lines are few."""
    if not went_well and not _failures.may_write():
        return
    note = partial(
        record,
        console(),
        who=accounts.ADMIN if went_well else "a stranger",
        where=address_of(request),
        what=what,
        outcome=Outcome.DONE if went_well else Outcome.FAILED,
        detail=how,
    )
    await to_thread.run_sync(note)


class _Sparing:
    """Lets through at most so many in a minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._minute, self._used = 0, 0

    def may_write(self) -> bool:
        """Whether one more fits into this minute."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += 1
        return self._used <= self._most


_failures = _Sparing(FAILED_LINES_A_MINUTE)


async def _form(
    target: str, message: str = "", status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    has_password = await to_thread.run_sync(accounts.has_password)
    page = login_page(target, message, has_password=has_password)
    return HTMLResponse(page, status, {**HEADERS, **(headers or {})})


async def _fields(request: Request) -> dict[str, str]:
    """The form's fields; more than a form can hold is not read."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            return {}
    text = body.decode("utf-8", "replace")
    try:
        pairs = parse_qs(text, keep_blank_values=True, max_num_fields=10)
    except ValueError:
        return {}
    return {name: values[0] for name, values in pairs.items()}


def _signed_in(request: Request, session: str, target: str) -> Response:
    answer = RedirectResponse(_root(request) + target, 303, {"Cache-Control": "no-store"})
    answer.set_cookie(
        accounts.SESSION_COOKIE,
        session,
        max_age=accounts.ABSOLUTE_SECONDS,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


ROUTES = [
    Route("/login", login, methods=["GET", "POST"]),
    Route(WATCH_PATH, session_lives, methods=["GET"]),
    Route("/logout", logout, methods=["POST"]),
]

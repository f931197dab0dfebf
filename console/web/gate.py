"""The gate: everything but signing in is closed to strangers, the websocket included.

It stands before the whole application, so a page or route that is forgotten here is
closed, not open.
"""

from __future__ import annotations

import hmac
from functools import partial
from typing import Final
from urllib.parse import quote, urlsplit

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.accounts import SESSION_COOKIE, Session, who
from console.web.answers import problem

OPEN_PATHS: Final = frozenset({"/login", "/healthz", "/metrics"})
"""`/metrics` asks for a token of its own: programs have no session."""
WATCH_PATH: Final = "/api/session"
"""Where open pages ask every few seconds whether they are still signed in."""
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER: Final = "x-ops-csrf"
SIGNED_OUT: Final = 4401
FOREIGN_ORIGIN: Final = 4403

_SESSION: Final = "ops_session"
_SIGNED_OUT_WORDS: Final = """You are signed out,
or were away for too long.
Reload this page to sign in again."""


def session_of(request: Request) -> Session:
    """Who makes this request; the gate lets nobody else reach a route that asks."""
    session = request.scope[_SESSION]
    assert isinstance(session, Session)
    return session


def address_of(request: Request) -> str:
    """Where a request comes from. uvicorn has put there what a trusted proxy names, and only
    that (`OPS_TRUSTED_PROXIES`)."""
    return request.client.host if request.client else "unknown"


def is_signed_in(request: Request) -> bool:
    """Whether the one who asks for an open path has a session all the same."""
    return request.scope[_SESSION] is not None


def is_same_origin(headers: Headers) -> bool:
    """Whether a browser says that our own page, or no page, makes this request.

    Browsers send Origin with every POST and Sec-Fetch-Site where TLS or localhost allow it;
    what sends neither is not a browser and carries nobody's cookie unasked.
    """
    origin = headers.get("origin")
    if origin is not None and not _is_origin_of(origin, headers.get("host", "")):
        return False
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


class Gate:
    """ASGI middleware that asks everybody who they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        session = await _session(_token(headers), is_use=_path(scope) != WATCH_PATH)
        scope[_SESSION] = session
        answer = _refusal(scope, headers, session) or self._app
        await answer(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        token = _token(headers)
        if not _is_origin_of(headers.get("origin", ""), headers.get("host", "")):
            await send({"type": "websocket.close", "code": FOREIGN_ORIGIN})
        elif await _session(token) is None:
            await send({"type": "websocket.close", "code": SIGNED_OUT})
        else:
            line = _WatchedLine(token, receive, send)
            await self._app(scope, line.receive, line.send)


class _WatchedLine:
    """A websocket whose every message is let in only while the session lives."""

    def __init__(self, token: str | None, receive: Receive, send: Send) -> None:
        self._token, self._receive, self._send = token, receive, send
        self._is_closed = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.receive" and await _session(self._token) is None:
            await self.send({"type": "websocket.close", "code": SIGNED_OUT})
            self._is_closed = True
            return {"type": "websocket.disconnect", "code": SIGNED_OUT}
        return message

    async def send(self, message: Message) -> None:
        if not self._is_closed:
            await self._send(message)


async def _session(token: str | None, *, is_use: bool = True) -> Session | None:
    asking = partial(who, token, is_use=is_use)
    return await anyio.to_thread.run_sync(asking) if token else None


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _token(headers: Headers) -> str | None:
    return cookie_parser(headers.get("cookie", "")).get(SESSION_COOKIE)


def _refusal(scope: Scope, headers: Headers, session: Session | None) -> Response | None:
    """The answer of the gate itself; None lets the request through."""
    path = _path(scope)
    is_unsafe = scope["method"] not in SAFE_METHODS
    if is_unsafe and not is_same_origin(headers):
        return problem(403, "This request came from another site and was refused.")
    if path in OPEN_PATHS:
        return None
    if session is None:
        return _send_to_sign_in(scope, headers, path)
    given = headers.get(CSRF_HEADER, "")
    if is_unsafe and path.startswith("/api/") and not _equal(given, session.csrf):
        return problem(403, "This page is out of date.", "Reload the page, then try again.")
    return None


def _send_to_sign_in(scope: Scope, headers: Headers, path: str) -> Response:
    """Browsers that open a page are led to the sign-in page, all others are told."""
    if path.startswith("/api/"):
        return problem(401, "You are not signed in.", "Sign in, then try again.")
    if "text/html" not in headers.get("accept", ""):
        # Streamlit's line to a page whose session has ended; the page itself asks WATCH_PATH.
        return PlainTextResponse(_SIGNED_OUT_WORDS, 401, {"Cache-Control": "no-store"})
    wanted = path
    if scope["query_string"]:
        wanted += "?" + scope["query_string"].decode("latin-1")
    tail = f"?next={quote(wanted)}" if scope["method"] == "GET" and wanted != "/" else ""
    return RedirectResponse(f"{scope.get('root_path', '')}/login{tail}", 303)


def _is_origin_of(origin: str, host: str) -> bool:
    """Whether `origin` names the server that the request was sent to."""
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _equal(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())

"""The ASGI application: Streamlit's pages, our routes, and the gate before both."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from streamlit.starlette import App

from console.accounts import apply_password_setting
from console.context import console
from console.uploads import expire_stale_uploads
from console.web.answers import problem
from console.web.gate import Gate
from console.web.quiet import QuietStreamlit
from console.web.routes import (
    downloads,
    exports,
    liveness,
    login,
    metrics,
    pages,
    reports,
    uploads,
)
from console.web.security import SecurityHeaders
from ops.duties import keep_doing
from ops.recovery import settle_all

MAIN_SCRIPT: Final = Path(__file__).resolve().parent.parent / "ui" / "main.py"
_ALL_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_app(script: Path = MAIN_SCRIPT) -> App:
    """The application around the Streamlit script. One for a process."""
    parts = (login, liveness, metrics, pages, downloads, exports, reports, uploads)
    ours = [route for part in parts for route in part.ROUTES]
    return App(
        script,
        routes=[*ours, Route("/api/{rest:path}", _nothing_here, methods=_ALL_METHODS)],
        middleware=[Middleware(SecurityHeaders), Middleware(Gate), Middleware(QuietStreamlit)],
        lifespan=_lifespan,
    )


def on_start() -> None:
    """What is done before the first request is answered."""
    apply_password_setting()
    settle_all(console())
    expire_stale_uploads(console().folder)


async def _nothing_here(_request: Request) -> Response:
    """Streamlit would answer with its page, which a program takes for success."""
    return problem(404, "There is nothing at this address.")


@asynccontextmanager
async def _lifespan(_app: App) -> AsyncIterator[dict[str, Any]]:
    await anyio.to_thread.run_sync(on_start)
    stop = threading.Event()
    # Not waited for at the end: a duty may hang on a server that does not answer.
    threading.Thread(target=keep_doing, args=(console(), stop), daemon=True).start()
    try:
        yield {}
    finally:
        stop.set()

"""The addresses of the pages. What is in them, Streamlit's script asks for by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from console.web.shell import shell

_VIEWS: Final = Path(__file__).resolve().parents[2] / "ui" / "views"


async def page(_request: Request) -> HTMLResponse:
    """The same for each."""
    return HTMLResponse(shell(), headers={"Cache-Control": "no-cache"})


_NAMES: Final = sorted(view.stem for view in _VIEWS.glob("[!_]*.py"))
ROUTES = [Route(path, page) for path in ("/", *(f"/{name}" for name in _NAMES))]

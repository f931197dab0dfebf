"""`/healthz`: tells a container's health check that the server answers, and nothing else."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def healthz(_request: Request) -> PlainTextResponse:
    """Always "ok": whoever may ask may know no more."""
    return PlainTextResponse("ok", headers={"Cache-Control": "no-store"})


ROUTES = [Route("/healthz", healthz, methods=["GET"])]

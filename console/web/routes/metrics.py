"""`/metrics` for Prometheus: open to whoever brings the token, and to nobody else."""

from __future__ import annotations

import hmac
from functools import cache
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console.context import console
from console.web.answers import problem
from ops.metrics import CONTENT_TYPE, Metrics

_SCHEME: Final = "bearer "


async def metrics(request: Request) -> Response:
    """404 where no token is set, so that nothing shows that there is anything."""
    token = console().settings.metrics_token
    if token is None:
        return problem(404, "There is nothing at this address.")
    if not _is_token(request.headers.get("authorization", ""), token.get_secret_value()):
        refused = problem(401, "The token is missing or wrong.", "Send it as a Bearer token.")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused
    text = await anyio.to_thread.run_sync(_metrics().text)
    return Response(text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})


def _is_token(given: str, known: str) -> bool:
    """Compared in constant time, so that a wrong one tells nothing about the right one."""
    scheme, token = given[: len(_SCHEME)], given[len(_SCHEME) :]
    is_same = hmac.compare_digest(token.encode(), known.encode())
    return scheme.lower() == _SCHEME and is_same


@cache
def _metrics() -> Metrics:
    return Metrics(console())


ROUTES = [Route("/metrics", metrics, methods=["GET"])]

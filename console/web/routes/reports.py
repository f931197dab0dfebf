"""Reports to hand to someone, made at the moment they are asked for."""

from __future__ import annotations

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console.context import console
from console.web.answers import error_answer, problem
from console.web.gate import address_of, session_of
from ops.activity import record
from ops.errors import OpsError
from ops.report import Format, make_report, rendered


async def report(request: Request) -> Response:
    """`GET /api/reports/{target}/{format}` with html, pdf or json as the format."""
    target, wanted = request.path_params["target"], request.path_params["format"]
    if wanted not in [format.value for format in Format]:
        return problem(404, "There is no report of this kind.", "Ask for html, pdf or json.")
    try:
        made = await anyio.to_thread.run_sync(_made, target, Format(wanted))
        await anyio.to_thread.run_sync(_note, request, target, wanted)
        return made
    except OpsError as error:
        return error_answer(404, error)


def _note(request: Request, target: str, wanted: str) -> None:
    """A line of activity."""
    who, where = session_of(request).account, address_of(request)
    record(console(), who=who, where=where, what="report", target=target, detail=wanted)


def _made(target: str, format: Format) -> Response:
    made = make_report(console(), target)
    headers = {
        "Content-Disposition": f'attachment; filename="{made.file_name(format)}"',
        "Cache-Control": "private, no-store",
    }
    return Response(rendered(made, format), media_type=format.media_type, headers=headers)


ROUTES = [Route("/api/reports/{target}/{format}", report, methods=["GET"])]

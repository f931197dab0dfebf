"""Reports to hand to someone, made at the moment they are asked for."""

from __future__ import annotations

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console.context import console
from console.web.answers import error_answer, problem
from console.web.notes import note
from ops.errors import OpsError
from ops.report import Format, make_report, rendered


async def report(request: Request) -> Response:
    """`GET /api/reports/{target}/{format}` with html, pdf or json as the format."""
    target, wanted = request.path_params["target"], request.path_params["format"]
    if wanted not in [format.value for format in Format]:
        return problem(404, "There is no report of this kind.", "Ask for html, pdf or json.")
    try:
        return await anyio.to_thread.run_sync(_made, request, target, Format(wanted))
    except OpsError as error:
        return error_answer(404, error)


def _made(request: Request, target: str, format: Format) -> Response:
    made = make_report(console(), target)
    headers = {
        "Content-Disposition": f'attachment; filename="{made.file_name(format)}"',
        "Cache-Control": "private, no-store",
    }
    answer = Response(rendered(made, format), media_type=format.media_type, headers=headers)
    note(request, "report", target, detail=format.value)
    return answer


ROUTES = [Route("/api/reports/{target}/{format}", report, methods=["GET"])]

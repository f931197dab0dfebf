"""Lines of activity for what signed-in people do at the routes."""

from __future__ import annotations

from starlette.requests import Request

from console.context import console
from console.web.gate import address_of, session_of
from ops.activity import record


def note(
    request: Request, what: str, target: str = "", *, archive: str = "", detail: str = ""
) -> None:
    """A line for what was done here; it writes to the store, so call it in a thread."""
    record(
        console(),
        who=session_of(request).account,
        where=address_of(request),
        what=what,
        target=target,
        archive=archive,
        detail=detail,
    )

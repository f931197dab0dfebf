"""The activity as a file for spreadsheets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Final

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from console.context import console
from console.web.notes import note
from ops.activity import Filter, all_entries
from ops.activity.export import csv_lines

_TEXTS: Final = ("who", "what", "target", "outcome", "text")


async def activity(request: Request) -> Response:
    """`GET /api/activity.csv`; the query's fields are those of `Filter`, and empty ones are
    left out."""
    asked = request.query_params
    texts = {name: asked.get(name, "") for name in _TEXTS}
    until = _number(asked.get("until")) or time.time()  # this export is not in itself
    wanted = Filter(**texts, since=_number(asked.get("since")), until=until)
    told = ", ".join(f"{name}: {text}" for name, text in texts.items() if text)
    await to_thread.run_sync(partial(note, request, "export", detail=told))
    name = f"activity-{datetime.now(UTC):%Y%m%d-%H%M%S}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(_lines(wanted), media_type="text/csv; charset=utf-8", headers=headers)


def _lines(wanted: Filter) -> Iterator[str]:
    yield "\ufeff"  # or Excel takes it for another encoding
    yield from csv_lines(all_entries(console(), wanted))


def _number(text: str | None) -> float | None:
    """A time in seconds; None for what is none."""
    try:
        return float(text) if text else None
    except ValueError:
        return None


ROUTES = [Route("/api/activity.csv", activity, methods=["GET"])]

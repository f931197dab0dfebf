"""Downloads of backups, streamed from disk; a broken one goes on where it stopped."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from console.context import console
from console.web.answers import problem
from console.web.gate import address_of, session_of
from console.web.notes import note
from ops import activity

_ONE_DOWNLOAD_SECONDS: Final = 3600
ARCHIVE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.zip", re.ASCII)


class ArchiveResponse(FileResponse):
    """A file sent in pieces of 1 MiB: the constant memory of the server, at full speed."""

    chunk_size = 1 << 20


async def download(request: Request) -> Response:
    """`GET /api/backups/{target}/{name}`; Range, If-Range and HEAD are understood."""
    target, name = request.path_params["target"], request.path_params["name"]
    path = await anyio.to_thread.run_sync(_find, target, name)
    if path is None:
        return problem(
            404, "There is no backup of this name.", "It may have been deleted; look at the list."
        )
    if request.method == "GET":
        await anyio.to_thread.run_sync(_note, request, target, name)
    return ArchiveResponse(
        path,
        filename=name,
        media_type="application/zip",
        # `identity` keeps Streamlit's gzip away: it would squeeze what is squeezed already,
        # at a twentieth of the speed.
        headers={"Content-Encoding": "identity", "Cache-Control": "private, no-store"},
    )


def _note(request: Request, target: str, name: str) -> None:
    """A line of activity; the pieces of a download that is gone on with within an hour, by the
    same person from the same place, are one."""
    if "range" in request.headers:
        who, where = session_of(request).account, address_of(request)
        since = time.time() - _ONE_DOWNLOAD_SECONDS
        lately = activity.Filter(who=who, what="download", target=target, since=since)
        if any(
            (line.archive, line.where) == (name, where)
            for line in activity.entries(console(), lately, limit=1000)
        ):
            return
    note(request, "download", target, archive=name)


def _find(target: str, name: str) -> Path | None:
    """The archive, if it is a real file in the folder of a target that we look after."""
    home = console()
    if not ARCHIVE_NAME.fullmatch(name) or all(known.name != target for known in home.targets):
        return None
    path = home.folder.backups(target) / name
    return path if path.is_file() and not path.is_symlink() else None


ROUTES = [Route("/api/backups/{target}/{name}", download, methods=["GET", "HEAD"])]

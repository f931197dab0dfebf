"""Downloads of backups, streamed from disk; a broken one goes on where it stopped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from console.context import console
from console.web.answers import problem

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
    return ArchiveResponse(
        path,
        filename=name,
        media_type="application/zip",
        # `identity` keeps Streamlit's gzip away: it would squeeze what is squeezed already,
        # at a twentieth of the speed.
        headers={"Content-Encoding": "identity", "Cache-Control": "private, no-store"},
    )


def _find(target: str, name: str) -> Path | None:
    """The archive, if it is a real file in the folder of a target that we look after."""
    home = console()
    if not ARCHIVE_NAME.fullmatch(name) or all(known.name != target for known in home.targets):
        return None
    path = home.folder.backups(target) / name
    return path if path.is_file() and not path.is_symlink() else None


ROUTES = [Route("/api/backups/{target}/{name}", download, methods=["GET", "HEAD"])]

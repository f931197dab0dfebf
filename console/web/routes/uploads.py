"""Uploads in pieces, after tus 1.0: POST creates, HEAD tells how much is here, PATCH
appends, DELETE removes. The work with files is in `console.uploads`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final

from anyio import CapacityLimiter, fail_after, from_thread, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from console import uploads as files
from console.context import console
from console.web.answers import error_answer, problem
from console.web.gate import session_of
from console.web.notes import note
from ops.checks import words
from ops.errors import Busy, OpsError

BATCH_BYTES: Final = 1 << 20
WRITERS_AT_ONCE: Final = 8
SILENT_SECONDS: Final = 60

_TUS: Final = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}
_STATUS: Final[dict[type[OpsError], int]] = {
    files.TooLarge: 413,
    files.DiskFull: 507,
    files.WrongOffset: 409,
    Busy: 423,
}
# A slow sender holds a thread while its piece arrives; pages keep theirs.
_writers = CapacityLimiter(WRITERS_AT_ONCE)


async def create(request: Request) -> Response:
    """`POST /api/uploads` with Upload-Length, and the file's name in Upload-Metadata."""
    size = _number(request, "upload-length")
    if size is None:
        return problem(400, "The size of the file was not told.", "Choose the file again.")
    home = console()
    limit = int(home.settings.max_upload_gb * 1e9)
    name, owner = _file_name(request), session_of(request).account

    def make() -> files.Upload:
        files.expire_stale_uploads(home.folder)
        return files.create_upload(home.folder, owner, name, size, limit)

    try:
        upload = await to_thread.run_sync(make)
    except OpsError as error:
        return _error(error)
    place = f"{request.scope.get('root_path', '')}/api/uploads/{upload.id}"
    return Response(status_code=201, headers={**_TUS, "Location": place})


async def one(request: Request) -> Response:
    """HEAD, PATCH and DELETE of `/api/uploads/{id}`; others' uploads do not exist."""
    folder, owner = console().folder, session_of(request).account
    upload_id = request.path_params["id"]
    upload = await to_thread.run_sync(files.find_upload, folder, owner, upload_id)
    if upload is None:
        return problem(404, "This upload is gone.", "Choose the file again.")
    try:
        if request.method == "DELETE":
            await to_thread.run_sync(files.remove_upload, folder, owner, upload_id)
            await to_thread.run_sync(_note, request, "delete-upload", upload)
            return Response(status_code=204, headers=_TUS)
        if request.method == "PATCH":
            offset = await _append(request, upload)
            if offset == upload.size and not upload.is_complete:
                await to_thread.run_sync(_note, request, "upload", upload)
            return Response(status_code=204, headers={**_TUS, "Upload-Offset": str(offset)})
    except OpsError as error:
        return _error(error)
    here = {"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.size)}
    return Response(headers={**_TUS, **here})


async def _append(request: Request, upload: files.Upload) -> int:
    """Write the body at the end of the upload; returns where the upload ends now."""
    offset, length = _number(request, "upload-offset"), _number(request, "content-length")
    if offset is None:
        raise files.WrongOffset("The place of the piece was not told.", "Choose the file again.")
    if length is not None and offset + length > upload.size:
        raise files.TooLarge("More data was sent than announced.", "Choose the file again.")
    batches = partial(from_thread.run, partial(_next_batch, request.stream()))
    return await to_thread.run_sync(_write, upload, offset, batches, limiter=_writers)


def _write(upload: files.Upload, offset: int, next_batch: Callable[[], bytes]) -> int:
    with files.appending(console().folder, upload, offset) as appender:
        while batch := next_batch():
            appender.write(batch)
    return appender.offset


async def _next_batch(stream: AsyncIterator[bytes]) -> bytes:
    """About 1 MiB of the body, so that writing costs few hops between threads.

    Empty at the end. A sender who went away has simply sent less: what came is kept. One who has
    vanished without a word, as a laptop that sleeps does, is taken for gone after a while: until
    then nobody else may write to the upload.
    """
    chunks, size = [], 0
    try:
        while size < BATCH_BYTES:
            with fail_after(SILENT_SECONDS):
                chunk = await anext(stream)
            chunks.append(chunk)
            size += len(chunk)
    except (StopAsyncIteration, ClientDisconnect, TimeoutError):
        pass
    return b"".join(chunks)


def _note(request: Request, what: str, upload: files.Upload) -> None:
    """A line of activity."""
    archive = upload.path.with_suffix(".zip").name
    note(request, what, archive=archive, detail=f"{upload.name}, {words.size(upload.size)}")


def _number(request: Request, header: str) -> int | None:
    text = request.headers.get(header, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _file_name(request: Request) -> str:
    """The `filename` of tus' Upload-Metadata: pairs of a key and a value in base64."""
    for pair in request.headers.get("upload-metadata", "").split(","):
        key, _, value = pair.strip().partition(" ")
        if key == "filename":
            try:
                return base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                break
    return ""


def _error(error: OpsError) -> Response:
    return error_answer(_STATUS.get(type(error), 500), error)


ROUTES = [
    Route("/api/uploads", create, methods=["POST"]),
    Route("/api/uploads/{id}", one, methods=["HEAD", "PATCH", "DELETE"]),
]

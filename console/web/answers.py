"""Errors as the routes answer them: JSON of the shape `{error, hint, detail}`."""

from __future__ import annotations

from starlette.responses import JSONResponse

from ops.errors import OpsError


def problem(status: int, message: str, hint: str = "") -> JSONResponse:
    """A refusal in plain words; the uploader shows them as they are."""
    return error_answer(status, OpsError(message, hint))


def error_answer(status: int, error: OpsError) -> JSONResponse:
    """An error of the library as an answer; its technical cause stays on the server."""
    body = {**error.as_dict(), "detail": ""}
    return JSONResponse(body, status, {"Cache-Control": "no-store"})

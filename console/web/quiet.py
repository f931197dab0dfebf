"""Streamlit's own error dialogs, which speak to programmers, are kept from people."""

from __future__ import annotations

from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_PATH: Final = "/_stcore/host-config"
# The keys that Streamlit itself answers with. No other site may embed or steer a page.
_ANSWER: Final = {
    "allowedOrigins": [],
    "useExternalAuthToken": False,
    "enableCustomParentMessages": False,
    "enforceDownloadInNewTab": False,
    "metricsUrl": "",
    "blockErrorDialogs": True,
    "resourceCrossOriginMode": None,
}


class QuietStreamlit:
    """ASGI middleware that answers for Streamlit how its pages are to behave.

    What its dialogs would say, `console.ui.parts.announce` says in words for everybody.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_asked = scope["type"] == "http" and scope["path"].endswith(_PATH)
        answer = JSONResponse(_ANSWER, headers={"Cache-Control": "no-cache"})
        await (answer if is_asked else self._app)(scope, receive, send)

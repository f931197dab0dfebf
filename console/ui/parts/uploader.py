"""The upload of a backup: a component that sends the file to `/api/uploads` itself.

Streamlit's own uploader keeps the whole file in the server's memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class UploadDone:
    """What the browser says has arrived; ask `console.uploads.find_upload` whether it has."""

    id: str
    name: str
    size: int


_component = st.components.v2.component(
    "ops_uploader",
    html=(_HERE / "uploader.html").read_text(encoding="utf-8"),
    css=(_HERE / "uploader.css").read_text(encoding="utf-8"),
    js=(_HERE / "uploader.js").read_text(encoding="utf-8"),
)


def uploader(csrf: str, key: str) -> UploadDone | None:
    """Draw the uploader; in the one run after a file has arrived it returns that file."""
    result = _component(key=key, data={"csrf": csrf}, on_uploaded_change=lambda: None)
    done = result.uploaded
    if not isinstance(done, dict):
        return None
    return UploadDone(str(done.get("id")), str(done.get("name")), int(done.get("size", 0)))

"""Telling screen readers what has changed on a page, and telling everybody that the console
no longer answers."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_HERE = Path(__file__).resolve().parent

_live_region = st.components.v2.component(
    "ops_announce",
    html='<div class="said" role="status" aria-live="polite"></div>',
    css=".said { position: absolute; width: 1px; height: 1px; overflow: hidden; "
    "clip-path: inset(50%); white-space: nowrap; }",
    js="""export default function ({ data, parentElement }) {
  const said = parentElement.querySelector(".said");
  if (said.textContent !== data.text) said.textContent = data.text;
}""",
)

_watch = st.components.v2.component(
    "ops_watch",
    html='<div class="gone" role="alert"></div>',
    css=(_HERE / "watch.css").read_text(encoding="utf-8"),
    js=(_HERE / "watch.js").read_text(encoding="utf-8"),
)


def announce(text: str, key: str) -> None:
    """Have `text` read out, politely, when it differs from the last one of this key."""
    _live_region(key=key, data={"text": text})


def watch_connection() -> None:
    """Say so when the console does not answer; lead to the sign-in page when signed out."""
    _watch(key="ops-watch")

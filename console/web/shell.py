"""The HTML around the pages: Streamlit's own, which says whose it is and where the server is."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import streamlit

_INDEX: Final = Path(streamlit.__file__).parent / "static" / "index.html"
_PLACE: Final = """
    <script>
      window.__streamlit = { BACKEND_BASE_URL: new URL(".", location.href).href };
    </script>"""
"""Without it Streamlit's script takes the page's name for a folder, asks there for the server, and
waits a tenth of a second before it asks at the right place."""


@cache
def shell() -> str:
    """What a browser gets for every page."""
    head, rest = _INDEX.read_text(encoding="utf-8").split("<head>", 1)
    rest = rest.replace("<title>Streamlit</title>", "<title>Ops Console</title>")
    return f"{head}<head>{_PLACE}{rest}"

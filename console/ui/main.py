"""The script that Streamlit runs: who may look, which database, which page."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from console.ui.parts.announce import watch_connection
from console.ui.parts.session import signed_in, target_picker

_HERE = Path(__file__).parent
_VIEWS = _HERE / "views"

st.set_page_config(
    page_title="Ops Console", page_icon=str(_HERE / "static" / "icon.png"), layout="wide"
)
watch_connection()  # before all else: who is signed out is to be led to the sign-in page
session = signed_in()


def _page(name: str, title: str, icon: str, *, default: bool = False) -> st.Page:
    script, path = _VIEWS / f"{name}.py", "" if default else name
    return st.Page(script, title=title, icon=icon, default=default, url_path=path or None)


pages = {
    "Watch": [
        _page("overview", "Overview", ":material/home:", default=True),
        _page("health", "Health", ":material/monitor_heart:"),
        _page("size", "Size", ":material/bar_chart:"),
        _page("connections", "Connections", ":material/lan:"),
    ],
    "Keep safe": [
        _page("backups", "Backups", ":material/archive:"),
        _page("schedule", "Schedule", ":material/event_repeat:"),
        _page("restore", "Restore", ":material/settings_backup_restore:"),
    ],
    "Console": [
        _page("activity", "Activity", ":material/history:"),
        _page("settings", "Settings", ":material/settings:"),
    ],
}
target_picker()
page = st.navigation(pages)
st.set_page_config(page_title=f"{page.title} · Ops Console")
page.run()

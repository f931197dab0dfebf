"""Backups: make, download, test, name and delete them."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.heading import heading
from console.ui.parts.hold import draw_missing, hold_button, reasons_to_keep
from console.ui.parts.jobs import is_busy, job_panel, start_job
from console.ui.parts.proof import badge, proof_choice, test_button
from console.ui.parts.session import current_target, noted
from console.ui.parts.words import ago, local, plain, size
from ops import Catalog, CatalogEntry
from ops.checks.words import many
from ops.target import Target

_SHOWN = 20


def draw() -> None:
    """The page."""
    target = current_target()
    heading("Backups", target, shows_jobs=False)
    _make(target)
    job_panel(target)
    with guarded():
        entries = Catalog(console().folder, target.name).entries()
        if not entries:
            st.info("There is no backup yet. The button above makes the first.")
        draw_missing(target)
        reasons = reasons_to_keep(target)
        busy = is_busy(target)
        shown = st.session_state.get("shown_backups", _SHOWN)
        for entry in entries[:shown]:
            _entry(target, entry, busy, reasons.get(entry.name, ""))
        if len(entries) > shown and st.button(f"Show {len(entries) - shown} older"):
            st.session_state["shown_backups"] = len(entries)
            st.rerun()
    st.caption(
        "Keep copies elsewhere too: if this computer breaks, the backups on it break with it. "
        "Download one from time to time and store it in another place."
    )


def _make(target: Target) -> None:
    with st.form("make", border=False, enter_to_submit=False):
        label = st.text_input(
            "What is this backup for? (you may leave it empty)",
            max_chars=200,
            placeholder="before the price update",
        )
        checking = proof_choice()
        busy = is_busy(target)
        if st.form_submit_button(
            "Back up now", type="primary", icon=":material/archive:", disabled=busy
        ):
            start_job("backup", target, {"label": label, **checking})


def _entry(target: Target, entry: CatalogEntry, busy: bool, reason: str) -> None:
    with st.container(border=True):
        title = plain(entry.label) if entry.label else plain(entry.name)
        st.markdown(f"**{title}**")
        if entry.manifest is None:
            st.error(f"Not usable as a backup: {plain(entry.problem)}", icon=":material/error:")
        else:
            st.caption(_facts(entry))
        badge(entry)
        if entry.is_held:
            st.badge("Held: kept until you let it go", icon=":material/lock:", color="violet")
        elif reason:
            st.caption(plain(f"{reason}."))
        with st.container(horizontal=True, vertical_alignment="center"):
            st.html(_download_link(target, entry), width="content")
            if entry.manifest is not None:
                test_button(target, entry, busy)
            if st.button("Rename", key=f"rename-{entry.name}", icon=":material/edit:"):
                _rename(target, entry)
            hold_button(target, entry)
            if st.button(
                "Delete",
                key=f"delete-{entry.name}",
                icon=":material/delete:",
                disabled=entry.is_held,
            ):
                _delete(target, entry)


def _facts(entry: CatalogEntry) -> str:
    assert entry.manifest is not None
    tables = entry.manifest.tables
    rows = sum(table.rows for table in tables or ())
    content = "an old format without row counts"
    if tables is not None:
        content = f"{many(len(tables), 'table')}, {many(rows, 'row')}"
    origin = "" if entry.made_here else " · not made by this console"
    when = f"{local(entry.created_at)} ({ago(entry.created_at)})"
    name = f" · {entry.name}" if entry.label else ""  # else it stands above
    return plain(f"{when} · {size(entry.size_bytes)} · {content}{origin}{name}")


def _download_link(target: Target, entry: CatalogEntry) -> str:
    address = f"/api/backups/{quote(target.name)}/{quote(entry.name)}"
    told = escape(f"Download {entry.label or entry.name}, {size(entry.size_bytes)}")
    return (
        f'<a href="{address}" download aria-label="{told}" style="font-weight:600">⬇ Download</a>'
    )


@st.dialog("Rename this backup")
def _rename(target: Target, entry: CatalogEntry) -> None:
    label = st.text_input("What is this backup for?", value=entry.label, max_chars=200)
    if st.button("Save", type="primary"):
        with guarded():
            with noted("rename", target.name, archive=entry.name, detail=label):
                Catalog(console().folder, target.name).set_label(entry.name, label)
            st.rerun()


@st.dialog("Delete this backup?")
def _delete(target: Target, entry: CatalogEntry) -> None:
    st.markdown(f"**{plain(entry.label or entry.name)}** will be gone for good.")
    st.markdown("The database itself is not touched.")
    if st.button("Delete it", type="primary", icon=":material/delete:"):
        with guarded():
            with noted("delete-backup", target.name, archive=entry.name):
                Catalog(console().folder, target.name).delete(entry.name)
            st.rerun()


draw()

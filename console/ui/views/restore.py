"""Restore: choose a backup, see what will change, say yes, and undo if need be."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.heading import heading
from console.ui.parts.jobs import is_busy, job_panel, start_job
from console.ui.parts.preview import draw_preview
from console.ui.parts.session import current_target, signed_in
from console.ui.parts.uploader import uploader
from console.ui.parts.verdict import is_undamaged
from console.ui.parts.words import ago, local, plain, size
from console.uploads import list_uploads, remove_upload
from ops import Catalog, UndoPoint, delete_undo_point, dialect_of, preview_restore, undo_points
from ops.target import Target

_BEGUN = "restores_begun"
_KEPT, _UPLOAD = "A backup kept here", "A ZIP from this computer"


def draw() -> None:
    """The page."""
    target = current_target()
    heading("Restore", target)
    st.markdown(
        "Puts a backup in the place of the database. It is checked first, beside the database "
        "in use; only then are the two swapped, and you can undo it afterwards."
    )
    job_panel(target, ("restore", "undo"))
    with guarded():
        _undo_points(target)
    st.subheader("1. Choose the backup")
    with guarded():
        path = _choose(target)
        if path is not None and is_undamaged(path):
            _confirm(target, path)


def _choose(target: Target) -> Path | None:
    source = st.radio("Where is it?", [_KEPT, _UPLOAD], horizontal=True)
    return _kept(target) if source == _KEPT else _uploaded()


def _kept(target: Target) -> Path | None:
    entries = [e for e in Catalog(console().folder, target.name).entries() if e.manifest]
    if not entries:
        st.info("There is no backup here yet. Make one on the Backups page, or upload a ZIP.")
        return None
    labels = {
        e.name: f"{local(e.created_at)} · {size(e.size_bytes)} · {e.label or e.name}"
        for e in entries
    }
    name = st.selectbox("Backup", list(labels), format_func=labels.__getitem__)
    return next(entry.path for entry in entries if entry.name == name)


def _uploaded() -> Path | None:
    session = signed_in()
    uploader(session.csrf, key="restore-upload")
    done = [u for u in list_uploads(console().folder, session.account) if u.is_complete]
    if not done:
        return None
    by_id = {upload.id: upload for upload in done}
    chosen = st.selectbox(
        "Uploaded file",
        list(by_id),
        format_func=lambda upload_id: f"{by_id[upload_id].name} · {size(by_id[upload_id].size)}",
    )
    if st.button("Remove this upload", icon=":material/delete:"):
        signed_in()
        remove_upload(console().folder, session.account, chosen)
        st.rerun()
    return by_id[chosen].path


def _confirm(target: Target, path: Path) -> None:
    preview = preview_restore(target, path, console().folder)
    st.subheader("2. See what will change")
    name = dialect_of(target.engine).database_name(target.engine)
    allowed = draw_preview(preview, name)
    st.subheader("3. Say yes")
    trusted = preview.made_here or st.checkbox(
        "This backup was not made by this console, so it may contain commands of somebody "
        "else's. I know where it comes from and trust it.",
        key=f"trust-{path.name}",
    )
    st.markdown(f"To replace the database **{plain(name)}**, type its name.")
    begun = st.session_state.get(_BEGUN, 0)  # a new field each time: one yes is for one restore
    key = f"confirm-{path.name}-{begun}"
    typed = st.text_input("Name of the database", key=key, autocomplete="off")
    ready = (
        allowed and trusted and typed.strip().casefold() == name.casefold() and not is_busy(target)
    )
    if st.button("Restore now", type="primary", disabled=not ready):
        st.session_state[_BEGUN] = begun + 1
        start_job("restore", target, {"archive": str(path), "trust_foreign": not preview.made_here})
    if allowed and not ready:
        st.caption("The button works once everything above is filled in and nothing else runs.")


def _undo_points(target: Target) -> None:
    points = undo_points(target, console().folder)
    if not points:
        return
    st.subheader("Go back")
    for point in points:
        with st.container(border=True):
            before = "the last undo" if point.verb == "undo" else "a restore"
            st.markdown(
                f"The database as it was before {before}, {ago(point.kept_at)} "
                f"({plain(local(point.kept_at))}), {size(point.size_bytes)}."
            )
            st.caption(f"Kept until {plain(local(point.until))}, then deleted.")
            with st.container(horizontal=True):
                if st.button(
                    "Undo", key=f"undo-{point.id}", icon=":material/undo:", disabled=is_busy(target)
                ):
                    _undo(target, point)
                if st.button("Delete", key=f"drop-{point.id}", icon=":material/delete:"):
                    _drop(target, point)


@st.dialog("Undo?")
def _undo(target: Target, point: UndoPoint) -> None:
    st.markdown(
        f"The database goes back to how it was before {plain(local(point.kept_at))}. "
        "As it is now, it is kept too, so this can be undone in its turn."
    )
    if st.button("Undo now", type="primary"):
        start_job("undo", target, {"point": point.id})


@st.dialog("Give up this way back?")
def _drop(target: Target, point: UndoPoint) -> None:
    st.markdown(
        f"The database as it was before {plain(local(point.kept_at))} will be gone for good. "
        "The database in use is not touched."
    )
    if st.button("Delete it", type="primary"):
        signed_in()
        with guarded():
            delete_undo_point(target, console().folder, point.id)
            st.rerun()


draw()

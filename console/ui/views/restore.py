"""Restore: choose a backup, see what will change, say yes, and undo if need be."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from console.context import console
from console.ui.parts.comparison import draw_comparison
from console.ui.parts.errors import guarded
from console.ui.parts.heading import heading
from console.ui.parts.jobs import is_busy, job_panel, start_job
from console.ui.parts.kept import draw_databases_beside, draw_undo_points
from console.ui.parts.preview import draw_preview
from console.ui.parts.session import current_target, noted, signed_in
from console.ui.parts.stuck import draw_stuck
from console.ui.parts.uploader import uploader
from console.ui.parts.verdict import is_undamaged
from console.ui.parts.words import local, plain, size
from console.uploads import list_uploads, remove_upload
from ops import Catalog, dialect_of, preview_restore
from ops.target import Target

_BEGUN = "restores_begun"
_KEPT, _UPLOAD = "A backup kept here", "A ZIP from this computer"
_OTHERS = "A backup of another database"


def draw() -> None:
    """The page."""
    target = current_target()
    heading("Restore", target, shows_jobs=False)
    st.markdown(
        "Puts a backup in the place of the database: all of it, or, if anything is wrong with it, "
        "nothing. The database as it is now is kept, so that you can undo it afterwards; where "
        "that is not possible, the page says so before you begin."
    )
    job_panel(target, ("restore", "undo", "compare", "beside"))
    with guarded():
        if draw_stuck(target):
            return
        draw_undo_points(target)
        draw_databases_beside(target)
    st.subheader("1. Choose the backup")
    with guarded():
        path = _choose(target)
        if path is not None and is_undamaged(path):
            _confirm(target, path)


def _choose(target: Target) -> Path | None:
    others = [other for other in console().targets if other.name != target.name]
    sources = [_KEPT, _UPLOAD, *([_OTHERS] if others else [])]
    source = st.radio("Where is it?", sources, horizontal=True)
    if source == _UPLOAD:
        return _uploaded()
    if source == _KEPT:
        return _kept(target)
    names = [other.name for other in others]
    return _kept(console().target(st.selectbox("Of which database?", names)))


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
        with guarded():
            with noted("delete-upload", detail=by_id[chosen].name):
                remove_upload(console().folder, session.account, chosen)
            st.rerun()
    return by_id[chosen].path


def _confirm(target: Target, path: Path) -> None:
    preview = preview_restore(target, path, console().folder)
    st.subheader("2. See what will change")
    name = dialect_of(target.engine).database_name(target.engine)
    allowed = draw_preview(preview, name)
    trusted = preview.made_here or st.checkbox(
        "This backup was not made by this console, so it may contain commands of somebody "
        "else's. I know where it comes from and trust it.",
        key=f"trust-{path.name}",
    )
    params = {"archive": str(path), "trust_foreign": not preview.made_here}
    if preview.stages_beside:
        off = not (allowed and trusted) or is_busy(target)
        _look_first(target, path, params, disabled=off)
    st.subheader("3. Say yes")
    st.markdown(f"To replace the database **{plain(name)}**, type its name.")
    begun = st.session_state.get(_BEGUN, 0)  # a new field each time: one yes is for one restore
    key = f"confirm-{path.name}-{begun}"
    typed = st.text_input("Name of the database", key=key, autocomplete="off")
    ready = (
        allowed and trusted and typed.strip().casefold() == name.casefold() and not is_busy(target)
    )
    if st.button("Restore now", type="primary", disabled=not ready):
        st.session_state[_BEGUN] = begun + 1
        start_job("restore", target, params)
    if allowed and not ready:
        st.caption("The button works once everything above is filled in and nothing else runs.")


def _look_first(target: Target, path: Path, params: dict[str, object], *, disabled: bool) -> None:
    """Two ways to know more before saying yes; neither touches the database in use."""
    draw_comparison(target, path)
    with st.container(horizontal=True):
        if st.button("Compare every row", icon=":material/difference:", disabled=disabled):
            start_job("compare", target, params)
        if st.button("Look at it first", icon=":material/visibility:", disabled=disabled):
            start_job("beside", target, params)
    st.caption(
        "“Compare every row” counts exactly what would change. “Look at it first” brings the "
        "backup to life as a new database beside yours, which you can open. "
        "Neither changes the database in use."
    )


draw()

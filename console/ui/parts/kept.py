"""What is kept beside the live database: ways back, and databases to look at."""

from __future__ import annotations

import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.jobs import is_busy, start_job
from console.ui.parts.session import noted
from console.ui.parts.words import ago, local, plain, size
from ops import UndoPoint, delete_undo_point, undo_points
from ops.beside import databases_beside
from ops.target import Target


def draw_undo_points(target: Target) -> None:
    """Every former live database, with the buttons that put it back or give it up."""
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
            _tell_its_end(point)
            with st.container(horizontal=True):
                if st.button(
                    "Undo", key=f"undo-{point.id}", icon=":material/undo:", disabled=is_busy(target)
                ):
                    _undo(target, point)
                if st.button("Delete", key=f"drop-{point.id}", icon=":material/delete:"):
                    _drop(target, point)


def draw_databases_beside(target: Target) -> None:
    """Every backup that was brought to life to be looked at, and where programs find it."""
    found = databases_beside(target, console().folder)
    if not found:
        return
    st.subheader("To look at")
    for point, address in found:
        with st.container(border=True):
            st.markdown(
                f"The backup **{plain(point.source)}**, brought to life {ago(point.kept_at)}, "
                f"{size(point.size_bytes)}. The database in use is not touched by it."
            )
            st.markdown("Any program that reads such databases can open it at this address:")
            st.code(address, language=None, wrap_lines=True)
            _tell_its_end(point)
            if st.button("Delete", key=f"drop-{point.id}", icon=":material/delete:"):
                _drop(target, point)


def _tell_its_end(point: UndoPoint) -> None:
    st.caption(f"Kept until {plain(local(point.until))}, and deleted within a day after.")


@st.dialog("Undo?")
def _undo(target: Target, point: UndoPoint) -> None:
    st.markdown(
        f"The database goes back to how it was before {plain(local(point.kept_at))}. "
        "As it is now, it is kept too, so this can be undone in its turn."
    )
    if st.button("Undo now", type="primary"):
        start_job("undo", target, {"point": point.id})


@st.dialog("Delete it?")
def _drop(target: Target, point: UndoPoint) -> None:
    what = "The backup that was brought to life" if point.verb == "beside" else "This way back"
    st.markdown(
        f"{what} will be gone for good. The database in use is not touched, and neither are "
        "the backups."
    )
    if st.button("Delete it", type="primary"):
        with guarded():
            with noted("delete-kept", target.name, archive=point.source, detail=point.location):
                delete_undo_point(target, console().folder, point.id)
            st.rerun()

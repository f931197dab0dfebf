"""An interrupted restore that only a person can decide about."""

from __future__ import annotations

import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.jobs import is_busy
from console.ui.parts.session import noted
from console.ui.parts.words import local, plain
from ops.dialects.base import Stuck
from ops.journal import Journal
from ops.recovery import look_stuck, take_way_out, unsettled
from ops.target import Target


def draw_stuck(target: Target) -> bool:
    """Whether a restore waits for a decision; then it is drawn, and nothing else may begin."""
    if is_busy(target) or not unsettled(target, console().folder):
        return False
    found = look_stuck(target, console().folder)
    if found is None:
        return False
    _ask(target, *found)
    return True


def _ask(target: Target, journal: Journal, stuck: Stuck) -> None:
    st.error(
        f"**A restore of {plain(local(journal.begun_at))} was interrupted, and the console cannot "
        "tell by itself how it ended.** Nothing was touched since. Please look at what there is, "
        "and choose.",
        icon=":material/help:",
    )
    st.markdown("**This is there:**")
    st.markdown("\n".join(f"- {plain(line)}" for line in stuck.found))
    if not stuck.ways:
        st.markdown(
            "**What to do:** ask whoever looks after the server. The backups on the Backups "
            "page are not affected."
        )
    for way in stuck.ways:
        with st.container(border=True):
            st.markdown(f"**{plain(way.title)}**")
            st.markdown(plain(way.explanation))
            if st.button("Choose this", key=f"way-{way.id}", type="primary"):
                with guarded():
                    with noted("settle", target.name, detail=way.title):
                        take_way_out(target, console().folder, journal.id, way.id)
                    st.rerun()
    with st.expander("Technical details"):
        st.json({"restore": journal.id, "step": journal.step, "facts": journal.facts})

"""Who waits for whom at the server, and the buttons that let the queue move on."""

from __future__ import annotations

from collections.abc import Iterator

import streamlit as st

from console.ui.parts.fixing import draw_fix
from console.ui.parts.words import plain
from ops.checks.words import duration, many
from ops.dialects.base import WaitingSession
from ops.fixes import FIXES
from ops.fixes.postgresql_sessions import session_name
from ops.sessions import Queue, get_queues
from ops.target import Target

_INDENT = "    "


def draw_queues(target: Target, *, complete: bool) -> None:
    """Each session in front with those behind it; `complete` tells whether others are seen."""
    st.subheader("Who waits for whom")
    queues = get_queues(target.engine) or ()
    if not queues:
        if complete:
            st.markdown(":material/check_circle: Nobody waits for anybody.")
        else:
            st.markdown(":material/help: Could not check: the grant above would let it look.")
        return
    for queue in queues:
        with st.container(border=True):
            st.markdown("\n".join(_lines(queue)))
            with st.container(horizontal=True):
                _buttons(target, queue)


def _buttons(target: Target, queue: Queue) -> None:
    front = queue.session
    subject = (session_name(front.pid, front.began),)
    if front.state == "active":
        draw_fix(target, FIXES["postgresql.cancel_query"], subject)
    draw_fix(target, FIXES["postgresql.end_session"], subject)


def _lines(queue: Queue, depth: int = 0) -> Iterator[str]:
    """The tree as a nested list in Markdown."""
    yield f"{_INDENT * depth}- {_told(queue)}"
    for behind in queue.behind:
        yield from _lines(behind, depth + 1)


def _told(queue: Queue) -> str:
    one = queue.session
    who = f"**{plain(one.application)}**"
    if one.role:
        who += f" (user {plain(one.role)}, process {one.pid})"
    statement = f" — `{_code(one.statement)}`" if one.statement else ""
    behind = f" **{many(queue.length, 'session')} behind it.**" if queue.length else ""
    return f"{who} {_doing(one)}.{behind}{statement}"


def _doing(one: WaitingSession) -> str:
    span = duration(one.seconds)
    if 0 in one.waits_for:
        return f"waits {span} for a change that was prepared and never finished"
    if one.waits_for:
        return f"waits {span}"
    if one.state.startswith("idle in transaction"):
        return f"began a change and has done nothing for {span}"
    if one.state == "active":
        return f"has been working for {span}"
    return f"holds what others wait for, for {span}"


def _code(text: str) -> str:
    return text.replace("`", "'")

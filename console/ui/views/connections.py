"""Connections: the console's pool, the server's view, and Redis."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import streamlit as st

from console.ui.parts.errors import guarded
from console.ui.parts.findings import redis_report
from console.ui.parts.heading import heading
from console.ui.parts.jobs import job_panel
from console.ui.parts.queues import draw_queues
from console.ui.parts.session import current_target
from console.ui.parts.statements import draw_statements
from console.ui.parts.trends import draw_connections
from console.ui.parts.words import count, plain, size, span
from ops import get_pool_stats, get_server_sessions
from ops.dialects.base import PoolStats, ServerSessions

_STATES = {
    "active": "working",
    "idle": "waiting for something to do",
    "idle in transaction": "in the middle of a change, doing nothing",
    "idle in transaction (aborted)": "in the middle of a failed change",
    "hidden": "hidden from the console's user",
}


def draw() -> None:
    """The page."""
    target = current_target()
    heading("Connections", target)
    with guarded():
        sessions = get_server_sessions(target.engine)
        if sessions is None:
            st.info(
                "This database is a file. Programs open it directly, so there is no server that "
                "could say who is connected.",
                icon=":material/description:",
            )
        else:
            _server(sessions)
            job_panel(target, ("fix",))
            draw_queues(target, complete=sessions.complete)
            draw_statements(target)
            draw_connections(target)
        pool = get_pool_stats(target.engine)
        if pool is not None:
            _pool(pool)
    st.subheader("Redis")
    with guarded():
        _redis()


def _server(sessions: ServerSessions) -> None:
    st.subheader("Who is connected")
    st.progress(
        min(1.0, sessions.used / sessions.limit),
        text=f"{sessions.used} of {sessions.limit} places are taken.",
    )
    if not sessions.complete:
        st.warning(
            "Could not check everything: the console's user may not see what others do. As the "
            "server's administrator, run: `GRANT pg_monitor TO` and the user's name.",
            icon=":material/help:",
        )
    rows = [
        {
            "Program": plain(group.application),
            "Doing": _STATES.get(group.state, group.state),
            "Connections": group.count,
            "Longest for": _for(group.longest_seconds),
        }
        for group in sessions.groups
    ]
    st.table(pd.DataFrame(rows), hide_index=True, alt="Connections by program and state.")


def _for(seconds: float | None) -> str:
    return "–" if seconds is None else span(timedelta(seconds=max(0.0, seconds)))


def _pool(pool: PoolStats) -> None:
    st.subheader("This console's own connections")
    st.caption("The console keeps a few connections ready. This says how busy they are.")
    figures = {
        "Places": (pool.size, "How many connections may be kept ready."),
        "Ready": (pool.checked_in, "Open, and free at the moment."),
        "In use": (pool.checked_out, "Open, and working at the moment."),
        "Extra": (pool.overflow, "Opened beyond the places, because all were in use."),
        "In vain": (pool.timeouts, "How often somebody waited and got none. Should be 0."),
    }
    for column, (label, (value, told)) in zip(st.columns(5), figures.items(), strict=True):
        column.metric(label, count(value), help=told, border=True)


def _redis() -> None:
    report = redis_report()
    if report is None:
        st.caption("No Redis is set. To watch one, set `REDIS_URL` and start the console again.")
        return
    st.markdown(f"**{plain(report.headline)}**")
    told = report.details
    if not told:
        return
    rate = told.get("hit_rate")
    figures = {
        "Version": told.get("redis_version"),
        "Running for": _for(told.get("uptime_in_seconds")),
        "Memory used": size(told.get("used_memory") or 0),
        "Memory limit": size(told["maxmemory"]) if told.get("maxmemory") else "none set",
        "Connected programs": count(told.get("connected_clients")),
        "Things kept": count(told.get("keys")),
        "Look-ups that found something": "–" if rate is None else f"{rate:.0%}",
    }
    rows = [{"What": name, "Value": plain(str(value))} for name, value in figures.items()]
    st.table(pd.DataFrame(rows), hide_index=True, alt="Figures of Redis.")
    with st.expander("All figures"):
        st.json(dict(told), expanded=True)


draw()

"""Overview: how the database is, how old the last backup is, one button."""

from __future__ import annotations

import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.findings import SIGNS, checkup, is_quiet
from console.ui.parts.heading import heading
from console.ui.parts.jobs import is_busy, job_panel, start_job
from console.ui.parts.session import current_target
from console.ui.parts.trends import draw_outlook
from console.ui.parts.upcoming import next_backup
from console.ui.parts.words import ago, count, local, plain, size
from ops import Catalog, dialect_of
from ops.checks.base import Level
from ops.health import headline
from ops.recovery import unsettled
from ops.target import Target


def draw() -> None:
    """The page."""
    target = current_target()
    with guarded():
        name = dialect_of(target.engine).database_name(target.engine)
        heading(name, target, shows_jobs=False)
        if target.is_demo:
            _explain_demo()
        if unsettled(target, console().folder) and not is_busy(target):
            st.error(
                "A restore was interrupted, and how it ended is not settled yet. Open the Restore "
                "page: it finds out, or asks you. Nothing else is restored before that.",
                icon=":material/error:",
            )
        top = st.container()
        # Before the rest is read: what ends after this look is seen to, and all is drawn anew.
        job_panel(target)
        with top:
            _state(target)
            _back_up(target)
            next_backup(target)
        _figures(target)


def _explain_demo() -> None:
    st.info(
        "**This is a demo shop, not your data.** Try everything: nothing here matters. To look "
        "after your own database, stop the console, set `DATABASE_URL` to its address "
        "(for example `sqlite:////path/to/file.db` or `postgresql://user:password@host/name`) "
        "and start it again.",
        icon=":material/school:",
    )


def _state(target: Target) -> None:
    """One sentence: the worst finding about the database, Redis and the backups."""
    found = checkup(target).whole.findings
    worst = found[0]  # what was put aside comes last
    if worst.aside is not None or worst.level in (Level.GOOD, Level.INFO):
        left_out = [finding for finding in found if not finding.looked_at]
        where = " The Health page says how to have it done." if left_out else ""
        box, icon = (st.info, "info") if left_out else (st.success, "check_circle")
        box(f"**{plain(headline(found))}**{where}", icon=f":material/{icon}:")
        return
    others = sum(not is_quiet(one) and one.aside is None for one in found[1:])
    icon, _, urgency = SIGNS[worst.level]
    box = {Level.NOW: st.error, Level.SOON: st.warning}.get(worst.level, st.info)
    more = f" And {count(others)} more to look at, on the Health page." if others else ""
    box(f"**{urgency}: {plain(worst.sentence)}**{more}", icon=icon)
    if worst.fix:
        st.markdown(f"**What to do:** {plain(worst.fix)}")


def _figures(target: Target) -> None:
    entries = [e for e in Catalog(console().folder, target.name).entries() if e.manifest]
    newest = entries[0] if entries else None
    facts = dialect_of(target.engine).facts(target.engine)
    left, middle, right = st.columns(3)
    left.metric(
        "Last backup",
        ago(newest.created_at) if newest else "none yet",
        help=local(newest.created_at) if newest else "Press “Back up now” to make the first.",
        border=True,
    )
    middle.metric("Size", size(facts.size_bytes), border=True)
    right.metric("Kept backups", count(len(entries)), border=True)
    st.caption(plain(f"{facts.kind} {facts.server_version} · {facts.place}"))
    draw_outlook(target)


def _back_up(target: Target) -> None:
    if st.button(
        "Back up now", type="primary", icon=":material/archive:", disabled=is_busy(target)
    ):
        start_job("backup", target, {})
    st.caption("Makes a complete copy of the database. Nobody has to stop working meanwhile.")


draw()

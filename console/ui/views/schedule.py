"""Schedule: when backups are made by themselves, and which of them are kept."""

from __future__ import annotations

from datetime import UTC, datetime
from zlib import crc32

import pandas as pd
import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded, show_error
from console.ui.parts.heading import heading
from console.ui.parts.plan import plan_controls
from console.ui.parts.session import current_target
from console.ui.parts.upcoming import clock, daily_offer, person_zone, put_in_force
from console.ui.parts.words import ago, local, plain, span
from ops.errors import OpsError, Refused
from ops.prune import look_ahead
from ops.retention import summary
from ops.runs import Run, RunState, recent_runs
from ops.schedule import NAMES, Plan, Schedule, plan_from, schedule_of
from ops.target import Target

_MOST_ROWS = 60
_STATES = {
    RunState.WAITING: "waits for its turn",
    RunState.RUNNING: "is running",
    RunState.DONE: "done",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "stopped by somebody",
    RunState.OVERTAKEN: "left to the next run",
    RunState.MISSED: "missed: the console was off",
}


def draw() -> None:
    """The page."""
    target = current_target()
    heading("Schedule", target)
    with guarded():
        schedule = _schedule(target)
        plan = schedule.plan if schedule else plan_from({"zone": person_zone()}, Plan())
        _state(target, schedule)
        above = st.container()
        st.subheader("When")
        # New keys for a new plan: one that was changed elsewhere is shown as it is.
        key = f"{target.name}-{crc32(plan.model_dump_json().encode())}"
        try:
            chosen = plan_controls(plan, key)
        except Refused as error:
            show_error(error.as_dict())
            return
        _save(target, schedule, chosen)
        with above:
            _next_runs(chosen, is_saved=schedule is not None and chosen == plan)
        _what_goes(target, chosen)
        _last_runs(target)


def _schedule(target: Target) -> Schedule | None:
    """What is in force; where it cannot be read, the page still lets one set it again."""
    try:
        return schedule_of(console(), target.name)
    except OpsError as error:
        show_error(error.as_dict())
        return None


def _state(target: Target, schedule: Schedule | None) -> None:
    if schedule is None:
        st.warning("No backup is made by itself yet.", icon=":material/event_busy:")
        daily_offer(target, "below")
        return
    plan = schedule.plan
    words = plain(next(iter(plan.timetables().values())).in_words())
    if plan.is_on:
        st.success(
            f"**Backups are made by themselves**, {words} ({plain(plan.zone)}).",
            icon=":material/event_available:",
        )
    else:
        st.warning("The schedule is **switched off**.", icon=":material/event_busy:")
    label = "Switch off" if plan.is_on else "Switch on"
    if st.button(label, icon=":material/power_settings_new:"):
        put_in_force(target, plan_from({"is_on": not plan.is_on}, plan))


def _save(target: Target, schedule: Schedule | None, chosen: Plan) -> None:
    is_new = schedule is None or chosen != schedule.plan
    label = "Save" if schedule else "Save and switch on"
    if st.button(label, type="primary", icon=":material/save:", disabled=not is_new):
        put_in_force(target, chosen)
    if schedule and is_new:
        st.caption("What you have changed counts only once it is saved.")


def _next_runs(chosen: Plan, *, is_saved: bool) -> None:
    st.subheader("The next backups" if is_saved else "The next backups, once it is saved")
    runs = Schedule(chosen, datetime.now(UTC)).next_backups(datetime.now(UTC))
    if not runs:
        st.caption("None: the schedule is switched off.")
        return
    mine = person_zone()
    rows = []
    for run in runs:
        row = {"When": plain(clock(run, chosen.zone))}
        if mine != chosen.zone:
            row[f"On your clock ({plain(mine)})"] = plain(clock(run, mine))
        rows.append({**row, "In": span(run - datetime.now(UTC))})
    st.table(pd.DataFrame(rows), hide_index=True, alt="The next three backups and their times.")


def _what_goes(target: Target, chosen: Plan) -> None:
    st.subheader("What the next tidying deletes")
    decisions = look_ahead(target, console().folder, chosen).decisions
    if not decisions:
        st.caption("There is no backup yet.")
        return
    st.markdown(f"{summary(decisions)} Old backups are deleted after each backup of the schedule.")
    ordered = sorted(decisions, key=lambda decision: decision.keeps)
    rows = [
        {
            "Backup": plain(decision.backup.label or decision.backup.name),
            "Made": plain(local(decision.backup.created_at)),
            "Then": "stays" if decision.keeps else "**is deleted**",
            "Why": plain(decision.reason),
        }
        for decision in ordered[:_MOST_ROWS]
    ]
    told = "Every kept backup, whether it stays, and why."
    st.table(pd.DataFrame(rows), hide_index=True, alt=told)
    if len(ordered) > _MOST_ROWS:
        st.caption(f"And {len(ordered) - _MOST_ROWS} more that stay.")


def _last_runs(target: Target) -> None:
    runs = recent_runs(console(), target.name, limit=8)
    if not runs:
        return
    st.subheader("The last runs")
    rows = [
        {
            "Due": plain(f"{local(run.due_at)} ({ago(run.moment)})"),
            "What": NAMES[run.kind].capitalize(),
            "Came of it": plain(_outcome(run)),
        }
        for run in runs
    ]
    st.table(pd.DataFrame(rows), hide_index=True, alt="The last runs and what came of them.")


def _outcome(run: Run) -> str:
    reason = (run.error or {}).get("error", "")
    if run.state is RunState.WAITING and run.tries:
        return f"failed {run.tries}×, tried again {local(run.next_try)}: {reason}"
    return f"failed: {reason}" if run.state is RunState.FAILED else _STATES[run.state]


draw()

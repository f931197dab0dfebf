"""When the next backup is made by itself, and the one click that begins it."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.session import noted
from console.ui.parts.words import plain, span
from ops.schedule import Plan, plan_from, save_plan, schedule_of
from ops.target import Target
from ops.timetable import zone_names


def person_zone() -> str:
    """The time zone of the person's browser; UTC where it is not known."""
    zone = st.context.timezone
    return zone if zone in zone_names() else "UTC"


def clock(moment: datetime, zone: str) -> str:
    """A moment as the clocks of a time zone show it then, like "Thursday 26 Nov 2026, 03:00"."""
    there = moment.astimezone(ZoneInfo(zone))
    return f"{there:%A} {there.day} {there:%b %Y, %H:%M}"


def next_backup(target: Target) -> None:
    """One line: when the next one is; or the offer to have them made by themselves."""
    schedule = schedule_of(console(), target.name)
    if schedule is None:
        daily_offer(target)
        return
    now = datetime.now(UTC)
    runs = schedule.next_backups(now, 1)
    if not runs:
        st.caption("The schedule is switched off; switch it on, on the Schedule page.")
        return
    when = clock(runs[0], schedule.plan.zone)
    st.caption(
        f"The next backup is made by itself in {span(runs[0] - now)}: "
        f"{plain(when)} ({plain(schedule.plan.zone)})."
    )


def daily_offer(target: Target, place: str = "on the Schedule page") -> None:
    """The button that makes the default plan, in the person's own time zone; `place` is where
    it can be changed."""
    plan = plan_from({"zone": person_zone()}, Plan())
    if st.button("Back up every day at 03:00", icon=":material/event_repeat:"):
        put_in_force(target, plan)
    st.caption(
        f"By the clock of {plain(plan.zone)}, from now on and by itself. "
        f"It keeps {plan.keep.in_words()}; {place} you can change all of it."
    )


def put_in_force(target: Target, plan: Plan) -> None:
    """Save a plan in the name of who is signed in, and draw the page anew."""
    with guarded():
        with noted("schedule", target.name, detail=plan.in_words()) as who:
            save_plan(console(), target.name, plan, who)
        st.rerun()

"""The controls by which a person makes a plan, without writing cron lines."""

from __future__ import annotations

from datetime import time
from typing import Any, Final

import streamlit as st

from ops.retention import Policy
from ops.schedule import Plan, plan_from
from ops.timetable import WEEKDAYS, Every, Rhythm, zone_names

_NEVER: Final = "never"
_CRON: Final = "cron"
_WORDS: Final = {
    _NEVER: "Never",
    Every.DAY: "Every day",
    Every.WEEK: "Every week",
    Every.MONTH: "Every month",
    Every.HOURS: "Every few hours",
    _CRON: "Advanced: a cron line",
}
_STEPS: Final = (1, 2, 3, 4, 6, 8, 12)


def plan_controls(plan: Plan, key: str) -> Plan:
    """The plan that the controls show, which begin with `plan`.

    Raises:
        Refused: a cron line cannot be understood.
    """
    chosen: dict[str, Any] = {}
    with st.container(border=True):
        chosen["backup"] = _line("How often a backup is made", plan.backup, f"backup-{key}")
        zones = sorted(zone_names())
        chosen["zone"] = st.selectbox(
            "Time zone", zones, index=zones.index(plan.zone), key=f"zone-{key}"
        )
        chosen["makes_up"] = st.checkbox(
            "A backup that was missed because the console was off is made up once when it starts",
            value=plan.makes_up,
            key=f"makes-up-{key}",
        )
    with st.container(border=True):
        chosen["test"] = _line(
            "How often the newest backup is brought back as a test",
            plan.test,
            f"test-{key}",
            may_never=True,
        )
        chosen["recheck"] = _line(
            "How often all kept backups are read again, to see that no file has changed",
            plan.recheck,
            f"recheck-{key}",
            may_never=True,
        )
    chosen["keep"] = _policy(plan.keep, key)
    return plan_from(chosen, plan)


def _line(label: str, line: str | None, key: str, *, may_never: bool = False) -> str | None:
    """A cron line by plain controls."""
    rhythm = Rhythm.of(line) if line else None
    choices = [choice for choice in _WORDS if may_never or choice != _NEVER]
    now: str = _NEVER if line is None else _CRON if rhythm is None else rhythm.every
    every = st.selectbox(
        label, choices, index=choices.index(now), format_func=_WORDS.__getitem__, key=key
    )
    if every == _NEVER:
        return None
    if every == _CRON:
        return st.text_input(
            "Minute, hour, day of the month, month, day of the week",
            value=line or "0 3 * * *",
            key=f"{key}-cron",
        )
    return _rhythm(Every(every), rhythm or Rhythm(Every.DAY), key).line


def _rhythm(every: Every, former: Rhythm, key: str) -> Rhythm:
    left, right = st.columns(2)
    if every is Every.HOURS:
        hours = left.selectbox("Hours", _STEPS, _STEPS.index(former.hours), key=f"{key}-hours")
        minute = right.number_input(
            "At this minute of the hour", 0, 59, former.at.minute, key=f"{key}-minute"
        )
        return Rhythm(every, time(0, int(minute)), hours=hours)
    at = left.time_input("At what time", former.at, step=300, key=f"{key}-at")
    weekday, day = former.weekday, former.day
    if every is Every.WEEK:
        weekday = right.selectbox(
            "On which day",
            range(7),
            former.weekday,
            format_func=WEEKDAYS.__getitem__,
            key=f"{key}-weekday",
        )
    if every is Every.MONTH:
        day = int(right.number_input("On which day", 1, 28, former.day, key=f"{key}-day"))
    return Rhythm(every, at or time(3), weekday=weekday, day=day)


def _policy(keep: Policy, key: str) -> dict[str, Any]:
    st.subheader("How many are kept")
    with st.container(border=True):
        daily, weekly, monthly = st.columns(3)
        chosen: dict[str, Any] = {
            "daily": daily.number_input("Days", 1, 1000, keep.daily, key=f"daily-{key}"),
            "weekly": weekly.number_input("Weeks", 0, 1000, keep.weekly, key=f"weekly-{key}"),
            "monthly": monthly.number_input("Months", 0, 1000, keep.monthly, key=f"monthly-{key}"),
        }
        chosen["keeps_named"] = st.checkbox(
            "A backup that was given a name stays until somebody deletes it",
            value=keep.keeps_named,
            key=f"named-{key}",
        )
        chosen["holds_all"] = st.checkbox(
            "Delete nothing until I say so", value=keep.holds_all, key=f"hold-{key}"
        )
        st.caption(
            "The last backup of each of so many days, weeks and months is kept. Whatever is "
            "chosen, the newest good backup, the last one that passed a test restore, and all of "
            "the last 24 hours stay."
        )
    return chosen

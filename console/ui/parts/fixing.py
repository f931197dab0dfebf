"""The buttons that cure a finding: one press for what is harmless, a dialog for the rest."""

from __future__ import annotations

from typing import Any

import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.jobs import is_busy, start_job
from console.ui.parts.words import plain
from ops import dialect_of
from ops.checks.base import Finding
from ops.fixes import FIXES, command_of, obstacle
from ops.fixes.base import Fix, Obstacle
from ops.target import Target

_SUBJECTS_SHOWN = 20


def draw_remedies(target: Target, finding: Finding) -> None:
    """The fixes that help with a finding. Whether they may be done is asked anew at the press."""
    for id in finding.remedy:
        fix = FIXES.get(id)
        if fix is not None and (finding.subjects or not fix.subject):
            subjects = finding.subjects if fix.subject else ()
            draw_fix(target, fix, subjects, check=finding.id)


def draw_fix(target: Target, fix: Fix[Any], subjects: tuple[str, ...], *, check: str = "") -> None:
    """The button of one fix, or what is in its way."""
    key = f"fix-{fix.id}-{check}-{'-'.join(subjects)}"
    if fix.is_guided:
        if st.button(f"{fix.title} …", key=key, icon=":material/build:"):
            _ask(target, fix, subjects, check)
        return
    hindrance = _hindrance(target.name, fix.id, subjects[0] if subjects else "")
    off = hindrance is not None or _has_to_wait(target, fix)
    if st.button(fix.title, key=key, icon=":material/build:", type="primary", disabled=off):
        start_job("fix", target, _params(fix, subjects, check))
    if hindrance is not None:
        _explain(hindrance)
    else:
        st.caption(plain(f"{fix.what} {fix.locks}"))


@st.cache_data(ttl=10, show_spinner=False)
def _hindrance(target_name: str, fix_id: str, subject: str) -> Obstacle | None:
    return obstacle(console(), console().target(target_name), FIXES[fix_id], subject)


def _has_to_wait(target: Target, fix: Fix[Any]) -> bool:
    """Whether other work on the target keeps the fix away."""
    return not fix.beside_work and is_busy(target)


def _explain(hindrance: Obstacle) -> None:
    st.markdown(f":material/block: **{plain(hindrance.reason)}** {plain(hindrance.hint)}")


def _params(fix: Fix[Any], subjects: tuple[str, ...], check: str) -> dict[str, Any]:
    return {"fix": fix.id, "subjects": list(subjects), "check": check}


@st.dialog("Before this is done", width="large")
def _ask(target: Target, fix: Fix[Any], subjects: tuple[str, ...], check: str) -> None:
    """What happens, the exact command, who has to wait; then the typed name."""
    st.markdown(f"**{plain(fix.title)}**")
    st.markdown(plain(fix.what))
    st.markdown(f"**Who has to wait:** {plain(fix.locks)}")
    chosen = subjects
    if len(subjects) > 1:
        shown = subjects[:_SUBJECTS_SHOWN]
        chosen = (str(st.selectbox(f"Which {fix.subject}", shown)),)
    with guarded():
        subject = chosen[0] if chosen else ""
        hindrance = obstacle(console(), target, fix, subject)
        st.markdown("**This is run, exactly so:**")
        st.code(command_of(console(), target, fix, subject), language="sql", wrap_lines=True)
        if hindrance is not None:
            _explain(hindrance)
            return
        _say_yes(target, fix, chosen, check)


def _say_yes(target: Target, fix: Fix[Any], subjects: tuple[str, ...], check: str) -> None:
    name = dialect_of(target.engine).database_name(target.engine)
    st.markdown(f"The database is **{plain(name)}**.")
    typed = st.text_input("To do it, type the database's name", autocomplete="off")
    is_named = typed.strip().casefold() == name.casefold()
    off = not is_named or _has_to_wait(target, fix)
    if st.button("Do it now", type="primary", disabled=off):
        start_job("fix", target, _params(fix, subjects, check))

"""Keeping a backup whatever the schedule says, and backups that have gone."""

from __future__ import annotations

import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.session import noted
from console.ui.parts.words import plain
from ops import Catalog, CatalogEntry
from ops.checks.words import many
from ops.prune import look_ahead
from ops.schedule import schedule_of
from ops.target import Target


def reasons_to_keep(target: Target) -> dict[str, str]:
    """Why the schedule keeps or deletes each backup, by its name; empty where there is none."""
    schedule = schedule_of(console(), target.name)
    if schedule is None:
        return {}
    return {
        decision.backup.name: f"Stays for now. {decision.reason}"
        if decision.keeps
        else f"Is deleted after the next backup of the schedule. {decision.reason}"
        for decision in look_ahead(target, console().folder, schedule.plan).decisions
    }


def hold_button(target: Target, entry: CatalogEntry) -> None:
    """The button that keeps a backup, or ends that."""
    catalog = Catalog(console().folder, target.name)
    if entry.is_held:
        if st.button("Let go", key=f"hold-{entry.name}", icon=":material/lock_open:"):
            with guarded():
                with noted("let-go", target.name, archive=entry.name):
                    catalog.let_go(entry.name)
                st.rerun()
    elif st.button(
        "Hold",
        key=f"hold-{entry.name}",
        icon=":material/lock:",
        help="Keep this backup until you let it go, whatever the schedule says.",
    ):
        with guarded():
            with noted("hold", target.name, archive=entry.name):
                catalog.hold(entry.name)
            st.rerun()


def draw_missing(target: Target) -> None:
    """The backups that have gone without being deleted here."""
    catalog = Catalog(console().folder, target.name)
    names = catalog.missing()
    if not names:
        return
    st.error(
        f"{many(len(names), 'backup')} disappeared from the data folder: "
        f"{plain(', '.join(names[:5]))}. Something other than this console deleted or moved it.",
        icon=":material/error:",
    )
    if st.button("They are gone on purpose"):
        with guarded():
            with noted("forget-missing", target.name, detail=", ".join(names)):
                catalog.forget_missing()
            st.rerun()

"""What a restore will change, drawn."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from console.ui.parts.words import count, local, plain, span
from ops import Preview
from ops.checks.words import many
from ops.dialects.base import NoticeLevel
from ops.preview import TableChange

_BOXES = {
    NoticeLevel.REFUSE: (st.error, ":material/block:"),
    NoticeLevel.WARN: (st.warning, ":material/warning:"),
    NoticeLevel.INFO: (st.info, ":material/info:"),
}


def draw_preview(preview: Preview, live_name: str) -> bool:
    """Draw it all; False where something speaks against restoring the database `live_name`."""
    database = preview.manifest.database
    st.markdown(
        f"The backup shows **{plain(database.name if database else 'a database')}** as it was on "
        f"**{plain(local(preview.snapshot_at))}**, {span(preview.age)} ago."
    )
    _loss(preview)
    if database and database.name != live_name:
        st.error(
            f"**This is a backup of another database: {plain(database.name)}, not "
            f"{plain(live_name)}.** Restoring it replaces {plain(live_name)} with something else.",
            icon=":material/warning:",
        )
    if preview.live_problem:
        st.warning(plain(preview.live_problem), icon=":material/warning:")
    for note in preview.notes:
        st.info(plain(note), icon=":material/info:")
    for notice in preview.notices:
        box, icon = _BOXES[notice.level]
        box(plain(f"{notice.message} {notice.hint}".strip()), icon=icon)
    if preview.changes:
        _tables(preview)
    with st.expander("Technical details of the backup"):
        st.json(preview.manifest.model_dump(mode="json", exclude={"tables", "seal"}), expanded=1)
    return all(notice.level is not NoticeLevel.REFUSE for notice in preview.notices)


def _loss(preview: Preview) -> None:
    """What is lost, in numbers where they are known."""
    since = f"You will lose what was entered since {plain(local(preview.snapshot_at))}"
    losses = [
        ((change.now or 0) - (change.after or 0), change.name)
        for change in preview.changes
        if change.now_exact and (change.now or 0) > (change.after or 0)
    ]
    about = ""
    if losses:
        most, name = max(losses)
        about = f": about {count(sum(n for n, _ in losses))} rows"
        about += f", {count(most)} of them in {plain(name)}" if len(losses) > 1 else ""
        about += "" if len(losses) > 1 else f" in {plain(name)}"
    way_back = "It stays in the undo copy, so you can go back."
    if preview.live_problem:
        way_back = "The database in use cannot be read, so no button will bring this back."
    st.markdown(f"**{since}{about}.** {way_back}")


def _tables(preview: Preview) -> None:
    changed = [c for c in preview.changes if _differs(c)]
    counted = [c for c in changed if c.now_exact or not c.exists_now]
    lost = sum(max(0, (c.now or 0) - (c.after or 0)) for c in counted)
    back = sum(max(0, (c.after or 0) - (c.now or 0)) for c in counted)
    if any(c.exists_now and not c.now_exact for c in preview.changes):
        st.markdown(
            "The rows that the database has now were not counted while you wait: what the table "
            "says of them is a rough guess, and small changes do not show in it."
        )
    elif not changed:
        st.markdown(
            "Every table has as many rows in the backup as it has now. "
            "(Rows that were changed since, but not added or deleted, do not show in numbers.)"
        )
    else:
        st.markdown(
            f"{len(changed)} of {many(len(preview.changes), 'table')} will change: "
            f"{many(lost, 'row')} will go, {many(back, 'row')} will come back."
        )
    frame = pd.DataFrame([_row(change) for change in changed or preview.changes])
    st.dataframe(frame, hide_index=True, alt="Rows of each table now and after the restore.")


def _differs(change: TableChange) -> bool:
    columns = change.columns_lost or change.columns_back
    return change.now != change.after or change.exists_now != change.exists_after or bool(columns)


def _row(change: TableChange) -> dict[str, str]:
    about = "" if change.now_exact or change.now is None else "about "
    effect = "stays"
    if not change.exists_after:
        effect = "disappears"
    elif not change.exists_now:
        effect = "comes back"
    elif change.now is None or not change.now_exact:
        effect = "not counted"
    elif change.now != change.after:
        effect = f"{(change.after or 0) - change.now:+,}"
    columns = [f"without column {name}" for name in change.columns_lost]
    columns += [f"with column {name} again" for name in change.columns_back]
    if change.exists_now and change.exists_after and columns:
        effect = ", ".join([effect, *columns])
    return {
        "Table": change.name,
        "Rows now": f"{about}{count(change.now)}" if change.exists_now else "",
        "Rows after": count(change.after) if change.exists_after else "",
        "Change": effect,
    }

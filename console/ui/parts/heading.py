"""The head of a page: what it is, and which database it is about."""

from __future__ import annotations

import streamlit as st

from console.context import console
from console.ui.parts.jobs import job_line
from console.ui.parts.words import plain
from ops import dialect_of
from ops.target import Target


def heading(title: str, target: Target, *, shows_jobs: bool = True) -> None:
    """The page's title, and below it the database by its own name and the one it has here, with
    what is being done to it, unless the page shows that in a place of its own."""
    dialect = dialect_of(target.engine)
    name = dialect.database_name(target.engine)
    st.title(plain(title))
    listed = len(console().targets) > 1 and target.name != name
    here = f", listed as **{plain(target.name)}**" if listed else ""
    st.caption(f"Database **{plain(name)}** ({dialect.title}){here}")
    if shows_jobs:
        job_line(target)

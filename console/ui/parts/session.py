"""Who is looking, and at which database. Asked again on every run and in every action:
an open page goes on running after its session has ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from console import accounts
from console.accounts import Session
from console.context import console
from ops.activity import Outcome, record
from ops.errors import OpsError
from ops.target import Target

_CHOSEN = "db"
"""The picker's key, and the name under which its value stands in the page's address."""


def signed_in(*, is_use: bool = True) -> Session:
    """The session behind this page; where it has ended, say so and stop drawing.

    `is_use` is False for a part of a page that draws itself anew: that keeps no session alive.
    """
    session = accounts.who(session_token(), is_use=is_use)
    if session is None:
        st.warning("You are signed out, or were away for too long.")
        st.html('<a href="/login" target="_self">Sign in again</a>')
        st.stop()
    return session


def session_token() -> str | None:
    """The token that the browser brought along when it opened the page."""
    return st.context.cookies.get(accounts.SESSION_COOKIE)


def client_address() -> str:
    """Where the person is, as the gate knows it: behind a trusted proxy, that which it names."""
    return st.context.ip_address or "127.0.0.1"  # None stands for this very machine


@contextmanager
def noted(what: str, target: str = "", *, archive: str = "", detail: str = "") -> Iterator[str]:
    """One line of activity for what the signed-in person does inside, and what came of it; gives
    the person's account."""
    outcome, told = Outcome.FAILED, detail
    who = signed_in().account
    try:
        yield who
        outcome = Outcome.DONE
    except OpsError as error:
        told = error.message
        raise
    finally:
        where = client_address()
        record(
            console(), who=who, where=where, what=what, target=target, archive=archive,
            outcome=outcome, detail=told,
        )  # fmt: skip


def current_target() -> Target:
    """The database that the picker in the sidebar shows."""
    signed_in()
    names = [target.name for target in console().targets]
    chosen = st.session_state.get(_CHOSEN, names[0])
    return console().target(chosen if chosen in names else names[0])


def target_picker() -> None:
    """The picker, where there is more than one database."""
    names = [target.name for target in console().targets]
    if len(names) > 1:
        st.sidebar.selectbox("Database", names, key=_CHOSEN, bind="query-params")

"""Settings: what is in force, the password, signing out."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from console import accounts
from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.messages import draw_messages
from console.ui.parts.session import current_target, noted, session_token
from console.ui.parts.words import plain
from ops.settings import Settings, source_of


def draw() -> None:
    """The page."""
    current_target()
    st.title("Settings")
    _databases()
    draw_messages()
    _values()
    _password()
    st.subheader("Sign out")
    if st.button("Sign out of this browser", icon=":material/logout:"):
        with noted("sign-out"):
            accounts.sign_out(session_token())
        st.rerun()


def _databases() -> None:
    st.subheader("Databases")
    home = console()
    rows = [
        {
            "Name": plain(target.name),
            "Address": plain(target.masked_url),
            "Set by": plain(source_of(home.settings, target.name) or "nothing: it is the demo"),
        }
        for target in home.targets
    ]
    st.table(pd.DataFrame(rows), hide_index=True, alt="The databases and their addresses.")


def _values() -> None:
    st.subheader("Values in force")
    st.caption(
        "They are set where the console is started (environment variables or a .env file), "
        "and read at its start. Secrets are never shown."
    )
    values = console().settings
    rows = [
        {
            "Setting": str(field.alias),
            "Value": plain(_masked(getattr(values, name))),
            "Meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]
    st.table(pd.DataFrame(rows), hide_index=True, alt="Every setting with its value and meaning.")


def _masked(value: object) -> str:
    if value is None or value == {}:
        return "not set"
    if isinstance(value, dict):
        return ", ".join(sorted(value))
    if isinstance(value, bool):
        return str(value).lower()  # as it is written
    return "set (hidden)" if "Secret" in type(value).__name__ else str(value)


def _password() -> None:
    st.subheader("Password")
    if console().settings.admin_password is not None:
        st.caption("The password is given by OPS_ADMIN_PASSWORD; change it there.")
        return
    has_one = accounts.has_password()
    st.caption(
        "Signing in needs this password."
        if has_one
        else "No password is set: each start of the console prints a one-time sign-in link."
    )
    with st.form("password", clear_on_submit=True):
        new = st.text_input(
            f"New password (at least {accounts.PASSWORD_MIN} characters)", type="password"
        )
        again = st.text_input("The same again", type="password")
        if st.form_submit_button("Set password"):
            _set_password(new, again)


def _set_password(new: str, again: str) -> None:
    if new != again:
        st.error("The two passwords are not the same. Nothing was changed.")
        return
    with guarded():
        with noted("password"):
            accounts.set_password(new, keep_token=session_token())
        st.success("The password is set. Other browsers were signed out.")


draw()

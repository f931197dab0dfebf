"""Proofs of backups, drawn: the choice before, the badge, the test, and what came of it."""

from __future__ import annotations

from typing import Any, Final

import streamlit as st

from console.context import console
from console.ui.parts.jobs import start_job
from console.ui.parts.words import day, plain
from ops import CatalogEntry, Prove
from ops.target import Target

_CHOICES: Final = {
    Prove.QUICK: "Read it back from disk (quick)",
    Prove.FULL: "Bring it back beside the database as a test, and compare every table",
    Prove.NONE: "Do not check it",
}
_CHECKSUMS: Final = (
    "The backup takes longer with it: on PostgreSQL copying takes about a third more time, on "
    "SQLite the whole backup about half as long again (182 MB: 8.8 seconds in place of 5.5)."
)
_TEST: Final = (
    "Brings the backup to life beside the database, compares every table with what was saved, "
    "and throws it away again. The database in use is not touched."
)


def proof_choice() -> dict[str, Any]:
    """How the next backup is to be tried, beginning with what the settings say."""
    settings = console().settings
    with st.expander("How it is checked"):
        prove = st.radio(
            "Once the backup is made",
            list(_CHOICES),
            index=list(_CHOICES).index(settings.prove_backups),
            format_func=_CHOICES.__getitem__,
        )
        checksums = st.checkbox(
            "Keep a checksum of every table, so that every value is compared and not only the "
            "number of rows",
            value=settings.checksums,
        )
        st.caption(_CHECKSUMS)
    return {"prove": str(prove), "checksums": checksums}


def badge(entry: CatalogEntry) -> None:
    """How far this backup is proven, in a word and a sentence."""
    proof = entry.failure or entry.tested or entry.checked
    if proof is None:
        st.badge("Not tested yet", icon=":material/help:", color="gray")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if not proof.passed:
            st.badge("Failed its test", icon=":material/error:", color="red")
        elif proof.kind is Prove.FULL:
            st.badge("Test restore passed", icon=":material/verified:", color="green")
        else:
            st.badge("Whole", icon=":material/check:", color="blue")
        st.caption(plain(f"{proof.in_words(day(proof.at))}."))
    if proof.detail and not proof.passed:
        with st.expander("Technical details"):
            st.code(proof.detail, language=None, wrap_lines=True)


def test_button(target: Target, entry: CatalogEntry, busy: bool) -> None:
    """The button that starts a test restore."""
    pressed = st.button(
        "Test restore",
        key=f"test-{entry.name}",
        icon=":material/fact_check:",
        help=_TEST,
        disabled=busy,
    )
    if pressed and entry.made_here:
        _start(target, entry, trust_foreign=False)
    elif pressed:
        _ask(target, entry)


@st.dialog("Bring this backup back as a test?")
def _ask(target: Target, entry: CatalogEntry) -> None:
    st.markdown(
        "This backup was not made by this console, so it may contain commands of somebody else's. "
        "Go on only if you know where it comes from and trust it."
    )
    if st.button("I trust it, test it", type="primary"):
        _start(target, entry, trust_foreign=True)


def _start(target: Target, entry: CatalogEntry, *, trust_foreign: bool) -> None:
    start_job("test", target, {"archive": str(entry.path), "trust_foreign": trust_foreign})

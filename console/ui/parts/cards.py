"""The cards of findings that need a person, with the buttons that help."""

from __future__ import annotations

import streamlit as st

from console.ui.parts.findings import draw_details, draw_words, sign_of
from console.ui.parts.fixing import draw_remedies
from console.ui.parts.jobs import is_busy, start_job
from console.ui.parts.judging import offer_aside
from console.ui.parts.words import plain
from ops.checks.base import Finding, Level
from ops.checks.words import many
from ops.target import Target

Told = tuple[str, Finding]
"""What a finding is about (Database, Backups, Redis), and the finding."""


def draw_cards(target: Target, told: list[Told]) -> None:
    """A card for each finding, in their order; one for all that could not be checked for the
    same reason."""
    for together in _together(told):
        if len(together) == 1:
            _draw_one(target, *together[0])
        else:
            _draw_unknown(target, together)


def _together(loud: list[Told]) -> list[list[Told]]:
    """One card for all that could not be checked for the same reason: one grant helps them."""
    cards: dict[object, list[Told]] = {}
    for about, finding in loud:
        is_unknown = finding.level is Level.UNKNOWN and finding.fix and not finding.aside
        key = (about, finding.sentence, finding.fix) if is_unknown else finding.id
        cards.setdefault(key, []).append((about, finding))
    return list(cards.values())


def _draw_unknown(target: Target, together: list[Told]) -> None:
    about, first = together[0]
    icon, colour, urgency = sign_of(first)
    with st.container(border=True):
        told = many(len(together), "question")
        st.markdown(f"{icon} :{colour}[**{urgency}**] · {about} · {told} for the same reason")
        st.markdown(f"**{plain(first.sentence)}**")
        st.markdown(f"**What to do:** {plain(first.fix)}")
        st.markdown("\n".join(f"- {plain(one.title)}: {plain(one.why)}" for _, one in together))
        with st.expander("Put aside, and technical details"):
            for _, finding in together:
                st.markdown(f"**{plain(finding.title)}**")
                offer_aside(target, finding)
                if finding.technical:
                    st.code(finding.technical, language=None, wrap_lines=True)


def _draw_one(target: Target, about: str, finding: Finding) -> None:
    with st.container(border=True):
        draw_words(finding, about)
        if finding.id.startswith("backups.") and finding.level is Level.NOW:
            _back_up(target, finding)
        draw_remedies(target, finding)
        if finding.looked_at:
            offer_aside(target, finding)
        draw_details(finding)


def _back_up(target: Target, finding: Finding) -> None:
    if st.button(
        "Back up now",
        key=f"backup-{finding.id}",
        type="primary",
        icon=":material/archive:",
        disabled=is_busy(target),
    ):
        start_job("backup", target, {})

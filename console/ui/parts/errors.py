"""The one way an error looks: what happened, what to do, and the cause in a fold."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import streamlit as st

from console.ui.parts.words import plain
from ops.errors import OpsError

log = logging.getLogger(__name__)


def show_error(error: Mapping[str, str]) -> None:
    """Draw an error of the shape `{error, hint, detail}`."""
    st.error(plain(error["error"]), icon=":material/error:")
    if error.get("hint"):
        st.markdown(f"**What to do:** {plain(error['hint'])}")
    if error.get("detail"):
        with st.expander("Technical details"):
            st.code(error["detail"], language=None, wrap_lines=True)


@contextmanager
def guarded() -> Iterator[None]:
    """Draw what goes wrong inside instead of leaving the page half empty."""
    try:
        yield
    except OpsError as error:
        log.warning("%s %s", error, error.detail)
        show_error(error.as_dict())
    except Exception:
        log.exception("A page could not be drawn")
        show_error(
            {
                "error": "This part of the page could not be shown.",
                "hint": "Reload the page. If it stays so, look at the console's log; "
                "your data is not touched by this.",
            }
        )

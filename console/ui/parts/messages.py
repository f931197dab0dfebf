"""Who is told when something breaks, and the button that tries it."""

from __future__ import annotations

import streamlit as st

from console.context import console
from console.ui.parts.errors import guarded
from console.ui.parts.findings import draw_finding, is_quiet
from console.ui.parts.session import client_address, signed_in
from console.ui.parts.words import plain
from ops.notify import addresses_of, send_test
from ops.notify.services import service_of
from ops.outlook import findings_about_messages

_EXAMPLE = """OPS_NOTIFY=mailto://user:password@mail.example?to=you@example.com
OPS_NOTIFY=slack://token/token/token json://example.com/hook"""


def draw_messages() -> None:
    """The services that are set, how they are doing, and a test."""
    st.subheader("Messages")
    with guarded():
        addresses = addresses_of(console().settings)
        if not addresses:
            _explain()
            return
        names = [service_of(address) or "not understood" for address in addresses]
        st.markdown(
            "Told when something fails or turns urgent, and when it is over: "
            + plain(", ".join(f"{name} (no. {place})" for place, name in enumerate(names, 1)))
        )
        if st.button("Send a test message", icon=":material/send:"):
            _test()
        for finding in findings_about_messages(console()):
            if is_quiet(finding):
                st.caption(plain(finding.sentence))
            else:
                draw_finding(finding)


def _explain() -> None:
    st.caption(
        "Nobody is told when something fails. To change that, set `OPS_NOTIFY` where the console "
        "is started, to one address or to several with spaces between them, for example:"
    )
    st.code(_EXAMPLE, language=None, wrap_lines=True)
    st.caption(
        "How each of the many services is written stands in the manual of Apprise. "
        "`OPS_HEARTBEAT_URL` names a watchdog, which raises the alarm when no backup comes."
    )


def _test() -> None:
    account = signed_in().account
    with st.spinner("Sending …"):
        deliveries = send_test(console(), account, client_address())
    for place, found in enumerate(deliveries, 1):
        name = plain(f"{found.service or 'Service'} (no. {place})")
        if found.ok:
            st.success(f"{name} took the message. See that it arrives.")
        else:
            st.error(f"{name} did not take it: {plain(found.problem)}.")

"""Which statements take the server's time, or how to have it keep count."""

from __future__ import annotations

import streamlit as st

from console.ui.parts.fixing import draw_fix
from console.ui.parts.words import ago, count, plain
from ops.dialects.base import SlowStatements, StatementOrder
from ops.fixes import FIXES
from ops.sessions import get_slow_statements
from ops.target import Target

_ORDERS = {
    StatementOrder.TOTAL: "the time of all its calls",
    StatementOrder.MEAN: "the time of one call",
    StatementOrder.CALLS: "how often it is called",
}


def draw_statements(target: Target) -> None:
    """The first ten by what the person chooses; nothing where no such figures exist."""
    st.subheader("What takes the time")
    order = st.session_state.get("statement-order") or StatementOrder.TOTAL
    found = get_slow_statements(target.engine, order)
    if found is None:
        return
    if found.steps:
        _how(found.steps)
        return
    st.segmented_control(
        "Order by",
        list(_ORDERS),
        default=StatementOrder.TOTAL,
        format_func=lambda order: _ORDERS[order],
        key="statement-order",
    )
    _table(found)
    draw_fix(target, FIXES["postgresql.reset_statements"], ())


def _how(steps: tuple[str, ...]) -> None:
    st.markdown(
        "The server does not keep count of what its statements cost. To switch it on "
        "(it costs little, and no data is changed):"
    )
    for number, step in enumerate(steps, 1):
        words, _, command = step.partition("\n")
        st.markdown(f"**{number}.** {plain(words)}")
        st.code(command, language=None, wrap_lines=True)


def _table(found: SlowStatements) -> None:
    since = f", beginning {ago(found.since)}" if found.since else ""
    st.caption(f"What was counted{since}, in this database. Values are left out.")
    if not found.complete:
        st.caption("Statements of other users are hidden from the console's user.")
    rows = [
        {
            "Statement": plain(one.statement[:300]),
            "Share of all time": f"{one.share:.0%}",
            "One call": _span(one.mean_seconds),
            "All calls": _span(one.total_seconds),
            "Calls": count(one.calls),
            "Rows": count(one.rows),
        }
        for one in found.statements
    ]
    st.table(rows, hide_index=True, alt="Statements by the time that they take.")


def _span(seconds: float) -> str:
    """Like "0.3 ms", "25 ms", "4.2 s" or "310 s".

    >>> _span(0.0003), _span(0.025), _span(4.21), _span(310)
    ('0.3 ms', '25 ms', '4.2 s', '310 s')
    """
    if seconds < 1:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"

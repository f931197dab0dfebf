"""How pages say what comes from outside."""

from __future__ import annotations

import pytest

from console.ui.parts.words import plain


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a *bold* <b>name</b>", r"a \*bold\* \<b\>name\</b\>"),
        ("two\nlines", "two lines"),
        ("\u202eevil", "\ufffdevil"),
        ("a\x00b", "a\ufffdb"),
        ("a\u200cb", "a\u200cb"),
    ],
)
def test_nothing_from_outside_means_anything(given: str, shown: str) -> None:
    assert plain(given) == shown

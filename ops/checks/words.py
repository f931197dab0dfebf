"""Figures in words that need no explanation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

KB: Final = 1 << 10
MB: Final = 1 << 20
GB: Final = 1 << 30

_SIZES: Final = ((1 << 40, "TB"), (GB, "GB"), (MB, "MB"), (KB, "kB"))
_SPANS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def size(bytes_: float) -> str:
    """Bytes for people.

    >>> size(512), size(1536), size(64 << 20)
    ('512 bytes', '1.5 kB', '64 MB')
    """
    for unit, name in _SIZES:
        if bytes_ >= unit:
            amount = bytes_ / unit
            return (
                f"{amount:.1f} {name}"
                if amount < 10 and amount % 1 >= 0.05
                else (f"{amount:.0f} {name}")
            )
    return f"{bytes_:.0f} bytes"


def duration(seconds: float) -> str:
    """A span of time, cut to the unit that matters; two days count as 48 hours.

    >>> duration(0.2), duration(61), duration(47 * 3600), duration(3 * 86400)
    ('less than a second', '1 minute', '47 hours', '3 days')
    """
    for unit, name in _SPANS:
        if seconds >= (2 * unit if name == "day" else unit):
            return many(int(seconds // unit), name)
    return "less than a second"


def many(count: int, thing: str, things: str = "") -> str:
    """A number with its noun.

    >>> many(1, "table"), many(2000, "index", "indexes")
    ('1 table', '2,000 indexes')
    """
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def listed(names: Sequence[str], shown: int = 3) -> str:
    """The first few names, and how many more there are.

    >>> listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c", "d"])
    ('', 'a', 'a and b', 'a, b, c and 1 more')
    """
    if len(names) > shown:
        return f"{', '.join(names[:shown])} and {len(names) - shown:,} more"
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)

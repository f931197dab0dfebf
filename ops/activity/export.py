"""The activity as a CSV file that a spreadsheet can be trusted with."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Final

from ops.activity import Entry

_COLUMNS: Final = tuple(Entry.__dataclass_fields__)
_STARTS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """The lines of the file, its head first. Times are ISO text in UTC."""
    yield _line(_COLUMNS)
    for entry in entries:
        found = entry.as_dict()
        yield _line([str(found[name] if found[name] is not None else "") for name in _COLUMNS])


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow([_harmless(cell) for cell in cells])
    return text.getvalue()


def _harmless(cell: str) -> str:
    """A spreadsheet runs a cell that begins like a formula; an apostrophe makes it text
    (OWASP, CSV injection)."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_STARTS_A_FORMULA) else cell

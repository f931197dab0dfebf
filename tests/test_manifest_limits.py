"""A description from outside may be megabytes of anything: it is refused before anybody works
through it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ops.archive.manifest import TableRows, parse_manifest
from ops.dialects.base import LiveRows
from ops.errors import BadArchive
from ops.preview import _change
from tests.archives import Described, described


def _columns(_: Described) -> dict[str, Any]:
    return {"tables": [{"name": "t", "rows": 1, "columns": [f"c{n}" for n in range(3000)]}]}


def _columns_of_all(_: Described) -> dict[str, Any]:
    names = [f"c{n}" for n in range(2000)]
    return {"tables": [{"name": f"t{n}", "rows": 1, "columns": names} for n in range(60)]}


def _long_column(_: Described) -> dict[str, Any]:
    return {"tables": [{"name": "t", "rows": 1, "columns": ["c" * 1_000_000]}]}


def _long_table(_: Described) -> dict[str, Any]:
    return {"tables": [{"name": "t" * 1_000_000, "rows": 1}]}


def _details(whole: Described) -> dict[str, Any]:
    return {"database": {**whole["database"], "details": {f"d{n}": n for n in range(1000)}}}


def _long_detail(whole: Described) -> dict[str, Any]:
    return {"database": {**whole["database"], "details": {"encoding": "x" * 100_000}}}


def _long_key(whole: Described) -> dict[str, Any]:
    return {"database": {**whole["database"], "details": {"x" * 100_000: 1}}}


def _no_such_year(_: Described) -> dict[str, Any]:
    return {"created_at": "0001-01-01T00:00:00Z"}


def _far_future(whole: Described) -> dict[str, Any]:
    return {"database": {**whole["database"], "snapshot_at": "9999-12-31T23:59:59Z"}}


@pytest.mark.parametrize(
    "change",
    [
        _columns,
        _columns_of_all,
        _long_column,
        _long_table,
        _details,
        _long_detail,
        _long_key,
        _no_such_year,
        _far_future,
    ],
)
def test_what_no_console_writes_is_refused(change: Any) -> None:
    whole = described("x.db", b"content")
    assert parse_manifest(json.dumps(whole).encode()).tables == ()
    began = time.monotonic()
    with pytest.raises(BadArchive):
        parse_manifest(json.dumps({**whole, **change(whole)}).encode())
    assert time.monotonic() - began < 5


def test_many_columns_are_compared_at_once() -> None:
    names = tuple(f"c{n}" for n in range(100_000))
    began = time.monotonic()
    after = TableRows.model_construct(name="t", rows=1, columns=(*names[1:], "other"))
    change = _change("t", LiveRows("t", 1, True, names), after)
    assert (change.columns_lost, change.columns_back) == (("c0",), ("other",))
    assert time.monotonic() - began < 2

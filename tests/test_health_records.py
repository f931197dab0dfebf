"""The records of all checks: complete, told in words that need no explanation, documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops.checks.__main__ import documented, page
from ops.checks.base import Check

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "health-checks.md"
CHECKS = documented()

NEEDS_EXPLAINING = re.compile(
    r"\b(transaction|WAL|checkpoint|vacuum|tuple|schema|replica|buffer|bloat|AOF|RDB|evict\w*|"
    r"fork|fragmentation|wraparound|rollback|query|deadlock|integrity|autovacuum|trigger)\b",
    re.IGNORECASE,
)
"""Words of the trade. They may stand in a command, and in the technical details."""

ENDS = (".", ".{full}", ". {again}", ". {problem}", "{outlook}")
"""How a sentence ends: these words are whole sentences themselves, or nothing."""


def test_the_page_of_the_docs_is_made_from_the_records() -> None:
    made = page()
    assert DOCUMENT.read_text(encoding="utf-8") == made, (
        "run: python -m ops.checks > docs/health-checks.md"
    )


def test_no_record_is_missing_on_the_page() -> None:
    written = set()
    for module in (DOCUMENT.parent.parent / "ops" / "checks").glob("*.py"):
        written |= set(re.findall(r'id="(\w+\.[\w-]+)"', module.read_text(encoding="utf-8")))
    assert written - {check.id for check in CHECKS} == set()


def test_every_check_has_an_id_of_its_own() -> None:
    ids = [check.id for check in CHECKS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_every_record_is_complete(check: Check) -> None:
    assert all((check.title, check.finding, check.why, check.fix, check.good, check.source))
    assert all(text.endswith(ENDS) for text in (check.finding, check.why, check.good))
    if check.warning is not None or check.critical is not None:
        assert check.unit
    if None not in (check.warning, check.critical):
        assert check.warning <= check.critical  # type: ignore[operator]
    if check.quiet_below:
        assert check.floor


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_no_sentence_needs_the_words_of_the_trade(check: Check) -> None:
    for sentence in (check.title, check.finding, check.why, check.good):
        assert not NEEDS_EXPLAINING.search(sentence), sentence

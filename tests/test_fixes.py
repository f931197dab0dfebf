"""The registry of fixes: whole records, and every remedy that a check names."""

from __future__ import annotations

import pytest

from ops.checks import redis as redis_checks
from ops.checks.base import Check
from ops.dialects import dialect_named, known_backends
from ops.fixes import FIXES
from ops.fixes.base import Fix, Kind


def _checks() -> list[Check]:
    asked = list(redis_checks.CHECKS)
    for backend in known_backends():
        dialect = dialect_named(backend)
        assert dialect is not None
        asked += dialect.checks()
    return asked


def test_every_remedy_is_a_fix_for_the_same_kind_of_database() -> None:
    named = [(check, remedy) for check in _checks() for remedy in check.remedy]
    assert named
    for check, remedy in named:
        assert remedy in FIXES, (check.id, remedy)
        assert FIXES[remedy].backend == check.id.partition(".")[0]


@pytest.mark.parametrize("fix", FIXES.values(), ids=lambda fix: str(fix.id))
def test_a_fix_says_what_it_does_and_who_has_to_wait(fix: Fix[object]) -> None:
    assert fix.title
    assert not fix.title.endswith(".")
    assert fix.what.endswith(".")
    assert fix.locks.endswith(".")
    assert fix.backend in (*known_backends(), "redis")


def test_what_can_lose_something_is_guided() -> None:
    risky = ("drop", "end", "rollback", "set", "append", "policy", "reindex", "wal", "freeze")
    for fix in FIXES.values():
        if any(word in fix.id.partition(".")[2].split("_") for word in risky):
            assert fix.kind is Kind.GUIDED, fix.id

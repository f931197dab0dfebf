"""The registry of fixes, and doing one: permission, work, and a look whether it helped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ops.catalog import Catalog
from ops.checks import redis as redis_checks
from ops.checks.base import Context, Finding, Level
from ops.dialects import dialect_of
from ops.errors import Cancelled, OpsError, Refused
from ops.fixes import postgresql, redis, sqlite
from ops.fixes.base import Fix, Obstacle
from ops.health import chosen
from ops.health_memory import keep_results, load_history
from ops.health_settings import REDIS, chosen_thresholds, purpose_of
from ops.installation import Installation
from ops.locks import target_lock
from ops.progress import Progress
from ops.recovery import settle_target
from ops.target import Target

_ALL: Final[tuple[Fix[Any], ...]] = (*sqlite.FIXES, *postgresql.FIXES, *redis.FIXES)
FIXES: Final = {fix.id: fix for fix in _ALL}

_REDIS: Final = "redis"
_FRESH_BACKUP: Final = timedelta(days=1)
_NO_BACKUP: Final = Obstacle(
    "There is no backup of the last day, and this rewrites the database.",
    "Press “Back up now” on the Overview page first.",
)
_REDIS_SECONDS: Final = 5


@dataclass(frozen=True)
class Repair:
    """What came of a fix. `helped` is None where no check was asked; `finding` is that check's
    new answer, `told` what the fix says of its own work."""

    fix: str
    title: str
    subjects: tuple[str, ...]
    told: tuple[str, ...]
    helped: bool | None
    finding: Finding | None

    def as_dict(self) -> dict[str, Any]:
        """The outcome as plain JSON types."""
        return {
            "fix": self.fix,
            "title": self.title,
            "subjects": list(self.subjects),
            "told": list(self.told),
            "helped": self.helped,
            "finding": self.finding and self.finding.as_dict(),
        }


def fix_named(id: str) -> Fix[Any]:
    """The fix of that id. Raises Refused: nothing but what is in the registry is ever run."""
    try:
        return FIXES[id]
    except KeyError:
        raise Refused(f"The console knows no fix {id!r}.") from None


def goes_beside(kind: str, params: Mapping[str, Any]) -> bool:
    """Whether a job need not wait for another one of its target: ending the session that holds
    up a backup could else not be done until the backup has ended."""
    fix = FIXES.get(str(params.get("fix"))) if kind == "fix" else None
    return fix is not None and fix.beside_work


def obstacle(home: Installation, target: Target, fix: Fix[Any], subject: str) -> Obstacle | None:
    """What is in the way of a fix at this moment; None where it may be done."""
    if fix.wants_backup and not _has_fresh_backup(home, target):
        return _NO_BACKUP
    try:
        with _place(home, target, fix) as place:
            return fix.may(place, subject)
    except OpsError as error:
        return Obstacle(error.message, error.hint)


def command_of(home: Installation, target: Target, fix: Fix[Any], subject: str) -> str:
    """The exact command. Raises OpsError, Refused where the subject is gone."""
    with _place(home, target, fix) as place:
        return str(fix.command(place, subject))


def do_fix(
    home: Installation,
    target: Target,
    id: str,
    subjects: Sequence[str],
    progress: Progress,
    *,
    check: str = "",
) -> Repair:
    """Do a fix to each of its subjects, then ask `check` again whether it helped.

    Raises:
        Refused: no such fix, not for this database, no subject, or no permission.
        NeedsHuman: an earlier restore must be looked at first.
        OpsError: it failed, in words.
    """
    fix = fix_named(id)
    if bool(fix.subject) != bool(subjects):
        raise Refused(f"“{fix.title}” needs to be told which {fix.subject or 'database'}.")
    if fix.wants_backup and not _has_fresh_backup(home, target):
        raise Refused(_NO_BACKUP.reason, _NO_BACKUP.hint)
    turn: AbstractContextManager[None] = nullcontext() if fix.beside_work else _turn(home, target)
    with turn, _place(home, target, fix) as place:
        told = _do_all(fix, place, tuple(subjects) or ("",), progress)
    with suppress(Cancelled):  # it is done: a stop comes too late
        progress.report(1, 1, "Looking whether it helped")
    finding = _look_again(home, target, fix, check) if check else None
    helped = None if finding is None else finding.level in (Level.GOOD, Level.INFO)
    return Repair(fix.id, fix.title, tuple(subjects), tuple(told), helped, finding)


@contextmanager
def _turn(home: Installation, target: Target) -> Iterator[None]:
    """The target for itself. What a killed restore left is settled first, by looking at a
    database that nothing has rewritten since."""
    with target_lock(home.folder, target):
        settle_target(target, home.folder)
        yield


def _do_all(fix: Fix[Any], place: Any, subjects: tuple[str, ...], progress: Progress) -> list[str]:
    """What was said of each subject. One that cannot be helped keeps no other from it; where
    none can, that is raised."""
    told: list[str] = []
    failed: list[OpsError] = []
    for number, subject in enumerate(subjects):
        part = progress.within(number / len(subjects), (number + 1) / len(subjects))
        try:
            told.append(fix.apply(place, subject, part))
        except Cancelled:
            raise
        except OpsError as error:
            failed.append(error)
    if not told:
        raise failed[0]
    return told + [f"{error.message} {error.hint}" for error in failed]


@contextmanager
def _place(home: Installation, target: Target, fix: Fix[Any]) -> Iterator[Any]:
    """What the fix works on: the target's engine, or Redis. Raises Refused for another kind."""
    if fix.backend != _REDIS:
        if dialect_of(target.engine).backend != fix.backend:
            raise Refused(f"“{fix.title}” is not for this kind of database.")
        yield target.engine
        return
    with redis_checks.connected(_redis_url(home), seconds=_REDIS_SECONDS) as client:
        yield client


def _redis_url(home: Installation) -> str:
    if home.settings.redis_url is None:
        raise Refused("No Redis is set.", "Set REDIS_URL and start the console again.")
    return home.settings.redis_url.get_secret_value()


def _look_again(home: Installation, target: Target, fix: Fix[Any], check: str) -> Finding | None:
    """The check's answer as the page will show it; None where there is no such check."""
    name = REDIS if fix.backend == _REDIS else target.name
    known = redis_checks.CHECKS if fix.backend == _REDIS else dialect_of(target.engine).checks()
    thresholds = chosen_thresholds(home.store, name)
    asked = next((one for one in chosen(known, thresholds) if one.id == check), None)
    if asked is None:
        return None
    history = load_history(home.store, name)
    with _opened(home, target, fix, deep=asked.deep) as context:
        finding = history.settle(asked, replace(context, history=history))
    if asked.deep:
        keep_results(home.store, name, [finding])
    return finding


def _opened(
    home: Installation, target: Target, fix: Fix[Any], *, deep: bool
) -> AbstractContextManager[Context]:
    if fix.backend == _REDIS:
        return redis_checks.open_context(_redis_url(home), purpose_of(home.store))
    return dialect_of(target.engine).health_context(target.engine, deep=deep)


def _has_fresh_backup(home: Installation, target: Target) -> bool:
    oldest = datetime.now(UTC) - _FRESH_BACKUP
    entries = Catalog(home.folder, target.name).entries()
    return any(entry.is_good and entry.created_at >= oldest for entry in entries)

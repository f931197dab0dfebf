"""What the kinds of jobs do. `params` are plain JSON; so is what they return."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from ops.activity import CONSOLE, SCHEDULE, record
from ops.backup import BackupResult, create_backup
from ops.beside import restore_beside
from ops.catalog import read_archive
from ops.checks.words import listed, many
from ops.compare import compare_archive
from ops.errors import Cancelled, DiskFull, NoRoom, OpsError, Refused
from ops.fixes import do_fix
from ops.health_deep import look_deep
from ops.health_memory import keep_results
from ops.installation import Installation
from ops.progress import Progress
from ops.proof import Prove
from ops.prune import prune
from ops.restore import restore_backup, undo_restore
from ops.samples import take_sample
from ops.schedule import schedule_of
from ops.target import Target
from ops.verify import VerifyResult, prove_archive, recheck_all

log = logging.getLogger(__name__)

Work = Callable[[Installation, str, Mapping[str, Any], Progress], dict[str, Any]]


def _backup(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """`label`: what the person calls it; `prove` and `checksums`, else as the settings say;
    `scheduled`: the moment at which a schedule had it due, and then old ones are deleted."""
    found, settings = home.target(target), home.settings
    prove = Prove(params.get("prove", settings.prove_backups))
    is_tried = prove is Prove.FULL
    make = partial(
        create_backup,
        found,
        home.folder,
        label=str(params.get("label", "")),
        checksums=bool(params.get("checksums", settings.checksums)),
        read_back=prove is Prove.QUICK,
        progress=progress.within(0, 0.5) if is_tried else progress,
    )
    went, made = _with_room_made(home, found, make) if "scheduled" in params else ([], make())
    _measured(home, found)
    tried = _tried(home, found, made.archive, progress.within(0.5, 1)) if is_tried else {}
    pruned = _pruned(home, found, went) if "scheduled" in params else {}
    notes = [*tried.get("notes", []), *pruned.get("notes", [])]
    return {**made.as_dict(), **tried, **pruned, **({"notes": notes} if notes else {})}


def _with_room_made(
    home: Installation, target: Target, make: Callable[[], BackupResult]
) -> tuple[list[str], BackupResult]:
    """Make a backup of the schedule; where there is no room, delete first what goes afterwards
    anyway: the newest good one and the last that was proven never do. What went, and the backup."""
    try:
        return [], make()
    except (DiskFull, NoRoom):
        went: list[str] = _pruned(home, target)["deleted"]
        if not went:
            raise
    try:
        return went, make()
    except BaseException:
        told = f"to make room for a backup: {', '.join(went)}"
        record(home, who=SCHEDULE, where=CONSOLE, what="prune", target=target.name, detail=told)
        raise


def _measured(home: Installation, target: Target) -> None:
    """The backup is there, whatever comes of a look at the database's size."""
    try:
        take_sample(home.store, target)
    except OpsError as error:
        log.warning("%s could not be measured: %s %s", target.name, error, error.detail)
    except SQLAlchemyError as cause:
        log.warning("the size of %s could not be noted: %s", target.name, type(cause).__name__)


def _tried(home: Installation, target: Target, archive: Path, progress: Progress) -> dict[str, Any]:
    """`proof`: what the test restore of a new backup found, None where it was not to be had;
    `notes`: why not, `stopped`: because somebody wanted it so. The backup is there whatever
    comes of it."""
    try:
        proof = _proved(home, target, archive, home.folder, progress=progress)
    except Cancelled:
        told = "The backup was made and is kept; its test restore was stopped."
        return {"proof": None, "notes": [told], "stopped": True}
    except OpsError as error:
        told = f"The backup was made and is kept, but it could not be tried. {error} {error.hint}"
    else:
        return {"proof": proof.as_dict(), "notes": []}
    return {"proof": None, "notes": [told.strip()]}


def _pruned(home: Installation, target: Target, went: Sequence[str] = ()) -> dict[str, Any]:
    """`deleted`: the old backups that the schedule does not keep, with those that `went` before;
    `notes`: that in words, or why they are still there."""
    schedule = schedule_of(home, target.name)
    if schedule is None:
        return {"deleted": []}
    try:
        done = prune(target, home.folder, schedule.plan)
    except OpsError as error:
        told = f"The backup was made, but old ones could not be deleted. {error} {error.hint}"
        return {"deleted": [*went], "notes": [told.strip()]}
    deleted, notes = [*went, *done.deleted], []
    if deleted:
        notes.append(f"{many(len(deleted), 'old backup')} deleted, as the schedule says.")
    if done.stuck:
        notes.append(f"Old backups could not be deleted: {listed(done.stuck)}.")
    return {"deleted": deleted, "notes": notes}


def _prune(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """Delete what the target's schedule does not keep."""
    schedule = schedule_of(home, target)
    if schedule is None:
        raise Refused(
            "How many backups to keep has not been chosen yet.",
            "Choose it on the Schedule page, or by `ops-console schedule set`.",
        )
    return prune(home.target(target), home.folder, schedule.plan, progress=progress).as_dict()


def _recheck(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """Read every kept archive again and compare it with what was written."""
    return recheck_all(home.target(target), home.folder, progress=progress)


def _proved(
    home: Installation, target: Target, archive: Path, *args: Any, **more: Any
) -> VerifyResult:
    """A test restore; what deep checks of health found in the copy is remembered."""
    proof = prove_archive(target, archive, *args, **more)
    if proof.deep:
        made = read_archive(archive).manifest.created_at
        keep_results(home.store, target.name, proof.deep, taken=made.timestamp())
    return proof


def _check(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """The deep checks of health, asked of the live database."""
    found = look_deep(home.target(target), progress=progress)
    keep_results(home.store, target, found)
    return {"findings": [finding.as_dict() for finding in found]}


class _Told(Protocol):
    """What came of work, as plain JSON."""

    def as_dict(self) -> dict[str, Any]: ...


def _with_archive(
    act: Callable[..., _Told],
    home: Installation,
    target: str,
    params: Mapping[str, Any],
    progress: Progress,
    **more: Any,
) -> dict[str, Any]:
    """`archive`: its path; `trust_foreign`: the explicit yes to another's archive."""
    result = act(
        home.target(target),
        Path(str(params["archive"])),
        home.folder,
        trust_foreign=bool(params.get("trust_foreign")),
        progress=progress,
        **more,
    )
    return result.as_dict()


def _test(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    return _with_archive(partial(_proved, home), home, target, params, progress)


def _compare(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    return _with_archive(compare_archive, home, target, params, progress)


def _beside(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    days = home.settings.undo_days
    return _with_archive(restore_beside, home, target, params, progress, keep_days=days)


def _restore(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    days = home.settings.undo_days
    return _with_archive(restore_backup, home, target, params, progress, undo_days=days)


def _undo(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """`point`: the undo point's id, or None for the newest."""
    result = undo_restore(
        home.target(target),
        home.folder,
        point=params.get("point"),
        undo_days=home.settings.undo_days,
        progress=progress,
    )
    return result.as_dict()


def _fix(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """`fix`: its id; `subjects`: what it acts on; `check`: which one is asked again after it."""
    repair = do_fix(
        home,
        home.target(target),
        str(params["fix"]),
        [str(subject) for subject in params.get("subjects", ())],
        progress,
        check=str(params.get("check", "")),
    )
    return repair.as_dict()


WORK: Final[dict[str, Work]] = {
    "backup": _backup,
    "restore": _restore,
    "test": _test,
    "undo": _undo,
    "beside": _beside,
    "compare": _compare,
    "recheck": _recheck,
    "prune": _prune,
    "fix": _fix,
    "check": _check,
}

"""What the kinds of jobs do. `params` are plain JSON; so is what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from ops.backup import create_backup
from ops.beside import restore_beside
from ops.compare import compare_archive
from ops.errors import Cancelled, OpsError, Refused
from ops.installation import Installation
from ops.progress import Progress
from ops.proof import Prove
from ops.prune import prune
from ops.restore import restore_backup, undo_restore
from ops.samples import take_sample
from ops.schedule import schedule_of
from ops.target import Target
from ops.verify import prove_archive, recheck_all

Work = Callable[[Installation, str, Mapping[str, Any], Progress], dict[str, Any]]


def _backup(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """`label`: what the person calls it; `prove` and `checksums`, else as the settings say;
    `scheduled`: the moment at which a schedule had it due, and then old ones are deleted."""
    found, settings = home.target(target), home.settings
    prove = Prove(params.get("prove", settings.prove_backups))
    is_tried = prove is Prove.FULL
    made = create_backup(
        found,
        home.folder,
        label=str(params.get("label", "")),
        checksums=bool(params.get("checksums", settings.checksums)),
        read_back=prove is Prove.QUICK,
        progress=progress.within(0, 0.5) if is_tried else progress,
    )
    take_sample(home.store, found)
    tried = _tried(home, found, made.archive, progress.within(0.5, 1)) if is_tried else {}
    pruned = _pruned(home, found) if "scheduled" in params else {}
    notes = [*tried.get("notes", []), *pruned.get("notes", [])]
    return {**made.as_dict(), **tried, **pruned, **({"notes": notes} if notes else {})}


def _tried(home: Installation, target: Target, archive: Path, progress: Progress) -> dict[str, Any]:
    """`proof`: what the test restore of a new backup found, None where it was not to be had;
    `notes`: why not. The backup is there whatever comes of it."""
    try:
        proof = prove_archive(target, archive, home.folder, progress=progress)
    except Cancelled:
        told = "The backup was made and is kept; its test restore was stopped."
    except OpsError as error:
        told = f"The backup was made and is kept, but it could not be tried. {error} {error.hint}"
    else:
        return {"proof": proof.as_dict(), "notes": []}
    return {"proof": None, "notes": [told.strip()]}


def _pruned(home: Installation, target: Target) -> dict[str, Any]:
    """`deleted`: the old backups that the schedule does not keep; `notes`: why not."""
    schedule = schedule_of(home, target.name)
    if schedule is None:
        return {"deleted": []}
    try:
        return {"deleted": prune(target, home.folder, schedule.plan).deleted}
    except OpsError as error:
        told = f"The backup was made, but old ones could not be deleted. {error} {error.hint}"
    return {"deleted": [], "notes": [told.strip()]}


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
    return _with_archive(prove_archive, home, target, params, progress)


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


WORK: Final[dict[str, Work]] = {
    "backup": _backup,
    "restore": _restore,
    "test": _test,
    "undo": _undo,
    "beside": _beside,
    "compare": _compare,
    "recheck": _recheck,
    "prune": _prune,
}

"""What the kinds of jobs do. `params` are plain JSON; so is what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ops.backup import create_backup
from ops.beside import restore_beside
from ops.compare import compare_archive
from ops.installation import Installation
from ops.progress import Progress
from ops.restore import restore_backup, undo_restore
from ops.samples import take_sample

Work = Callable[[Installation, str, Mapping[str, Any], Progress], dict[str, Any]]


def _backup(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """`label`: what the person calls it."""
    found = home.target(target)
    made = create_backup(found, home.folder, label=str(params.get("label", "")), progress=progress)
    take_sample(home.store, found)
    return made.as_dict()


def _restore(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """`archive`: its path; `trust_foreign`: the explicit yes to another's archive."""
    result = restore_backup(
        home.target(target),
        Path(str(params["archive"])),
        home.folder,
        trust_foreign=bool(params.get("trust_foreign")),
        undo_days=home.settings.undo_days,
        progress=progress,
    )
    return result.as_dict()


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


def _beside(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """`archive` and `trust_foreign` as for a restore."""
    result = restore_beside(
        home.target(target),
        Path(str(params["archive"])),
        home.folder,
        trust_foreign=bool(params.get("trust_foreign")),
        keep_days=home.settings.undo_days,
        progress=progress,
    )
    return result.as_dict()


def _compare(
    home: Installation, target: str, params: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """`archive` and `trust_foreign` as for a restore."""
    result = compare_archive(
        home.target(target),
        Path(str(params["archive"])),
        home.folder,
        trust_foreign=bool(params.get("trust_foreign")),
        progress=progress,
    )
    return result.as_dict()


WORK: Final[dict[str, Work]] = {
    "backup": _backup,
    "restore": _restore,
    "undo": _undo,
    "beside": _beside,
    "compare": _compare,
}

"""What is asked about the place where a SQLite file lies: disk, rights, kind of folder."""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path
from typing import Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.checks.growth import full_in
from ops.checks.words import GB, MB, size

_MOUNTS: Final = Path("/proc/self/mountinfo")
_SHARED_TYPES: Final = re.compile(
    r"(nfs4?|cifs|smb\d?|smbfs|9p|afs|ceph|vboxsf|drvfs|virtiofs|fuse\..*)"
)
_LOCAL_TYPES: Final = frozenset(("fuse.fuse-overlayfs", "fuse.mergerfs"))
_SYNCED_FOLDERS: Final = re.compile(
    r"(Dropbox.*|OneDrive.*|Google ?Drive.*|iCloud ?Drive|Mobile Documents|Nextcloud|Syncthing)",
    re.IGNORECASE,
)
_ALWAYS_ENOUGH: Final = 50 * GB
_NEVER_ENOUGH: Final = 500 * MB


def _disk(context: Context, check: Check) -> Reading:
    need = context.facts["file_bytes"] + context.facts["wal_bytes"]
    try:
        disk = shutil.disk_usage(context.facts["path"].parent)
    except OSError as cause:
        raise CannotCheck("the disk does not tell its free space", "", str(cause)) from cause
    percent = 100 * disk.free / disk.total if disk.total else 0.0
    level = Level.GOOD
    if disk.free < need or disk.free < _NEVER_ENOUGH:
        level = Level.NOW
    elif disk.free < 2 * need or (percent < 10 and disk.free < _ALWAYS_ENOUGH):
        level = Level.SOON
    words = {"free": size(disk.free), "size": size(need), "full": full_in(context, disk.free)}
    detail = f"free {disk.free:,} of {disk.total:,} bytes ({percent:.0f} %), database {need:,}"
    return Reading(level, words, disk.free, detail)


def _rights(context: Context, check: Check) -> Reading:
    path: Path = context.facts["path"]
    if os.name != "posix":
        return Reading(
            Level.INFO,
            sentence="Not looked at: this system keeps its rights differently.",
            fix="Look in the file's properties who may change it.",
            looked_at=False,
        )
    about = path.stat()
    detail = f"{stat.filemode(about.st_mode)} owner {about.st_uid}, we are {os.geteuid()}"
    for place, what in ((path, "file"), (path.parent, "folder")):
        if not os.access(place, os.W_OK):
            # The file's own user cannot write either: that is the app, not only the console.
            level = Level.NOW if about.st_uid == os.geteuid() else Level.SOON
            words = {"what": what, "command": f"chmod u+w {place}"}
            return Reading(level, words, detail=detail)
    folder = path.parent.stat().st_mode
    if about.st_mode & stat.S_IWOTH or (folder & stat.S_IWOTH and not folder & stat.S_ISVTX):
        place = path if about.st_mode & stat.S_IWOTH else path.parent
        return Reading(
            Level.SOON,
            {"place": str(place)},
            detail=detail,
            sentence="Anyone who can log in to this computer can change or delete the data.",
            fix="Take that right away: chmod o-w {place}",
        )
    return Reading(Level.GOOD, detail=detail)


def _folder(context: Context, check: Check) -> Reading:
    path: Path = context.facts["path"].resolve()
    synced = next((part for part in path.parts[:-1] if _SYNCED_FOLDERS.fullmatch(part)), None)
    if synced:
        return Reading(Level.SOON, {"kind": f"a synchronised folder ({synced})"}, detail=str(path))
    try:
        kind = mount_type(path, _MOUNTS.read_text())
    except OSError:
        return Reading(
            Level.INFO,
            sentence="Not looked at: this system does not tell if the folder is shared.",
            fix="Make sure that the folder lies on a disk of this computer.",
            looked_at=False,
        )
    if _SHARED_TYPES.fullmatch(kind) and kind not in _LOCAL_TYPES:
        return Reading(Level.SOON, {"kind": f"a shared folder ({kind})"}, detail=str(path))
    return Reading(Level.GOOD, detail=f"file system {kind}")


def _left_over(context: Context, check: Check) -> Reading:
    half_done = context.facts.get("half_done", "")
    return Reading(Level.SOON if half_done else Level.GOOD, detail=half_done)


def mount_type(path: Path, mounts: str) -> str:
    """The type of the file system that holds `path`, from Linux's table of mounts.

    The root counts as local whatever its type: sandboxes have theirs on 9p.

    >>> table = ("1 0 0:1 / / rw - ext4 /dev/a rw\\n"
    ...          "2 1 0:2 / /my\\\\040nas rw shared:1 - nfs4 host:/x rw\\n")
    >>> mount_type(Path("/my nas/a.db"), table), mount_type(Path("/srv/a.db"), table)
    ('nfs4', 'local')
    """
    longest, kind = "/", "local"
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields.split()[4])
        if point != "/" and path.is_relative_to(point) and len(point) >= len(longest):
            longest, kind = point, rest.split()[0]
    return kind


LEFT_OVER: Final = Check(
    id="sqlite.left_over",
    title="Changes cut off half-way",
    measure=_left_over,
    finding="A program was stopped in the middle of a change; the database cannot be looked at "
    "until that is put in order.",
    why="SQLite puts it in order by itself when the app opens the database next; until then "
    "the file holds half a change.",
    fix="Start the app, or let the console open the database once.",
    good="No change was cut off half-way.",
    source="SQLite's rollback journal beside the file",
    remedy=("sqlite.open_once",),
)

CHECKS: Final = (
    LEFT_OVER,
    Check(
        id="sqlite.disk",
        title="Free disk",
        measure=_disk,
        finding="The disk has only {free} left; the database takes {size}.{full}",
        why="A restore keeps a copy of the present database, and a full disk stops all saving.",
        fix="Delete old backups that you no longer need, or make room on the disk.",
        good="The disk has {free} left.",
        unit="bytes free",
        source="look soon below twice the database, or below 10 % and 50 GB; act now below the "
        "database's size, or 500 MB; check_postgres 90/95 % used; pganalyze ignores above 50 GB; "
        "factor 2 own",
    ),
    Check(
        id="sqlite.rights",
        title="Rights on the file",
        measure=_rights,
        finding="This user may read the database but not write its {what}.",
        why="A restore would fail; and if the app runs as the same user, it can read but not save.",
        fix="As the owner, run: {command}",
        good="The database can be written by its users only.",
        source="SQLite writes side files beside the database, so it needs the folder too",
    ),
    Check(
        id="sqlite.folder",
        title="Kind of folder",
        measure=_folder,
        finding="The database lies in {kind}, where two programs can write at once unnoticed.",
        why="SQLite relies on locks that such folders do not keep reliably; that damages files.",
        fix="Move the database to a disk of this computer, and back up to the shared folder.",
        good="The database lies on a disk of this computer.",
        source="SQLite, “How to corrupt a database file”",
    ),
)

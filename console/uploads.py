"""Files that arrive from browsers, piece by piece.

An upload is two files in the data folder: `<id>.json` says whose it is and how long it
will be, `<id>.part` grows; complete and flushed it becomes `<id>.zip`. What has arrived
outlives a lost connection, a restart and a crash of the server.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, Final

from ops.datafolder import DataFolder, replace_durably
from ops.errors import Busy, OpsError

STALE_SECONDS: Final = 24 * 3600
WHOLE_SECONDS: Final = 7 * 24 * 3600
DISK_RESERVE_BYTES: Final = 256_000_000
DISK_RESERVE_SHARE: Final = 0.10
NAME_LIMIT: Final = 200

_ID: Final = re.compile(r"[0-9a-f]{32}")


class TooLarge(OpsError):
    """The file is larger than may be uploaded."""


class DiskFull(OpsError):
    """The file would not leave enough room on the disk."""


class WrongOffset(OpsError):
    """The piece does not begin where the upload ends."""


@dataclass(frozen=True)
class Upload:
    """A file that is arriving or has arrived. `size` is what was announced, `offset` what
    is here."""

    id: str
    name: str
    size: int
    offset: int
    path: Path
    is_complete: bool


def create_upload(folder: DataFolder, owner: str, name: str, size: int, limit_bytes: int) -> Upload:
    """Make room for a file of `size` bytes.

    Raises:
        TooLarge: larger than `limit_bytes`.
        DiskFull: it would not fit beside what is there and what is on its way.
    """
    if size > limit_bytes:
        raise TooLarge(
            f"This file has {_gigabytes(size)}; at most {_gigabytes(limit_bytes)} can be uploaded.",
            "OPS_MAX_UPLOAD_GB sets the limit.",
        )
    _refuse_if_full(folder, size + _still_to_come(folder))
    upload_id = secrets.token_hex(16)
    about = {"owner": owner, "name": clean_name(name), "size": size}
    _part(folder, upload_id).touch(mode=0o600)
    _about(folder, upload_id).write_text(json.dumps(about), encoding="utf-8")
    upload = find_upload(folder, owner, upload_id)
    assert upload is not None
    return upload


def list_uploads(folder: DataFolder, owner: str) -> list[Upload]:
    """What this account has sent, newest first."""
    abouts = sorted(folder.uploads.glob("*.json"), key=_modified, reverse=True)
    found = (find_upload(folder, owner, about.stem) for about in abouts)
    return [upload for upload in found if upload is not None]


def find_upload(folder: DataFolder, owner: str, upload_id: str) -> Upload | None:
    """The upload of that id, if it is this account's."""
    if not _ID.fullmatch(upload_id):
        return None
    try:
        about = json.loads(_about(folder, upload_id).read_text(encoding="utf-8"))
        owned_by, name, size = about["owner"], about["name"], about["size"]
        _finish_if_whole(folder, upload_id, size)
        path, is_complete = _whole(folder, upload_id), True
        if not path.exists():
            path, is_complete = _part(folder, upload_id), False
        offset = path.stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Upload(upload_id, name, size, offset, path, is_complete) if owned_by == owner else None


def remove_upload(folder: DataFolder, owner: str, upload_id: str) -> None:
    """Remove an upload, whole or half; nothing happens if there is none.

    Raises:
        Busy: a piece of it is being written.
    """
    upload = find_upload(folder, owner, upload_id)
    if upload is None:
        return
    with suppress(FileNotFoundError), _locked(upload.path):
        _unlink(folder, upload_id)


def expire_stale_uploads(folder: DataFolder) -> None:
    """Remove uploads that have not grown for a day, whole ones after a week, and lost pieces."""
    too_old = time.time() - STALE_SECONDS
    for whole in folder.uploads.glob("*.zip"):
        if _modified(whole) < time.time() - WHOLE_SECONDS:
            _unlink(folder, whole.stem)
    paths = [*folder.uploads.glob("*.part"), *folder.uploads.glob("*.json")]
    for upload_id in {path.stem for path in paths}:
        part, about = _part(folder, upload_id), _about(folder, upload_id)
        is_fresh = max(_modified(part), _modified(about)) > too_old
        if is_fresh or _whole(folder, upload_id).exists():
            continue
        with suppress(Busy, FileNotFoundError), _locked(part if part.exists() else about):
            _unlink(folder, upload_id)


class Appender:
    """Writes one piece at the end of an upload; see `appending`."""

    def __init__(self, file: BinaryIO, upload: Upload) -> None:
        self._file = file
        self.upload = upload
        self.offset = upload.offset

    def write(self, data: bytes) -> None:
        """Append `data`.

        Raises:
            TooLarge: more than was announced; nothing of `data` is kept.
            DiskFull: the disk has no more room; what fitted is kept.
        """
        if self.offset + len(data) > self.upload.size:
            raise TooLarge("More data arrived than was announced.", "Start the upload again.")
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as cause:
            if cause.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFull(
                "The disk of the data folder is full.",
                "Make room there; the upload then goes on where it stopped.",
                str(cause),
            ) from cause
        finally:
            self.offset = self._file.tell()


@contextmanager
def appending(folder: DataFolder, upload: Upload, offset: int) -> Iterator[Appender]:
    """Write at the end of `upload`, alone among all processes; complete, it gets its name.

    Raises:
        Busy: another request or process is writing to it.
        WrongOffset: the upload does not end at `offset` (any more).
    """
    try:
        with _locked(upload.path) as file:
            ends = file.seek(0, os.SEEK_END)
            if upload.is_complete or offset != ends or not _is_still(file, upload.path):
                raise WrongOffset(
                    "The piece does not fit to what has arrived.", "The upload asks and goes on."
                )
            _refuse_if_full(folder, upload.size - ends)
            appender = Appender(file, upload)
            try:
                yield appender
            finally:
                if appender.offset == upload.size:
                    replace_durably(upload.path, _whole(folder, upload.id))
    except FileNotFoundError:
        raise WrongOffset("The upload is gone.", "Choose the file again.") from None


def clean_name(name: str) -> str:
    """A file name as it may be shown: no folders, no control characters, not endless."""
    last = PureWindowsPath(name).name  # splits at both kinds of slash
    return "".join(char for char in last if char.isprintable())[:NAME_LIMIT] or "upload.zip"


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file at `path`, unbuffered, locked until the block ends."""
    with path.open("r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                "This file is being uploaded already, perhaps in another window.",
                "Wait a moment, then try again.",
            ) from None
        yield file


def _finish_if_whole(folder: DataFolder, upload_id: str, size: int) -> None:
    """Give its name to an upload whose last byte came just before a crash."""
    part = _part(folder, upload_id)
    with suppress(FileNotFoundError, Busy):
        if part.stat().st_size == size:
            with _locked(part) as file:
                if _is_still(file, part):
                    replace_durably(part, _whole(folder, upload_id))


def _is_still(file: BinaryIO, path: Path) -> bool:
    """Whether `path` names the open file: it may have been renamed before it was locked."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _refuse_if_full(folder: DataFolder, wanted: int) -> None:
    """A restore needs room too, and a full disk stops more than the console."""
    disk = shutil.disk_usage(folder.root)
    reserve = max(DISK_RESERVE_BYTES, int(disk.free * DISK_RESERVE_SHARE))
    if wanted > disk.free - reserve:
        raise DiskFull(
            f"There is not enough room: {_gigabytes(wanted)} are needed, "
            f"{_gigabytes(max(0, disk.free - reserve))} can be used.",
            "Make room on the disk of the data folder, for example by deleting old backups.",
        )


def _still_to_come(folder: DataFolder) -> int:
    """Bytes that unfinished uploads were promised and have not written yet."""
    missing = 0
    for about in folder.uploads.glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            part = _part(folder, about.stem).stat().st_size
            missing += json.loads(about.read_text(encoding="utf-8"))["size"] - part
    return missing


def _unlink(folder: DataFolder, upload_id: str) -> None:
    """The description goes last: what lies without one is never found again."""
    for path in (_part, _whole, _about):
        path(folder, upload_id).unlink(missing_ok=True)


def _about(folder: DataFolder, upload_id: str) -> Path:
    return folder.uploads / f"{upload_id}.json"


def _part(folder: DataFolder, upload_id: str) -> Path:
    return folder.uploads / f"{upload_id}.part"


def _whole(folder: DataFolder, upload_id: str) -> Path:
    return folder.uploads / f"{upload_id}.zip"


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.2f} GB" if size < 1e11 else f"{size / 1e9:,.0f} GB"

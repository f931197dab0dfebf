"""The data folder: where backups, uploads and the console's own memory lie."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.errors import DiskFull, SettingsError
from ops.progress import SILENT, Progress

if TYPE_CHECKING:
    from ops.named_locks import Locks

_READ_AT_ONCE: Final = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DataFolder:
    """The folders below `OPS_DATA_DIR`; every one is made with mode 0700 when asked for.

    Raises:
        SettingsError: the folder cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self.shared_locks: Locks | None = None
        """Where locks hold between machines; None where this machine works alone."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as cause:
            raise SettingsError(
                f"The data folder {self.root} cannot be written: {cause.strerror}.",
                "Set OPS_DATA_DIR to a folder that this user may write to.",
            ) from cause

    def _folder(self, *names: str) -> Path:
        path = self.root
        for name in names:
            path = path / name
            path.mkdir(mode=0o700, exist_ok=True)
        return path

    def backups(self, target: str) -> Path:
        """Kept archives of one target."""
        return self._folder("backups", safe_name(target))

    @property
    def uploads(self) -> Path:
        """What arrives from browsers, whole and half."""
        return self._folder("uploads")

    @property
    def journals(self) -> Path:
        """A JSON file for each restore and undo; the memory that survives a crash."""
        return self._folder("restores")

    @property
    def logs(self) -> Path:
        """What job processes say to the log."""
        return self._folder("logs")

    @property
    def locks(self) -> Path:
        """Lock files: one per target and one per running job."""
        return self._folder("locks")

    def undo(self, target: str) -> Path:
        """Safety copies that undo a restore."""
        return self._folder("undo", safe_name(target))

    @property
    def store_path(self) -> Path:
        """The console's own memory, a SQLite file."""
        return self.root / "console.db"

    @property
    def seal_key_path(self) -> Path:
        """The key with which this console seals the archives it makes."""
        return self.root / "seal.key"

    @contextmanager
    def workspace(self, target: str, purpose: str) -> Iterator[Path]:
        """A fresh folder for one piece of work, removed with all it holds afterwards.

        Call it under the target's lock: what killed work left is removed first.
        """
        self.clear_workspaces(target)
        path = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=self._work(target)))
        try:
            with disk_in_words():
                yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def clear_workspaces(self, target: str) -> None:
        """Remove what killed work left. Call it under the target's lock."""
        shutil.rmtree(self._work(target), ignore_errors=True)

    def _work(self, target: str) -> Path:
        return self._folder("work", safe_name(target))

    def free_bytes(self) -> int:
        """Bytes that may still be written on the data folder's disk."""
        return shutil.disk_usage(self.root).free


@contextmanager
def disk_in_words() -> Iterator[None]:
    """Raise DiskFull where the system says that a file finds no more room."""
    try:
        yield
    except OSError as cause:
        if cause.errno not in _NO_ROOM:
            raise
        raise disk_full(str(cause)) from cause


def disk_full(detail: str) -> DiskFull:
    """The error for a data folder without room; `detail` is the technical cause."""
    return DiskFull(
        "The disk of the data folder is full, so the work was stopped.",
        "Make room there, for example by deleting old backups, then start it again.",
        detail,
    )


def safe_name(text: str) -> str:
    """`text` as one harmless path segment: letters, digits, `-` and `_`."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:60] or "unnamed"


def fsync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable (POSIX: a rename lives in the folder's data)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def forget_cached(file: Path) -> None:
    """Let the next read of a flushed file come from the disk, where the system can be told."""
    if hasattr(os, "posix_fadvise"):
        with file.open("rb") as content:
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def flush(file: Path) -> None:
    """Wait until what was written to the file is on disk."""
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path, progress: Progress = SILENT, *, cached: bool = False) -> str:
    """The SHA-256 of a file: read from the disk itself where the system lets us say so, unless
    `cached` content will do."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    if not cached:
        forget_cached(path)
    with path.open("rb") as file:
        while chunk := file.read(_READ_AT_ONCE):
            digest.update(chunk)
            done += len(chunk)
            progress.report(done, total, "Reading the file back from disk")
    return digest.hexdigest()


def replace_durably(draft: Path, final: Path) -> None:
    """Flush `draft` to disk, give it its final name at once, and make that durable."""
    flush(draft)
    draft.replace(final)
    fsync_folder(final.parent)

"""The catalog: the archives that are kept, on the disk of the data folder.

An archive is written as a draft (`.part`) and appears under its name only when it is
complete and flushed. Whatever else lies in the folder is shown as what it is.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ops.archive.manifest import Manifest
from ops.archive.reader import Archive, open_archive
from ops.archive.seal import is_sealed, seal_key
from ops.datafolder import DataFolder, fsync_folder, replace_durably, safe_name
from ops.dialects import entry_suffixes
from ops.errors import BadArchive, NotABackup, Refused
from ops.proof import Proof, Prove

LABEL_LIMIT = 200
_NOTE = ".note.json"


class EntryState(StrEnum):
    """What a file in the folder is."""

    GOOD = "good"
    DAMAGED = "damaged"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class CatalogEntry:
    """One file of the catalog. `manifest` is None where it could not be read; then
    `problem` says why. `made_here` tells whether this console's seal is on it. `tested` is
    its last test restore, `checked` the last time that its file was read back. `is_held`:
    a person asked to keep it until they let it go. `is_note_lost`: what was noted about it, its
    name and its trials, could not be read."""

    path: Path
    size_bytes: int
    state: EntryState
    created_at: datetime
    label: str
    manifest: Manifest | None
    made_here: bool = False
    sha256: str = ""
    problem: str = ""
    tested: Proof | None = None
    checked: Proof | None = None
    is_held: bool = False
    is_note_lost: bool = False

    @property
    def failure(self) -> Proof | None:
        """The trial that this archive failed, unless a later test restore passed."""
        if self.tested and not self.tested.passed:
            return self.tested
        return self.checked if self.checked and not self.checked.passed else None

    @property
    def is_good(self) -> bool:
        """Whether it can be read, and failed no trial."""
        return self.manifest is not None and self.failure is None

    @property
    def name(self) -> str:
        """The file's name, by which pages and routes ask for it."""
        return self.path.name

    def as_dict(self) -> dict[str, Any]:
        """One row of `ops-console list --json`."""
        return {
            "archive": str(self.path),
            "name": self.name,
            "created_at": self.created_at.isoformat(),
            "db_backend": self.manifest.db_backend if self.manifest else None,
            "size": self.size_bytes,
            "label": self.label,
            "state": self.state.value,
            "tables": len(self.manifest.tables or ()) if self.manifest else None,
            "sha256": self.sha256 or None,
            "problem": self.problem or None,
            "tested": self.tested.model_dump(mode="json") if self.tested else None,
            "checked": self.checked.model_dump(mode="json") if self.checked else None,
            "held": self.is_held,
        }


def read_archive(path: Path) -> Archive:
    """Check an archive's structure and manifest. Raises BadArchive."""
    return open_archive(path, entry_suffixes())


class Catalog:
    """The archives of one target."""

    def __init__(self, folder: DataFolder, target: str) -> None:
        self._data = folder
        self.folder = folder.backups(target)

    @contextmanager
    def draft(self, database: str) -> Iterator[Draft]:
        """A place to write a new archive; removed unless `commit` was called."""
        draft = Draft(self.folder, database)
        try:
            yield draft
        finally:
            draft.path.unlink(missing_ok=True)

    def entries(self) -> list[CatalogEntry]:
        """Every ZIP in the folder, newest first."""
        found = [self._read(path) for path in self.folder.glob("*.zip") if path.is_file()]
        return sorted(found, key=lambda entry: entry.created_at, reverse=True)

    def entry(self, name: str) -> CatalogEntry:
        """The archive of that file name. Raises Refused."""
        for path in self.folder.glob("*.zip"):
            if path.name == name and path.is_file():
                return self._read(path)
        raise Refused(
            f"There is no backup named {name!r}.", "It may have been deleted; look at the list."
        )

    def set_label(self, name: str, label: str) -> None:
        """Give an archive another label, which is kept beside it. Raises Refused."""
        entry = self.entry(name)
        self._write_note(entry.path, label=label[:LABEL_LIMIT], is_lost=False)

    def note_hash(self, path: Path, sha256: str) -> None:
        """Keep beside a committed archive the SHA-256 of its file."""
        self._write_note(path, sha256=sha256)

    def note_proof(self, path: Path, proof: Proof) -> None:
        """Keep beside an archive what a trial of it found; nothing where it is not kept here.

        A test restore that passed has read the file as well, and outdates what was found.
        """
        if path.absolute().parent != self.folder or not path.is_file():
            return
        if proof.kind is not Prove.FULL:
            self._write_note(path, checked=proof)
        elif proof.passed:
            self._write_note(path, tested=proof, checked=None)
        else:
            self._write_note(path, tested=proof)

    def hold(self, name: str) -> None:
        """Keep an archive, whatever retention says, until `let_go`. Raises Refused."""
        _hold_of(self.entry(name).path).touch(mode=0o600)
        fsync_folder(self.folder)

    def let_go(self, name: str) -> None:
        """End the hold on an archive, if there is one. Raises Refused."""
        _hold_of(self.entry(name).path).unlink(missing_ok=True)
        fsync_folder(self.folder)

    def missing(self) -> list[str]:
        """The names of archives that were kept here and have gone, but not by `delete`."""
        notes = self.folder.glob(f"[!.]*.zip{_NOTE}*")
        names = {note.name.partition(_NOTE)[0] for note in notes}
        return sorted(name for name in names if not (self.folder / name).exists())

    def forget_missing(self) -> None:
        """Remove what is still known of archives that have gone."""
        for name in self.missing():
            _note_of(self.folder / name).unlink(missing_ok=True)
            _lost_of(self.folder / name).unlink(missing_ok=True)
            _hold_of(self.folder / name).unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Delete an archive and its note for good.

        Raises:
            Refused: there is none of that name, or somebody holds it.
        """
        entry = self.entry(name)
        if _hold_of(entry.path).exists():
            raise Refused(
                f"The backup {name} is held: somebody asked to keep it.",
                "Let it go first, then delete it.",
            )
        entry.path.unlink()
        _note_of(entry.path).unlink(missing_ok=True)
        _lost_of(entry.path).unlink(missing_ok=True)
        fsync_folder(self.folder)

    def remove_drafts(self) -> None:
        """Remove what killed backups left. Only while no backup of this target runs."""
        for path in self.folder.glob(".*.part"):
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> CatalogEntry:
        found, note = path.stat(), _read_note(path)
        size, changed = found.st_size, datetime.fromtimestamp(found.st_mtime, UTC)
        try:
            manifest = _manifest_of(path, found.st_mtime_ns, size)
        except BadArchive as bad:
            problem = bad.message.removesuffix(" Nothing was changed.")
            ours = bool(note.sha256) or not isinstance(bad, NotABackup)
            return CatalogEntry(
                path,
                size,
                EntryState.DAMAGED if ours else EntryState.FOREIGN,
                changed,
                note.label or "",
                None,
                problem=problem,
                tested=note.tested,
                checked=note.checked,
                is_held=_hold_of(path).exists(),
                is_note_lost=note.is_lost,
            )
        created = manifest.created_at
        return CatalogEntry(
            path,
            size,
            EntryState.GOOD,
            created if created.tzinfo else created.replace(tzinfo=UTC),
            manifest.label if note.label is None else note.label,
            manifest,
            is_sealed(manifest, seal_key(self._data.seal_key_path)),
            note.sha256,
            tested=note.tested,
            checked=note.checked,
            is_held=_hold_of(path).exists(),
            is_note_lost=note.is_lost,
        )

    def _write_note(self, path: Path, **values: str | bool | Proof | None) -> None:
        note = _note_of(path)
        draft = note.with_name(f".{note.name}.part")  # goes with the drafts of archives
        with (self._data.locks / f"notes-{self.folder.name}.lock").open("a") as turn:
            # A name that a person gives while a test ends must not undo what the test found.
            fcntl.flock(turn, fcntl.LOCK_EX)
            told = _read_note(path)
            text = told.model_copy(update=values).model_dump_json(exclude_none=True)
            try:
                draft.write_text(text, encoding="utf-8")
                if told.is_lost and _parsed(note) is None and not _lost_of(path).exists():
                    note.rename(_lost_of(path))  # who may read it again finds all that it said
                replace_durably(draft, note)
            finally:
                draft.unlink(missing_ok=True)  # there is one still where the disk is full


class _Note(BaseModel):
    """What is known of an archive besides what it says of itself; kept beside it. `is_lost`: there
    was more, which could not be read; until a person gives it a name anew."""

    label: str | None = None
    sha256: str = ""
    tested: Proof | None = None
    checked: Proof | None = None
    is_lost: bool = False


class Draft:
    """An archive in the making."""

    def __init__(self, folder: Path, database: str) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        self._final = folder / f"{safe_name(database)}-{stamp}.zip"
        number = 1
        while self._final.exists():
            number += 1
            self._final = folder / f"{safe_name(database)}-{stamp}-{number}.zip"
        self.path = folder / f".{self._final.name}.part"

    def commit(self) -> Path:
        """Flush the draft and give it its name; from then on it is listed."""
        replace_durably(self.path, self._final)
        return self._final


@lru_cache(maxsize=512)
def _manifest_of(path: Path, _changed_ns: int, _size: int) -> Manifest:
    """The manifest of a kept archive, read again only when the file has changed."""
    return read_archive(path).manifest


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + _NOTE)


def _lost_of(path: Path) -> Path:
    """A note that could not be read, when another had to be written."""
    return path.with_name(f"{path.name}{_NOTE}.lost")


def _hold_of(path: Path) -> Path:
    """The file whose being there holds an archive: no write of a note can undo it."""
    return path.with_name(path.name + ".held")


def _read_note(path: Path) -> _Note:
    """The note of an archive, which may have none. What could not be read for a while, and then can
    be again, is part of it."""
    note, has_lost = _parsed(_note_of(path)) or _Note(is_lost=True), _lost_of(path).exists()
    if has_lost and not _note_of(path).exists():
        note = _Note(is_lost=True)  # killed before the new one was in its place
    earlier = _parsed(_lost_of(path)) if note.is_lost and has_lost else None
    if earlier is None:
        return note
    news = note.model_dump(exclude_defaults=True, exclude={"is_lost"})
    return earlier.model_copy(update={name: getattr(note, name) for name in news})


def _parsed(note: Path) -> _Note | None:
    """What a note says, nothing where there is none; None where it cannot be read."""
    try:
        return _Note.model_validate_json(note.read_bytes())
    except FileNotFoundError:
        return _Note()
    except (OSError, ValueError):
        return None

"""The journal of a restore: what survives a crash, and what undo goes by.

A JSON file per restore, outside the database, written durably *before* each step
it announces (draft, fsync, rename, fsync of the folder).

    PREPARED → STAGING → STAGED → VERIFIED → SWAPPING → DONE
                   any of the first five → ROLLED_BACK
                   what no rule covers → CLOSED, by a person's choice
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from secrets import token_hex

from ops.datafolder import DataFolder, disk_in_words, file_sha256, replace_durably
from ops.errors import NeedsHuman

log = logging.getLogger(__name__)

Fact = str | int


class Step(StrEnum):
    """Where a restore has got to."""

    PREPARED = "prepared"
    STAGING = "staging"
    STAGED = "staged"
    VERIFIED = "verified"
    SWAPPING = "swapping"
    DONE = "done"
    ROLLED_BACK = "rolled back"
    CLOSED = "closed by a person"


KEPT_DAYS = 30
SETTLED = (Step.DONE, Step.ROLLED_BACK, Step.CLOSED)


@dataclass
class Journal:
    """One restore or undo of one target.

    `facts` are the dialect's own: names, oids, cookies by which it knows what it finds.
    `undo` is what is kept beside the live database (`location`, `size_bytes`, and of a file
    `sha256`): the former live one, or for the verb "beside" the one to look at. `undo_over` is
    when its time was first found to be up.
    """

    path: Path
    target: str
    backend: str
    verb: str
    source: str
    id: str = field(
        default_factory=lambda: datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f") + token_hex(2)
    )
    step: Step = Step.PREPARED
    created_at: str = field(default_factory=lambda: _now())
    ended_at: str | None = None
    facts: dict[str, Fact] = field(default_factory=dict)
    undo: dict[str, Fact] | None = None
    undo_until: str | None = None
    undo_over: str | None = None

    @classmethod
    def begin(
        cls, folder: DataFolder, target: str, backend: str, verb: str, source: str
    ) -> Journal:
        """Write a new journal: `verb` is "restore", "undo", or what an archive is staged for
        without a swap ("beside", "compare"); `source` is what is staged."""
        journal = cls(folder.journals, target, backend, verb, source)
        journal.path = folder.journals / f"{journal.id}.json"
        journal.write()
        return journal

    def advance(self, step: Step, **facts: Fact) -> None:
        """Durably note that `step` begins (or, for DONE and ROLLED_BACK, is reached).

        Raises DiskFull; the step is then the former one.
        """
        former, self.step = self.step, step
        self.facts.update(facts)
        if step in SETTLED:
            self.ended_at = _now()
        try:
            self.write()
        except BaseException:
            self.step = former  # what is not on disk was not noted
            raise

    def keep_undo(self, location: str, size_bytes: int, days: int) -> None:
        """Note the undo point, without writing; the next `advance` does."""
        self.undo = {"location": location, "size_bytes": size_bytes}
        self.undo_until = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")

    def keep_undo_file(self, file: Path, sha256: str | None = None) -> None:
        """Note the safety copy in `file` as the undo point, for the days this restore asked,
        with its SHA-256. Where that is not known it is read once, about a second for each GiB.
        Where it is gone, there is nothing to go back to."""
        try:
            size = file.stat().st_size
            digest = sha256 or file_sha256(file, cached=True)
        except FileNotFoundError:
            log.error("the safety copy %s of the restore %s is gone", file, self.id)
            return
        self.keep_undo(str(file), size, int(self.facts["undo_days"]))
        assert self.undo is not None
        self.undo["sha256"] = digest

    def forget_undo(self) -> None:
        """Durably note that the undo point is used up or deleted."""
        self.undo = None
        self.undo_until = None
        self.undo_over = None
        self.write()

    @property
    def begun_at(self) -> datetime:
        """When it began (UTC)."""
        return datetime.fromisoformat(self.created_at)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do or to clean up."""
        return self.step in SETTLED

    @property
    def is_done(self) -> bool:
        """Whether the swap happened."""
        return self.step is Step.DONE

    def write(self) -> None:
        """Write durably: whoever reads finds the former text or this one, never half."""
        data = asdict(self)
        del data["path"]
        draft = self.path.with_suffix(".part")
        with disk_in_words():
            draft.write_text(json.dumps(data, indent=1), encoding="utf-8")
            replace_durably(draft, self.path)

    @classmethod
    def read(cls, path: Path) -> Journal:
        """Read one journal. Raises ValueError, TypeError or KeyError on a foreign file."""
        data = json.loads(path.read_text(encoding="utf-8"))
        data["step"] = Step(data["step"])
        return cls(path=path, **data)


def journals_of(folder: DataFolder, target: str) -> list[Journal]:
    """The journals of one target, newest first. Raises NeedsHuman on a damaged one."""
    found = [_read_or_ask(path) for path in folder.journals.glob("*.json")]
    mine = [journal for journal in found if journal.target == target]
    return sorted(mine, key=lambda journal: journal.id, reverse=True)


def forget_old_journals(folder: DataFolder, days: int = KEPT_DAYS) -> None:
    """Delete the journals of all targets that are settled, keep nothing to go back to, and ended
    more than `days` days ago. Damaged ones stay: a person must look at them."""
    oldest = datetime.now(UTC) - timedelta(days=days)
    for path in folder.journals.glob("*.json"):
        try:
            journal = Journal.read(path)
        except (ValueError, TypeError, KeyError, FileNotFoundError):
            continue
        ended = journal.ended_at and datetime.fromisoformat(journal.ended_at)
        if journal.is_settled and journal.undo is None and ended and ended < oldest:
            path.unlink(missing_ok=True)


def _read_or_ask(path: Path) -> Journal:
    try:
        return Journal.read(path)
    except (ValueError, TypeError, KeyError) as cause:
        raise NeedsHuman(
            f"The note of a restore, {path.name}, is damaged, so it is not known whether that "
            "restore was finished.",
            f"Nothing was touched. Look at the database; if it is as it should be, move the file "
            f"{path} to another place.",
            detail=f"{type(cause).__name__}: {cause}",
        ) from cause


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

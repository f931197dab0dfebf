"""What a fix is: one thing that cures a finding, with its risk told and its permission asked.

A fix is a record, like a check. Nothing else in the console changes the database that it looks
after, apart from restores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from ops.errors import Refused
from ops.progress import Progress

Place = TypeVar("Place")
"""What a fix works on: an SQLAlchemy engine, or a connection to Redis."""


class Kind(StrEnum):
    """How much a person is asked: one press, or the exact command and the typed name."""

    ONE_CLICK = "one-click"
    GUIDED = "guided"


@dataclass(frozen=True)
class Obstacle:
    """Why a fix cannot be done now, as a whole sentence, and the grant or step that helps."""

    reason: str
    hint: str = ""


@dataclass(frozen=True)
class Fix(Generic[Place]):
    """One way to cure a finding.

    `title` stands on the button; `what` says in plain words what happens, `locks` what has to
    wait meanwhile and for how long. `subject` is the word for what it acts on (a table, a
    session); empty where it acts on the whole database.

    `command` is what will be run, exactly, its names quoted by the server. `may` asks for the
    permission at that moment: None, or what is in the way. `run` does it and says in a sentence
    what came of it. All three raise OpsError: Refused where the subject is gone or none.

    `wants_backup` asks for a backup of the last day first. `beside_work` marks the fixes that
    change nothing in the data, so that they need not wait for a backup to end.
    """

    id: str
    title: str
    what: str
    kind: Kind
    locks: str
    command: Callable[[Place, str], str]
    may: Callable[[Place, str], Obstacle | None]
    run: Callable[[Place, str, Progress], str]
    subject: str = ""
    wants_backup: bool = False
    beside_work: bool = False

    @property
    def backend(self) -> str:
        """The kind of database that it is for: the part of its id before the dot."""
        return self.id.partition(".")[0]

    @property
    def is_guided(self) -> bool:
        """Whether a person has to read the command and type the name first."""
        return self.kind is Kind.GUIDED

    def apply(self, place: Place, subject: str, progress: Progress) -> str:
        """Do it, if it may be done at this moment. Raises Refused, and what `run` raises."""
        obstacle = self.may(place, subject)
        if obstacle is not None:
            raise Refused(obstacle.reason, obstacle.hint)
        return self.run(place, subject, progress)

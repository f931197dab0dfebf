"""The errors a person can meet.

    OpsError                      says what happened, what it means, what to do
    ├── SettingsError             the console cannot start as it is configured
    ├── Unavailable               a server or file could not be reached
    ├── DiskFull                  the console's own disk has no more room
    ├── Refused                   asked for, looked at, not done: nothing was changed
    │   ├── BadArchive            the file is not a backup that can be trusted
    │   │   ├── NotABackup        nor ever was one
    │   │   └── OfAnotherKind     it may be a good one, of another kind of database
    │   ├── PreflightRefused      a look before the work found a reason not to begin
    │   ├── NotConfirmed          needs a yes that was not given
    │   └── Busy                  something else is at work on the same database
    ├── ToolFailed                pg_dump or a sibling ended with an error
    │   └── ToolCrashed           or by a signal
    ├── MismatchFound             what was staged is not what the manifest promises
    ├── NeedsHuman                a state that no rule covers: touched nothing, asks
    └── Cancelled                 a person asked to stop
        └── Stalled               nobody asked, but nothing moved any more

`message` is for the person, `hint` is the next step, `detail` is the technical
cause: it goes to the log and into the fold, never into the first line. Secrets
are kept out by whoever fills `detail` (see `ops.programs`, `ops.target.redact`).
"""

from __future__ import annotations

NOTHING_CHANGED = "Nothing was changed."


class OpsError(Exception):
    """Base of all errors that are shown to people."""

    def __init__(self, message: str, hint: str = "", detail: str = "") -> None:
        super().__init__(message, hint, detail)
        self.message = message
        self.hint = hint
        self.detail = detail

    def say_nothing_changed(self) -> None:
        """Add what it means for the data, once that has been made sure of."""
        if NOTHING_CHANGED not in self.message:
            self.message = f"{self.message} {NOTHING_CHANGED}"

    def __str__(self) -> str:
        return self.message

    def as_dict(self) -> dict[str, str]:
        """The shape of an error in JSON: `{error, hint, detail}`."""
        return {"error": self.message, "hint": self.hint, "detail": self.detail}


class SettingsError(OpsError):
    """A setting is misspelt, missing or impossible."""


class Unavailable(OpsError):
    """The database, Redis or a file cannot be reached."""


class DiskFull(OpsError):
    """The disk of the data folder has no more room."""


class Refused(OpsError):
    """The request was not carried out, and nothing was changed."""

    def __init__(self, message: str, hint: str = "", detail: str = "") -> None:
        super().__init__(message, hint, detail)
        self.say_nothing_changed()


class BadArchive(Refused):
    """The archive is damaged, hostile, foreign to this database, or not an archive."""


class NotABackup(BadArchive):
    """The file was never a backup of this format, so nothing of one is lost."""


class OfAnotherKind(BadArchive):
    """A backup of PostgreSQL where SQLite is looked after, or the other way round."""


class PreflightRefused(Refused):
    """A check before the work found a reason not to begin."""


class NoRoom(PreflightRefused):
    """All that speaks against the work is that the disk has too little room."""


class NotConfirmed(Refused):
    """The work needs an explicit yes."""


class Busy(Refused):
    """Another job, or another program, is at work on the same database."""


class ToolFailed(OpsError):
    """An external program (pg_dump, pg_restore) did not end well."""


class ToolCrashed(ToolFailed):
    """An external program was ended by a signal: its own fault, or a limit."""


class MismatchFound(Refused):
    """The staged database does not hold what its manifest promises."""


class NeedsHuman(OpsError):
    """An interrupted restore left a state that no rule covers; nothing was touched."""


class Cancelled(OpsError):
    """A person asked to stop."""

    def __init__(self, message: str = "The work was cancelled.") -> None:
        super().__init__(message, "You can start it again at any time.")


class Stalled(Cancelled):
    """The work had stopped moving, so it was ended."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.hint = "Look whether the database and the disk answer, then start it again."

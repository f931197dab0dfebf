"""What was done, as a sentence: "restored the backup of 3 May 2026, 14:05 to shop"."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ops.activity import Entry

_MOMENT: Final = re.compile(r"-(\d{8}-\d{6})(?:-\d+)?\.zip")

_PHRASES: Final[dict[str, tuple[str, str]]] = {
    "sign-in": ("signed in", "sign in"),
    "sign-out": ("signed out", "sign out"),
    "link": ("made a sign-in link", "make a sign-in link"),
    "password": ("set the password", "set the password"),
    "backup": ("made a backup of {target}", "make a backup of {target}"),
    "restore": ("restored {archive} to {target}", "restore {archive} to {target}"),
    "undo": ("undid the last restore of {target}", "undo the last restore of {target}"),
    "test": ("tested {archive} of {target}", "test {archive} of {target}"),
    "compare": ("compared {archive} with {target}", "compare {archive} with {target}"),
    "beside": (
        "brought {archive} to life beside {target}",
        "bring {archive} to life beside {target}",
    ),
    "prune": ("deleted old backups of {target}", "delete old backups of {target}"),
    "recheck": ("read the backups of {target} again", "read the backups of {target} again"),
    "download": ("downloaded {archive} of {target}", "download {archive} of {target}"),
    "upload": ("uploaded a ZIP", "upload a ZIP"),
    "delete-upload": ("removed an uploaded ZIP", "remove an uploaded ZIP"),
    "delete-backup": ("deleted {archive} of {target}", "delete {archive} of {target}"),
    "rename": ("renamed {archive} of {target}", "rename {archive} of {target}"),
    "hold": ("held {archive} of {target}", "hold {archive} of {target}"),
    "let-go": ("let go {archive} of {target}", "let go {archive} of {target}"),
    "forget-missing": (
        "said that missing backups of {target} are gone on purpose",
        "say that missing backups of {target} are gone on purpose",
    ),
    "delete-kept": (
        "deleted what was kept beside {target}",
        "delete what is kept beside {target}",
    ),
    "settle": (
        "decided about an interrupted restore of {target}",
        "decide about an interrupted restore of {target}",
    ),
    "put-aside": ("put a finding about {target} aside", "put a finding about {target} aside"),
    "take-back": (
        "let a finding about {target} count again",
        "let a finding about {target} count again",
    ),
    "cancel": ("stopped a job of {target}", "stop a job of {target}"),
    "check": ("took a deep look at {target}", "take a deep look at {target}"),
    "fix": ("repaired {target}", "repair {target}"),
    "schedule": ("changed the schedule of {target}", "change the schedule of {target}"),
    "setting": ("changed a setting", "change a setting"),
    "report": (
        "took a report on the health of {target}",
        "take a report on the health of {target}",
    ),
    "export": ("exported the activity", "export the activity"),
    "notify": ("sent a message", "send a message"),
    "heartbeat": ("told the watchdog of a good backup", "tell the watchdog of a good backup"),
}
"""What was done, and the same in the infinitive, by kind."""

_TITLES: Final = {
    "sign-in": "Signing in",
    "sign-out": "Signing out",
    "link": "Sign-in link",
    "test": "Test restore",
    "compare": "Comparison",
    "beside": "Look first",
    "prune": "Deleting old backups",
    "recheck": "Reading backups again",
    "delete-upload": "Removing an upload",
    "delete-backup": "Deleting a backup",
    "delete-kept": "Deleting what was kept",
    "put-aside": "Putting aside",
    "take-back": "Taking back",
    "cancel": "Stopping a job",
    "check": "Deep look",
    "fix": "Repair",
    "let-go": "Letting go",
    "forget-missing": "Missing backups",
    "settle": "Interrupted restore",
    "notify": "Message",
}

_ENDS: Final = {
    "done": "{done}",
    "failed": "tried to {tried}, which failed",
    "cancelled": "began to {tried}, which was stopped",
    "interrupted": "began to {tried}, which was interrupted",
}


def title_of(what: str) -> str:
    """A kind of action as a choice in a list."""
    return _TITLES.get(what, what.replace("-", " ").capitalize())


def sentence(entry: Entry, say_when: Callable[[datetime], str]) -> str:
    """What was done and what came of it; `say_when` words the moment of a backup."""
    fallback = f"{title_of(entry.what).lower()}" + (" of {target}" if entry.target else "")
    done, tried = _PHRASES.get(entry.what, (fallback, fallback))
    words = {"target": entry.target, "archive": _archive(entry.archive, say_when)}
    form = _ENDS.get(entry.outcome, "{done}")
    return form.format(done=done.format_map(words), tried=tried.format_map(words))


def kinds_that_say(word: str) -> list[str]:
    """The kinds of action whose sentence or title has this word in it."""
    wanted = word.casefold()
    return [
        what
        for what, phrases in _PHRASES.items()
        if any(wanted in told.casefold() for told in (*phrases, title_of(what)))
    ]


def _archive(name: str, say_when: Callable[[datetime], str]) -> str:
    """An archive by the moment that its name tells, where it is one of ours."""
    found = _MOMENT.search(name)
    try:
        moment = datetime.strptime(found[1] if found else "", "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:  # also for digits that are no moment: files can be called anything
        return f"the file {name}" if name else "a backup"
    return f"the backup of {say_when(moment)}"

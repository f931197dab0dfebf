"""Who did what: one line for every action that changes something or hands data out.

Lines are only added. They go when they are older than the setting says, and not otherwise:
the store itself refuses to change or delete a young one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, delete, func, insert, or_, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ops.activity.words import kinds_that_say
from ops.installation import Installation
from ops.store import activity as table
from ops.target import redact

log = logging.getLogger(__name__)

COMMAND_LINE: Final = "command line"
SCHEDULE: Final = "schedule"
CONSOLE: Final = "console"
"""Who does what nobody asked for, and where: the console by itself."""

_DAY_SECONDS: Final = 86_400
_LONGEST_DETAIL: Final = 1000
_MOST_WORDS: Final = 50
"""A database reads conditions only so deep (SQLite: 1,000)."""


class Outcome(StrEnum):
    """What came of it. A job's states that are ends are among them."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Entry:
    """One line. `at` is in seconds since the epoch, `where` the client's address or by which
    way it came, `archive` a file's name, `job` the id of the job that did it."""

    id: int
    at: float
    who: str
    where: str
    what: str
    target: str
    archive: str
    outcome: Outcome
    detail: str
    job: str | None

    def as_dict(self) -> dict[str, Any]:
        """The line as plain JSON; the time as ISO text in UTC."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**found, "at": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds")}


@dataclass(frozen=True)
class Filter:
    """Which lines are wanted; what is empty does not matter. `text` are words that must all be
    found somewhere in the line (the first 50 count), `since` and `until` seconds since the
    epoch."""

    who: str = ""
    what: str = ""
    target: str = ""
    outcome: str = ""
    since: float | None = None
    until: float | None = None
    text: str = ""


def record(
    home: Installation,
    *,
    who: str,
    where: str,
    what: str,
    target: str = "",
    archive: str = "",
    outcome: Outcome = Outcome.DONE,
    detail: str = "",
    job: str | None = None,
) -> bool:
    """Add a line; of one job only the first is kept. Returns whether this was not a second one.

    It never raises: a memory that cannot be written (a full disk) must keep nobody from a
    restore. The log tells.
    """
    line = {
        "at": time.time(),
        "who": _cut(who, 60),
        "origin": _cut(where, 60),
        "what": what,
        "target": _cut(target, 60),
        "archive": _cut(archive, 250),
        "outcome": outcome,
        "detail": _cut(redact(detail), _LONGEST_DETAIL),
        "job": job,
    }
    try:
        with home.store.begin() as store:
            store.execute(insert(table).values(line))
    except IntegrityError:
        return False
    except SQLAlchemyError:
        log.exception("this could not be written to the activity: %s", line)
    return True


def entries(
    home: Installation, wanted: Filter | None = None, *, limit: int = 50, before: int | None = None
) -> list[Entry]:
    """The newest lines that are wanted; `before` goes on after the line of that id."""
    query = _matching(select(table), wanted or Filter()).order_by(table.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(table.c.id < before)
    with home.store.connect() as store:
        rows = store.execute(query).mappings().all()
    return [_entry(dict(row)) for row in rows]


def all_entries(home: Installation, wanted: Filter, *, batch: int = 1000) -> Iterator[Entry]:
    """Every line that is wanted, newest first, read in pieces."""
    before: int | None = None
    while found := entries(home, wanted, limit=batch, before=before):
        yield from found
        before = found[-1].id


def count(home: Installation, wanted: Filter) -> int:
    """How many lines there are of what is wanted."""
    query = _matching(select(func.count()).select_from(table), wanted)
    with home.store.connect() as store:
        return int(store.execute(query).scalar_one())


def choices(home: Installation) -> dict[str, list[str]]:
    """What occurs, to choose from: people (`who`), kinds (`what`) and targets, sorted."""
    columns = (table.c.who, table.c.what, table.c.target)
    with home.store.connect() as store:
        return {
            column.name: list(
                store.scalars(select(column).where(column != "").distinct().order_by(column))
            )
            for column in columns
        }


def expire(home: Installation) -> None:
    """Give up the lines that are older than OPS_ACTIVITY_DAYS."""
    oldest = time.time() - home.settings.activity_days * _DAY_SECONDS
    with home.store.begin() as store:
        store.execute(delete(table).where(table.c.at < oldest))


def _matching(query: Select[Any], wanted: Filter) -> Select[Any]:
    for name in ("who", "what", "target", "outcome"):
        if value := getattr(wanted, name):
            query = query.where(table.c[name] == value)
    if wanted.since is not None:
        query = query.where(table.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(table.c.at < wanted.until)
    for word in wanted.text.split()[:_MOST_WORDS]:
        query = query.where(_says(word))
    return query


def _says(word: str) -> ColumnElement[bool]:
    """Whether a word stands in the line, be it only in the sentence that people read."""
    names = ("who", "origin", "what", "target", "archive", "outcome", "detail", "job")
    places = [table.c[name].icontains(word, autoescape=True) for name in names]
    return or_(*places, table.c.what.in_(kinds_that_say(word)))


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(where=row.pop("origin"), outcome=Outcome(row.pop("outcome")), **row)


def _cut(text: str, longest: int) -> str:
    """One line of text without what a terminal would obey."""
    clean = "".join(sign if sign.isprintable() else " " for sign in text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"

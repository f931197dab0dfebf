"""Messages to people who are not looking, and the watchdog that misses good backups.

A message is a row of the store first, so that a crash loses none and one that cannot be
delivered is seen on the pages. It is tried at once, then again with growing pauses.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, insert, select, update

from ops.activity import CONSOLE, Outcome, record
from ops.installation import Installation
from ops.notify.services import Delivery, id_of, ping, send
from ops.settings import Settings
from ops.store import notices as table
from ops.target import redact

log = logging.getLogger(__name__)

MESSAGE: Final = "notify"
HEARTBEAT: Final = "heartbeat"

PAUSES: Final = (60.0, 5 * 60.0, 15 * 60.0, 60 * 60.0)
"""Seconds between the tries; after the last one it is given up."""

_KEEP_SECONDS: Final = 90 * 86_400
_delivering: Final = threading.Lock()


@dataclass(frozen=True)
class Standing:
    """How delivery is doing: when a message last arrived (seconds since the epoch), and what is
    wrong with the newest one, if anything is."""

    is_set: bool
    delivered: float | None
    problem: str


def addresses_of(settings: Settings) -> list[str]:
    """The services that get every message."""
    return settings.notify.get_secret_value().split() if settings.notify else []


def tell(home: Installation, title: str, body: str, target: str = "") -> None:
    """Put a message into the outbox; nothing where no service is set."""
    if home.settings.notify is not None:
        _put(home, MESSAGE, redact(title), f"{redact(body)}\n\n{_signature(target)}", target)


def beat(home: Installation, target: str) -> None:
    """Let the watchdog know of a good backup; nothing where none is set."""
    if home.settings.heartbeat_url is not None:
        _put(home, HEARTBEAT, "", "", target)


def deliver(home: Installation, most: int = 5) -> None:
    """Try what is due, at most so many. Several processes may do so at once; a message comes
    twice only where one of them is killed between handing it over and noting that.

    Takes at most 20 seconds for each.
    """
    now = time.time()
    due = select(table).where(_is_open(), table.c.next_try <= now).order_by(table.c.id)
    with home.store.connect() as store:
        rows = store.execute(due.limit(most)).mappings().all()
    for row in rows:
        if _claim(home, row["id"], row["tries"]):
            _try(home, dict(row))


def deliver_soon(home: Installation) -> None:
    """`deliver` in a thread, unless one is at it: nobody waits for a service that hangs."""

    def work() -> None:
        with _delivering:
            deliver(home)

    if not _delivering.locked():
        threading.Thread(target=work, daemon=True).start()


def send_test(home: Installation, who: str, where: str) -> list[Delivery]:
    """Send a message now, and wait for what comes of it."""
    title, body = "Ops Console: a test", "This is a test. Messages of this console arrive here."
    deliveries = send(addresses_of(home.settings), title, f"{body}\n\n{_signature('')}")
    problem = _problem(deliveries)
    delivered = None if problem else time.time()
    tried = {"tries": 1, "problem": problem, "given_up": int(bool(problem)), "delivered": delivered}
    _put(home, MESSAGE, title, body, "", **tried)
    outcome = Outcome.FAILED if problem else Outcome.DONE
    detail = f"{title}. {problem}".strip()
    record(home, who=who, where=where, what=MESSAGE, outcome=outcome, detail=detail)
    return deliveries


def standing_of(home: Installation, kind: str = MESSAGE) -> Standing:
    """How delivery of one kind is doing."""
    settings = home.settings
    is_set = (settings.notify if kind == MESSAGE else settings.heartbeat_url) is not None
    mine = table.c.kind == kind
    newest = select(table.c.problem).where(mine, table.c.tries > 0).order_by(table.c.id.desc())
    last = select(table.c.delivered).where(mine, table.c.delivered.is_not(None))
    with home.store.connect() as store:
        problem = store.scalar(newest.limit(1)) or ""
        delivered = store.scalar(last.order_by(table.c.delivered.desc()).limit(1))
    return Standing(is_set, delivered, problem)


def forget_old(home: Installation) -> None:
    """Messages are kept for three months."""
    with home.store.begin() as store:
        store.execute(delete(table).where(table.c.at < time.time() - _KEEP_SECONDS))


def _put(home: Installation, kind: str, title: str, body: str, target: str, **tried: Any) -> None:
    """Write a message's row; `tried`: what came of it, where that is known already."""
    now = time.time()
    values = {"kind": kind, "title": title, "body": body, "target": target, "at": now}
    fresh = {"tries": 0, "next_try": now, "sent": [], "problem": "", "given_up": 0}
    with home.store.begin() as store:
        store.execute(insert(table).values(values | fresh | tried))


def _signature(target: str) -> str:
    """What the message is about, and when and where it was written."""
    about = f"Database: {target}. " if target else ""
    return f"{about}{datetime.now(UTC):%d %b %Y, %H:%M} UTC, console on {platform.node()}."


def _is_open() -> ColumnElement[bool]:
    return (table.c.delivered.is_(None)) & (table.c.given_up == 0)


def _claim(home: Installation, number: int, tries: int) -> bool:
    """Whether this process is the one that tries now."""
    again = time.time() + PAUSES[min(tries, len(PAUSES) - 1)]
    mine = update(table).where(table.c.id == number, table.c.tries == tries, _is_open())
    with home.store.begin() as store:
        return store.execute(mine.values(tries=tries + 1, next_try=again)).rowcount == 1


def _try(home: Installation, row: dict[str, Any]) -> None:
    deliveries = _hand_over(home.settings, row)
    problem = _problem(deliveries)
    is_last = row["tries"] >= len(PAUSES)
    sent = [*row["sent"], *(found.id for found in deliveries if found.ok)]
    values = {"problem": problem, "sent": sent, "given_up": int(bool(problem) and is_last)}
    values["delivered"] = None if problem else time.time()
    with home.store.begin() as store:
        store.execute(update(table).where(table.c.id == row["id"]).values(values))
    if problem:
        log.warning("%s could not be delivered: %s", row["title"] or row["kind"], problem)
    if not problem or is_last or row["tries"] == 0:
        _note(home, row, problem, is_last)


def _note(home: Installation, row: dict[str, Any], problem: str, is_last: bool) -> None:
    """A line of activity for the first failure, the last, and the success."""
    more = "It was given up." if is_last else "It will be tried again."
    record(
        home,
        who=CONSOLE,
        where=CONSOLE,
        what=row["kind"],
        target=row["target"],
        outcome=Outcome.FAILED if problem else Outcome.DONE,
        detail=" ".join(part for part in (row["title"], problem, more if problem else "") if part),
    )


def _hand_over(settings: Settings, row: dict[str, Any]) -> list[Delivery]:
    """To those that have not got it yet."""
    if row["kind"] == HEARTBEAT:
        url = settings.heartbeat_url
        return [] if url is None else [ping(url.get_secret_value())]
    left = [a for a in addresses_of(settings) if id_of(a) not in row["sent"]]
    return send(left, row["title"], row["body"])


def _problem(deliveries: Sequence[Delivery]) -> str:
    """What went wrong, by the place of the service in the setting and its name."""
    return " ".join(
        f"{found.service or 'Service'} no. {place}: {found.problem}."
        for place, found in enumerate(deliveries, 1)
        if not found.ok
    )

"""Handing a message to mail, webhooks and chats (by Apprise), and pinging a watchdog.

Nothing here waits longer than its deadline, whatever a service does, and nothing that comes
back tells an address: tokens stand in many of them.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from urllib.parse import unquote

DEADLINE_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
_SHORTEST: Final = 3
_PARTS: Final = re.compile(rf"[^:/@?&=#,\s]{{{_SHORTEST},}}")
_HIDDEN: Final = "***"


@dataclass(frozen=True)
class Delivery:
    """What came of handing a message to one service. `id` stands for its address, and `problem`
    is empty where the service took it."""

    id: str
    service: str
    problem: str

    @property
    def ok(self) -> bool:
        """Whether it was taken."""
        return not self.problem


def id_of(address: str) -> str:
    """What an address is known by where it must not be told."""
    return sha256(address.encode()).hexdigest()[:16]


def send(
    addresses: Sequence[str], title: str, body: str, deadline: float = DEADLINE_SECONDS
) -> list[Delivery]:
    """Hand one message to every address, all at once; in their order."""
    return _side_by_side(addresses, lambda address: _send_one(address, title, body), deadline)


def ping(address: str, deadline: float = DEADLINE_SECONDS) -> Delivery:
    """Ask for a watchdog's address, which resets it."""
    return _side_by_side([address], _ping_one, deadline)[0]


def service_of(address: str) -> str:
    """The name of the service behind an address, such as "Slack"; empty if it is none."""
    import apprise

    _listen()
    found = apprise.Apprise.instantiate(address, suppress_exceptions=True)
    _heard.take()  # what it says of an address that it does not understand, kept by nobody
    return str(found.service_name) if found else ""


def _side_by_side(
    addresses: Sequence[str], act: Callable[[str], Delivery], deadline: float
) -> list[Delivery]:
    """Each in a thread that nobody waits for beyond the deadline, not even at the end of the
    process."""
    came: dict[int, Delivery] = {}

    def work(place: int, address: str) -> None:
        try:
            came[place] = act(address)
        except Exception as fault:
            problem = f"it failed in a way that nobody foresaw ({type(fault).__name__})"
            came[place] = Delivery(id_of(address), "", problem)

    threads = [
        threading.Thread(target=work, args=(place, address), daemon=True)
        for place, address in enumerate(addresses)
    ]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + deadline
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    late = f"there was no answer within {deadline:.0f} seconds"
    return [
        came.get(place, Delivery(id_of(address), "", late))
        for place, address in enumerate(addresses)
    ]


def _send_one(address: str, title: str, body: str) -> Delivery:
    import apprise

    _listen()
    asset = apprise.AppriseAsset(app_id="Ops Console", app_desc="Ops Console", app_url="")
    found = apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
    _heard.take()
    if not found:
        return Delivery(id_of(address), "", "its address is not one that is understood")
    found.socket_connect_timeout = min(found.socket_connect_timeout, _CONNECT_SECONDS)
    found.socket_read_timeout = min(found.socket_read_timeout, _ANSWER_SECONDS)
    taken = found.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT)
    reason = without(_heard.take(), address).strip(" .")
    problem = "" if taken else reason or "it did not take the message"
    return Delivery(id_of(address), str(found.service_name), problem)


def _ping_one(address: str) -> Delivery:
    import requests

    problem = ""
    try:
        answer = requests.get(address, timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS), stream=True)
        with answer:
            if not answer.ok:
                problem = f"it answered with status {answer.status_code}"
    except requests.RequestException as cause:
        problem = f"it cannot be reached ({type(cause).__name__})"
    return Delivery(id_of(address), "Watchdog", problem)


def without(text: str, address: str) -> str:
    """`text` without anything that stands in the address, as it is written or decoded."""
    written = _PARTS.findall(address)
    decoded = [part for part in map(unquote, written) if len(part) >= _SHORTEST]
    for part in sorted({*written, *decoded}, key=len, reverse=True):
        text = re.sub(re.escape(part), _HIDDEN, text, flags=re.IGNORECASE)
    return text


class _Listener(logging.Handler):
    """Keeps what Apprise says of a failure, by the thread that it says it in."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: defaultdict[int, list[str]] = defaultdict(list)

    def emit(self, record: logging.LogRecord) -> None:
        self._said[threading.get_ident()].append(record.getMessage())

    def take(self) -> str:
        """What was said in this thread since the last time."""
        return " ".join(self._said.pop(threading.get_ident(), []))


_heard: Final = _Listener()


def _listen() -> None:
    """Apprise's own messages can hold addresses: they go nowhere else."""
    logger = logging.getLogger("apprise")
    if _heard not in logger.handlers:
        logger.addHandler(_heard)
        logger.propagate = False

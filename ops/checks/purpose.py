"""What a Redis is for. The same figures are normal for one purpose and a loss for another."""

from __future__ import annotations

from enum import StrEnum


class Purpose(StrEnum):
    """What the app keeps in Redis."""

    CACHE = "cache"
    SESSIONS = "sessions"
    QUEUE = "queue"
    MAIN = "main"

    @property
    def in_words(self) -> str:
        """The answer as a person would give it."""
        return _TITLES[self]

    @property
    def may_lose(self) -> bool:
        """Whether the app does without what is lost, and fetches it again."""
        return self is Purpose.CACHE


_TITLES = {
    Purpose.CACHE: "Copies of data that the app can fetch again (a cache)",
    Purpose.SESSIONS: "Who is signed in (sessions)",
    Purpose.QUEUE: "Work that waits to be done (a job queue)",
    Purpose.MAIN: "Data that is kept nowhere else",
}

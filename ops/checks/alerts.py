"""If something breaks tonight, will anybody be told?"""

from __future__ import annotations

from typing import Final, Protocol

from ops.checks.base import Check, Context, Finding, Level, Reading, no_questions
from ops.checks.words import duration


class Standing(Protocol):
    """How delivery is doing, see `ops.notify.Standing`."""

    @property
    def is_set(self) -> bool: ...
    @property
    def delivered(self) -> float | None: ...
    @property
    def problem(self) -> str: ...


def alert_findings(messages: Standing, watchdog: Standing, now: float) -> list[Finding]:
    """Judge the delivery of messages and, where one is set, the watchdog, as of `now` (seconds
    since the epoch)."""
    asked = [(MESSAGES, messages), *([(WATCHDOG, watchdog)] if watchdog.is_set else [])]
    return [
        check.answer(Context(no_questions, {"standing": standing, "now": now}))
        for check, standing in asked
    ]


def _messages(context: Context, check: Check) -> Reading:
    standing: Standing = context.facts["standing"]
    if not standing.is_set:
        return Reading(
            Level.INFO,
            sentence="If something breaks tonight, nobody will be told.",
            fix="Set OPS_NOTIFY where the console is started; the Settings page says how.",
        )
    if standing.problem:
        return Reading(Level.NOW, {"problem": standing.problem}, detail=standing.problem)
    if standing.delivered is None:
        untried = "Messages are set up, but none has been delivered yet."
        return Reading(Level.SOON, sentence=untried, fix=_TEST)
    seconds = max(0.0, context.facts["now"] - standing.delivered)
    words = {"age": duration(seconds)}
    if check.judge(seconds / 86_400) is Level.GOOD:
        return Reading(Level.GOOD, words, seconds / 86_400)
    old = "The last message was delivered {age} ago."
    return Reading(Level.SOON, words, seconds / 86_400, sentence=old, fix=_TEST)


def _watchdog(context: Context, check: Check) -> Reading:
    standing: Standing = context.facts["standing"]
    if standing.problem:
        return Reading(Level.SOON, {"problem": standing.problem}, detail=standing.problem)
    if standing.delivered is None:
        return Reading(Level.GOOD, sentence="The watchdog waits for the first scheduled backup.")
    return Reading(Level.GOOD, {"age": duration(context.facts["now"] - standing.delivered)})


_TEST: Final = "Press “Send a test message” on the Settings page, and see that it arrives."

MESSAGES: Final = Check(
    id="alerts.messages",
    title="Messages arrive",
    measure=_messages,
    finding="The newest message could not be delivered. {problem}",
    why="What breaks at night is then found only when somebody opens these pages.",
    fix="Look at OPS_NOTIFY where the console is started. Then press “Send a test message” on the "
    "Settings page.",
    good="The last message was delivered {age} ago.",
    unit="days",
    warning=30,
    source="a month without a delivery, or one that failed (own)",
)
WATCHDOG: Final = Check(
    id="alerts.watchdog",
    title="The watchdog hears of backups",
    measure=_watchdog,
    finding="The watchdog could not be told of a good backup. {problem}",
    why="It will raise a false alarm, and people stop listening to it.",
    fix="Look at OPS_HEARTBEAT_URL where the console is started, and at the service behind it.",
    good="The watchdog heard of a good backup {age} ago.",
    source="every failed request counts (own)",
)

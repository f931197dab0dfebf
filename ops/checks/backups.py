"""Is there a backup, is it fresh, and could it be brought back?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from ops.checks.backups_schedule import CHECKS as SCHEDULE_CHECKS
from ops.checks.backups_schedule import SizeFact, Upkeep, is_ahead
from ops.checks.base import CannotCheck, Check, Context, Finding, Level, Reading, no_questions
from ops.checks.words import duration, listed, many, size


@dataclass(frozen=True)
class BackupFact:
    """One kept backup. Times carry their time zone; `is_good` is False where it cannot be
    read, or failed a trial, of which `failure` then tells the reason. `tested_at` is when its
    last test restore passed, `read_at` when its file was last read and found whole; `is_ours`
    tells whether this console made it, `is_note_lost` that what was noted could not be read."""

    created_at: datetime
    size_bytes: int
    is_good: bool
    name: str
    failure: str = ""
    tested_at: datetime | None = None
    read_at: datetime | None = None
    is_ours: bool = True
    is_note_lost: bool = False


@dataclass(frozen=True)
class Room:
    """Free bytes where a restore would be staged, and the bytes of the live database."""

    free_bytes: int
    database_bytes: int


def backup_findings(
    archives: Sequence[BackupFact],
    now: datetime,
    room: Room | None = None,
    upkeep: Upkeep | None = None,
) -> list[Finding]:
    """Judge the kept backups as of `now` (with time zone).

    Room for a restore is judged only where `room` is given; what has to do with the schedule
    only where `upkeep` is.
    """
    ours = [
        fact
        for fact in archives
        if fact.is_good and fact.is_ours and not is_ahead(fact.created_at, now)
    ]
    sizes = [SizeFact(fact.created_at, fact.size_bytes) for fact in ours]
    facts = {"archives": archives, "now": now, "room": room, "upkeep": upkeep, "sizes": sizes}
    asked = [check for check in CHECKS if room is not None or check is not _ROOM]
    if upkeep is not None:
        asked = [_by_schedule(check, upkeep) for check in asked]
        asked += UPKEEP_CHECKS
    context = Context(no_questions, facts)
    return [check.answer(context) for check in asked]


def _by_schedule(check: Check, upkeep: Upkeep) -> Check:
    """The age of the newest backup is judged by how often one is to be made."""
    schedule = upkeep.schedule
    if check.measure is not _age or schedule is None or not schedule.is_on:
        return check
    hours = schedule.longest_gap_seconds / 3600
    return replace(check, warning=1.5 * hours, critical=2.5 * hours)


def _age(context: Context, check: Check) -> Reading:
    archives: Sequence[BackupFact] = context.facts["archives"]
    if not archives:
        return Reading(Level.NOW, sentence="There is no backup yet.", fix="Press “Back up now”.")
    good = [archive for archive in archives if archive.is_good]
    if not good:
        words = {"backups": many(len(archives), "kept backup")}
        return Reading(
            Level.NOW, words, sentence="There is no good backup: {backups}, and every one damaged."
        )
    now: datetime = context.facts["now"]
    dated = [archive for archive in good if not is_ahead(archive.created_at, now)]
    newest = max(dated or good, key=lambda archive: archive.created_at)
    seconds = (now - newest.created_at).total_seconds()
    if not dated:
        raise CannotCheck(
            "the newest backup is dated in the future",
            "Set the clock of this machine right.",
            f"{newest.name}, {newest.created_at.isoformat()}",
        )
    hours = max(0.0, seconds) / 3600
    words = {"age": duration(max(0.0, seconds)), "name": newest.name}
    detail = f"{newest.name}, {newest.created_at.isoformat()}, {size(newest.size_bytes)}"
    return Reading(check.judge(hours), words, hours, detail)


def _dated_ahead(context: Context, check: Check) -> Reading:
    now: datetime = context.facts["now"]
    names = [one.name for one in context.facts["archives"] if is_ahead(one.created_at, now)]
    return _named(names, check)


def _notes(context: Context, check: Check) -> Reading:
    return _named([one.name for one in context.facts["archives"] if one.is_note_lost], check)


def _named(names: Sequence[str], check: Check) -> Reading:
    are = "is" if len(names) == 1 else "are"
    words = {"backups": many(len(names), "kept backup"), "are": are, "names": listed(names)}
    return Reading(check.judge(len(names)), words, len(names), "\n".join(names))


def _damaged(context: Context, check: Check) -> Reading:
    archives: Sequence[BackupFact] = context.facts["archives"]
    names = [archive.name for archive in archives if not archive.is_good and not archive.failure]
    return _named(names, check)


def _failed(context: Context, check: Check) -> Reading:
    archives: Sequence[BackupFact] = context.facts["archives"]
    failed = [archive for archive in archives if archive.failure]
    words = {
        "backups": many(len(failed), "kept backup"),
        "reason": failed[0].failure.rstrip(".") if failed else "",
        "name": failed[0].name if failed else "",
    }
    detail = "\n".join(f"{archive.name}: {archive.failure}" for archive in failed)
    return Reading(check.judge(len(failed)), words, len(failed), detail)


def _tested(context: Context, check: Check) -> Reading:
    """Where none was ever tested, the oldest backup's age is what is judged."""
    archives: Sequence[BackupFact] = context.facts["archives"]
    now: datetime = context.facts["now"]
    if not archives:
        return Reading(Level.INFO, sentence="There is no backup yet that could be tested.")
    tested = [archive.tested_at for archive in archives if archive.tested_at]
    since = max(tested) if tested else min(archive.created_at for archive in archives)
    seconds = max(0.0, (now - since).total_seconds())
    level, words = check.judge(seconds / 86_400), {"age": duration(seconds)}
    if tested:
        return Reading(level, words, seconds / 86_400, f"tested {since.isoformat()}")
    return Reading(
        Level.INFO if level is Level.GOOD else level,
        words,
        sentence="No kept backup has been brought back as a test yet.",
    )


def _reread(context: Context, check: Check) -> Reading:
    """The good backup whose file was looked at the longest ago."""
    archives: Sequence[BackupFact] = context.facts["archives"]
    now: datetime = context.facts["now"]
    ours = [archive for archive in archives if archive.is_good and archive.is_ours]
    if not ours:
        return Reading(Level.GOOD, sentence="There is no backup yet that could be read again.")
    oldest = min(ours, key=_last_read)
    seconds = max(0.0, (now - _last_read(oldest)).total_seconds())
    words = {"age": duration(seconds), "name": oldest.name}
    return Reading(check.judge(seconds / 86_400), words, seconds / 86_400, oldest.name)


def _last_read(archive: BackupFact) -> datetime:
    return max(archive.created_at, archive.read_at or archive.created_at)


def _room(context: Context, check: Check) -> Reading:
    room: Room = context.facts["room"]
    if room.free_bytes >= 2 * room.database_bytes:
        level = Level.GOOD
    else:
        level = Level.SOON if room.free_bytes >= 1.2 * room.database_bytes else Level.NOW
    words = {"free": size(room.free_bytes), "needed": size(2 * room.database_bytes)}
    detail = f"free {room.free_bytes:,} bytes, database {room.database_bytes:,} bytes"
    return Reading(level, words, room.free_bytes, detail)


_ROOM: Final = Check(
    id="backups.room",
    title="Room for a restore",
    measure=_room,
    finding="There may not be enough room to bring a backup back: {free} free, {needed} wanted.",
    why="A restore is first built beside the live database, and the present state is kept "
    "so that the restore can be undone.",
    fix="Delete old backups that you no longer need, or make room on the disk.",
    good="There is enough room to bring a backup back ({free} free).",
    unit="times the database's size",
    source="twice the size because staging and undo each need a copy (own)",
)

_REREAD: Final = Check(
    id="backups.reread",
    title="Kept backups read again",
    measure=_reread,
    finding="The backup {name} was last read {age} ago; whether its file is still whole is not "
    "known.",
    why="Disks change files without telling anybody. Reading them again finds it in time.",
    fix="Have all kept backups read again every week, on the Schedule page.",
    good="Every kept backup was read within the last {age}, and is as it was written.",
    unit="days",
    warning=21,
    source="three times a weekly reading (own)",
)

UPKEEP_CHECKS: Final = (*SCHEDULE_CHECKS, _REREAD)
"""What is asked where there is a schedule to judge by."""

CHECKS: Final = (
    Check(
        id="backups.age",
        title="Age of the newest good backup",
        measure=_age,
        finding="The newest good backup is {age} old.",
        why="If the database were lost now, everything that no good backup holds would be lost.",
        fix="Press “Back up now”, and see that backups are made every day.",
        good="The newest good backup is {age} old.",
        unit="hours",
        warning=36,
        critical=60,
        source="1.5 and 2.5 times a daily backup (own); barman “backup maximum age”",
    ),
    Check(
        id="backups.damaged",
        title="Damaged backups",
        measure=_damaged,
        finding="{backups} {are} damaged and cannot be trusted: {names}.",
        why="A damaged backup looks like safety and gives none; its disk may be failing.",
        fix="Make a new backup, look at the disk, then delete the damaged ones.",
        good="No kept backup is known to be damaged.",
        unit="backups",
        warning=1,
        source="every damaged archive counts (own)",
    ),
    Check(
        id="backups.failed",
        title="Backups that failed their test",
        measure=_failed,
        finding="{backups} failed a test. {name}: {reason}.",
        why="It would fail in the same way when you need it.",
        fix="Make a new backup and press “Test restore” on it. Keep the failed one until the "
        "reason is understood, then delete it.",
        good="No kept backup failed a test.",
        unit="backups",
        critical=1,
        source="every failed test counts (own)",
    ),
    Check(
        id="backups.tested",
        title="Last test restore that passed",
        measure=_tested,
        finding="It was {age} ago that a backup was last brought back as a test.",
        why="Only bringing a backup back proves that it can be brought back.",
        fix="Press “Test restore” beside the newest backup. The database in use is not touched.",
        good="A backup was brought back as a test {age} ago, and nothing was missing.",
        unit="days",
        warning=14,
        critical=35,
        source="two and five weeks (own)",
    ),
    Check(
        id="backups.dated_ahead",
        title="Backups dated in the future",
        measure=_dated_ahead,
        finding="{backups} {are} dated in the future: {names}.",
        why="The clock of this machine was wrong when they were made, or is wrong now. Their age "
        "is not known, so nothing counts on them, and they are never deleted by themselves.",
        fix="Look whether the clock is right. If it is, make a new backup, then delete these.",
        good="No kept backup is dated in the future.",
        unit="backups",
        warning=1,
        source="an hour ahead counts (own)",
    ),
    Check(
        id="backups.notes",
        title="Notes about kept backups",
        measure=_notes,
        finding="What the console had noted about {backups} cannot be read: {names}.",
        why="Their names, and what their tests found, stand there. Until it is known again they "
        "are never deleted by themselves.",
        fix="Look whether another user than the console's owns the files named like these that "
        "end in .note.json; if so, give them to the console's user. Else name the backups anew.",
        good="What was noted about every kept backup can be read.",
        unit="backups",
        warning=1,
        source="every one counts (own)",
    ),
    _ROOM,
)

"""Backups as they would lie there after some time: real archives, dated by a clock of ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from ops import DataFolder, Target, backup, create_backup


def back_up_at(
    monkeypatch: pytest.MonkeyPatch,
    target: Target,
    folder: DataFolder,
    moment: datetime,
    label: str = "",
) -> str:
    """The name of a real backup whose manifest says that it was made at `moment` (UTC)."""

    class Clock(datetime):
        @classmethod
        def now(cls, _tz: tzinfo | None = None) -> datetime:
            return moment

    with monkeypatch.context() as patch:
        patch.setattr(backup, "datetime", Clock)
        made = create_backup(target, folder, label=label, read_back=False)
    return made.archive.name


def back_up_daily(
    monkeypatch: pytest.MonkeyPatch, target: Target, folder: DataFolder, days: int
) -> list[str]:
    """A backup for each of the last days, the newest first in the list."""
    now = datetime.now(UTC) - timedelta(hours=30)
    moments = [now - timedelta(days=day) for day in range(days)]
    return [back_up_at(monkeypatch, target, folder, moment) for moment in moments]


def damage(archive: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)

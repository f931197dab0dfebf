"""The installation that this console process works with."""

from __future__ import annotations

from functools import cache

from ops.installation import Installation


@cache
def console() -> Installation:
    """Opened once, from the settings. Raises SettingsError."""
    return Installation.open()

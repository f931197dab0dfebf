"""What one console process works with, made once from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sqlalchemy import Engine

from ops.datafolder import DataFolder
from ops.errors import Refused
from ops.settings import Settings, load_settings
from ops.store import open_store
from ops.target import Target


@dataclass(frozen=True)
class Console:
    """Settings, data folder, store and targets of this process."""

    settings: Settings
    folder: DataFolder
    store: Engine
    targets: tuple[Target, ...]

    def target(self, name: str | None) -> Target:
        """The target of that name; without a name, the only or first one.

        Raises:
            Refused: there is none of that name.
        """
        for target in self.targets:
            if name is None or target.name == name:
                return target
        known = ", ".join(target.name for target in self.targets)
        raise Refused(f"There is no database named {name!r}.", f"Known are: {known}.")


@cache
def console() -> Console:
    """The console of this process.

    Raises:
        SettingsError: it cannot start as it is configured.
    """
    settings = load_settings()
    targets = tuple(settings.all_targets())
    folder = DataFolder(settings.data_dir)
    return Console(settings, folder, open_store(folder.store_path), targets)

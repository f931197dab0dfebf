"""One installation: what a console, a job process and a command line share."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sqlalchemy import Engine

from ops.datafolder import DataFolder
from ops.demo import make_demo_shop
from ops.errors import Refused
from ops.locks import locks_in
from ops.settings import Settings, load_settings
from ops.store import open_shared_store, open_store
from ops.target import Target


@dataclass(frozen=True)
class Installation:
    """Settings, data folder, store and targets."""

    settings: Settings
    folder: DataFolder
    store: Engine
    targets: tuple[Target, ...]

    @classmethod
    def open(cls, settings: Settings | None = None) -> Installation:
        """Open the installation that the environment describes.

        Raises:
            SettingsError: it cannot start as it is configured.
            Unavailable: the store that it shares with others does not answer.
        """
        settings = settings or load_settings()
        targets = tuple(settings.all_targets())
        folder = DataFolder(settings.data_dir)
        if settings.pg_bin is not None:
            os.environ["OPS_PG_BIN"] = str(settings.pg_bin)  # where `.env` gave it
        for target in targets:
            if target.is_demo:
                make_demo_shop(target.engine)
        if settings.store_url is None:
            return cls(settings, folder, open_store(folder.store_path), targets)
        store = open_shared_store(settings.store_url.get_secret_value())
        folder.shared_locks = locks_in(folder, store)
        return cls(settings, folder, store, targets)

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

"""A list of what was tried, so that a failure says everything that did not work."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field


class NotAvailable(Exception):
    """A service that the tests need cannot be had on this machine."""


@dataclass
class Attempts:
    """What was tried to get one service, and why each way failed."""

    what: str
    remedy: str
    log: list[str] = field(default_factory=list)

    def failed(self, way: str, why: object) -> None:
        """Note a way that did not work, with the last words of the error."""
        said = [line.strip() for line in str(why).splitlines() if line.strip()]
        self.log.append(f"{way}: {' / '.join(said[-3:])[-400:] or 'no reason given'}")

    def run(self, way: str, command: list[str], **options: object) -> bool:
        """Run a command that is one step of a way; a failure is noted, not raised."""
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                **options,  # type: ignore[call-overload]
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            self.failed(way, error)
            return False
        if done.returncode != 0:
            self.failed(way, f"{done.stdout}\nexit {done.returncode}")
        return bool(done.returncode == 0)

    def error(self) -> NotAvailable:
        """The error that tells all attempts and what a person can do."""
        tried = "".join(f"\n  - {entry}" for entry in self.log) or " nothing"
        return NotAvailable(f"{self.what} cannot be had. Tried:{tried}\nRemedy: {self.remedy}")

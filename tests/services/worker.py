"""A real worker: the process `ops-console worker`, whose environment is the tests' own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import psutil


class RunningWorker:
    """One worker; what it says goes to a log in `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.log = folder / f"{name}.txt"
        self._is_asked = False
        command = [str(Path(sys.executable).with_name("ops-console")), "worker"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        # A test that fails before `stop` leaves no worker behind.
        weakref.finalize(self, self.process.kill)

    def is_ready(self) -> bool:
        """Wait until it takes jobs."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip() == "The worker is ready."

    def is_at_work(self) -> bool:
        """Whether it has started the process of a job."""
        return bool(psutil.Process(self.process.pid).children())

    def kill(self) -> None:
        """As a power switch would, for this one process."""
        self.process.kill()
        self._wait()

    def ask_to_stop(self) -> None:
        """It may finish the job that it is at."""
        self._is_asked = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Ask it to end, once; its exit status."""
        if not self._is_asked:
            self.ask_to_stop()
        return self._wait()

    def _wait(self) -> int:
        status = self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

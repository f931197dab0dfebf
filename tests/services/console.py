"""A real console server: a process on a free loopback port, with a data folder of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import psutil
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from console.accounts import SESSION_COOKIE
from ops.datafolder import DataFolder

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "a sentence to sign in with"
TARGET = "main"

# The test's own page stands in for the real ones, where the pages are not what is tested.
PLAIN_PAGE = "import streamlit as st\nst.title('Plain page')\nst.button('Press')\n"

_SERVE = """
import sys
from pathlib import Path
from console.context import console
from console.web.serve import serve
serve(console(), script=Path(sys.argv[1]))
"""


class RunningConsole:
    """`folder` holds the data folder and the log of one server, and the page that stands in
    for the real ones; without a `page` it is `ops-console serve`, as its users start it."""

    def __init__(
        self, folder: Path, page: str | None = PLAIN_PAGE, port: int = 0, **env: str
    ) -> None:
        self.folder = folder
        self.data = DataFolder(folder / "data")
        self.log = folder / "stderr.txt"
        command = [str(Path(sys.executable).with_name("ops-console")), "serve"]
        if page is not None:
            command = [sys.executable, "-c", _SERVE, str(_stand_in(folder, page))]
            env.setdefault("DATABASE_URL", f"sqlite:///{folder / 'shop.db'}")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=_environment(folder, OPS_PORT=str(port), **env),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        # A test that fails before `stop` leaves no server behind.
        weakref.finalize(self, self.process.kill)
        self.lines = self._lines_at_start(has_link="OPS_ADMIN_PASSWORD" not in env)
        self.address = self.lines[0].split()[-1]

    def _lines_at_start(self, has_link: bool) -> list[str]:
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline().strip() for _ in range(3 if has_link else 1)]
        assert lines[0].startswith("Ops Console is ready"), self.log.read_text()
        return lines

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    @property
    def link(self) -> str:
        """The one-time link that was printed."""
        return self.lines[2]

    def stranger(self) -> httpx.Client:
        """A client that nobody knows."""
        return httpx.Client(base_url=self.address, timeout=30)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and text for a path exactly as it stands; httpx would tidy it up."""
        line = HTTPConnection("127.0.0.1", self.port, timeout=30)
        line.request(method, path, headers=dict(headers or {}))
        answer = line.getresponse()
        text = answer.read().decode("utf-8", "replace")
        line.close()
        return answer.status, text

    def websocket(self, token: str | None = None, origin: str | None = "") -> ClientConnection:
        """The line between a page and Streamlit, as our own page opens it, or another does."""
        cookie = {"Cookie": f"{SESSION_COOKIE}={token}"} if token else {}
        address = self.address.replace("http", "ws", 1) + "/_stcore/stream"
        line: ClientConnection = connect(
            address,
            origin=None if origin is None else Origin(origin or self.address),
            additional_headers=cookie,
            open_timeout=20.0,
        )
        return line

    @contextmanager
    def memory_watched(self) -> Iterator[Callable[[], int]]:
        """Gives a function that tells by how many bytes the server has grown at most."""
        process, done = psutil.Process(self.process.pid), threading.Event()
        before = process.memory_info().rss
        seen = [before]

        def watch() -> None:
            while not done.wait(0.01):
                seen.append(process.memory_info().rss)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield lambda: max(seen) - before
        finally:
            done.set()
            thread.join()

    def signed_in(self, account: str = "admin") -> httpx.Client:
        """A client with a session of this account, and the token for changing requests."""
        token = f"token-of-{account}-{time.monotonic_ns()}"
        now = time.time()
        row = (_digest(token), account, f"csrf-of-{account}", now, now)
        self.tell_store("INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", *row)
        client = self.stranger()
        client.cookies.set(SESSION_COOKIE, token)
        client.headers["X-Ops-Csrf"] = f"csrf-of-{account}"
        return client

    def tell_store(self, sql: str, *values: object) -> None:
        """Change the console's memory behind its back."""
        connection = sqlite3.connect(self.data.store_path, timeout=30)
        with connection:
            connection.execute(sql, values)
        connection.close()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@contextmanager
def running_console(folder: Path, port: int = 0, **env: str) -> Iterator[RunningConsole]:
    """The console with its real pages, stopped afterwards."""
    console = RunningConsole(folder, None, port, **env)
    try:
        yield console
    finally:
        console.stop()


def _stand_in(folder: Path, page: str) -> Path:
    """The script of one page, with the real configuration beside it."""
    script = folder / "main.py"
    script.write_text(page, encoding="utf-8")
    shutil.copytree(ROOT / "console/ui/.streamlit", folder / ".streamlit", dirs_exist_ok=True)
    return script


def _environment(folder: Path, **ours: str) -> dict[str, str]:
    """No setting of the machine reaches the server, and no `.env`: it runs in its folder."""
    foreign = ("OPS_", "DATABASE_URL", "REDIS_URL", "STREAMLIT_", "PG")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**env, "OPS_DATA_DIR": str(folder / "data"), **ours}


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

"""Programs at work on a live database, and what they can say of it afterwards."""

from __future__ import annotations

import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from tests import processes
from tests.databases import Fingerprint, LiveDatabase

MARKED: Final = {"saved": 3000, "live": 4000}
"""How many rows bear the mark of a state."""

_BENCH: Final = ("accounts", "branches", "history", "tellers")
_CLIENTS_TABLES: Final = ("left_hand", "right_hand", *(f"pgbench_{name}" for name in _BENCH))


def mark(live: LiveDatabase, state: str, rows: int = 0) -> None:
    """Have every row of one large table bear the name of the state."""
    many = rows or MARKED[state]
    live.run(
        "BEGIN; DROP TABLE IF EXISTS marked; CREATE TABLE marked (mark TEXT, pad TEXT);"
        f"WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < {many}) "
        f"INSERT INTO marked SELECT '{state}', '{'x' * 900}' FROM g; COMMIT"
    )


def still_content(live: LiveDatabase) -> Fingerprint:
    """Everything but the rows of the tables that the clients write."""
    return live.fingerprint(without=[live.table(name) for name in _CLIENTS_TABLES])


class Load:
    """The clients of a live database, from `start` to `stop`, as often as wanted."""

    def __init__(self, live: LiveDatabase, logs: Path) -> None:
        self._live = live
        self._logs = logs
        self._first = 0
        self._running: list[BaseProcess] = []
        logs.mkdir(parents=True)

    def start(self) -> None:
        """Until each client is at work."""
        self._first += 100_000
        for log in self._logs.iterdir():
            log.unlink()
        clients = self._live.clients(self._logs, self._first)
        self._running = [processes.started(*client) for client in clients]
        while len([log for log in self._logs.iterdir() if log.stat().st_size]) < len(clients):
            assert all(client.is_alive() for client in self._running)
            time.sleep(0.005)

    def stop(self) -> None:
        """Kill the clients, which must have come through whatever happened."""
        fallen = [client for client in self._running if not client.is_alive()]
        for client in self._running:
            assert client.pid
            processes.kill_group(client.pid)
            client.join()
        self._running = []
        assert not fallen

    def acknowledged(self) -> set[int]:
        """The numbers that were acknowledged as committed since `start`."""
        return {int(line.split()[0]) for line in self._lines("writer*")}

    def found(self) -> set[int]:
        """The numbers since `start` that the live database has, in both hands alike."""
        assert self._live.imbalance() == []
        query = f"SELECT n FROM left_hand WHERE n >= {self._first}"
        return {row[0] for row in self._live.rows(query)}

    def torn_reads(self) -> set[str]:
        """What readers saw that is neither of the two states, and their errors."""
        whole = {f"{state} {state} {rows} 0" for state, rows in MARKED.items()}
        return set(self._lines("reader*")) - whole

    def reads(self) -> int:
        """How often readers have looked."""
        return len(self._lines("reader*"))

    def _lines(self, pattern: str) -> list[str]:
        """Whole lines of the logs; the last one may have been cut off by the kill."""
        texts = (log.read_text(encoding="utf-8") for log in self._logs.glob(pattern))
        return [line for text in texts for line in text.rpartition("\n")[0].splitlines()]

"""How long a swap keeps programs out that come back at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from ops import DataFolder, create_backup, delete_undo_point, restore_backup, undo_points
from tests import clients, processes
from tests.archives import assert_nothing_left
from tests.databases import KINDS, PostgreSQLDatabase
from tests.figures import in_soak, recorded

CLIENTS = 20
PAUSE_SECONDS = 0.02
LONGEST_SECONDS = 0.25


@contextmanager
def _twenty_clients(live: PostgreSQLDatabase, logs: Path) -> Iterator[None]:
    logs.mkdir()
    running = [
        processes.started(
            clients.write_postgresql, live.login(), logs / str(n), n * 100_000, PAUSE_SECONDS
        )
        for n in range(CLIENTS)
    ]
    try:
        while len([log for log in logs.iterdir() if log.stat().st_size]) < CLIENTS:
            time.sleep(0.01)
        yield
        assert all(client.is_alive() for client in running)
    finally:
        for client in running:
            client.kill()
            client.join()


def _gaps(logs: Path) -> list[float]:
    """Seconds from the last commit to a database to the first to the next one, of each client."""
    found = []
    for log in logs.iterdir():
        lines = [line.split() for line in log.read_text().rpartition("\n")[0].splitlines()]
        for (_, oid, at), (_, next_oid, next_at) in pairwise(lines):
            if oid != next_oid:
                found.append(float(next_at) - float(at))
    return found


@pytest.mark.parametrize("live", [*KINDS["postgresql"]][:2], indirect=True)
@pytest.mark.parametrize(
    "is_soak",
    [pytest.param(False, id="few"), pytest.param(True, id="many", marks=pytest.mark.soak)],
)
def test_the_swap_under_twenty_clients(
    live: PostgreSQLDatabase, folder: DataFolder, tmp_path: Path, is_soak: bool
) -> None:
    archive = create_backup(live.target, folder).archive
    rounds = in_soak(15) if is_soak else 1
    with recorded(f"{live}: swaps under {CLIENTS} clients", rounds) as outcomes:
        with _twenty_clients(live, tmp_path / "logs"):
            for _ in range(rounds):
                restore_backup(live.target, archive, folder)
                outcomes["swapped"] += 1
                time.sleep(0.5)
        gaps = _gaps(tmp_path / "logs")
        assert len(gaps) == rounds * CLIENTS
        outcomes["gap in ms, median"] = round(median(gaps) * 1000)
        outcomes["gap in ms, longest"] = round(max(gaps) * 1000)
        if is_soak:
            assert max(gaps) <= LONGEST_SECONDS
    for point in undo_points(live.target, folder):
        delete_undo_point(live.target, folder, point.id)
    assert_nothing_left(live, folder)

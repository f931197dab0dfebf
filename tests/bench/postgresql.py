"""PostgreSQL: a backup to a ZIP, and a restore that is staged, verified and swapped in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ops.dialects.postgresql.tools import ClientTools, tools_for
from tests.bench.data import make_postgresql
from tests.bench.measure import Found, Way, contest
from tests.bench.sqlite import OURS, SEED
from tests.services.postgres import RealPostgres

MAJOR = 16
_SOURCE, _LIVE = "bench", "bench_live"
_LEFT = "SELECT datname FROM pg_database WHERE datname LIKE 'bench\\_live%'"


def run(folder: Path, size: int, rounds: int, say: Callable[[str], None]) -> Found:
    """Both contests."""
    cluster = RealPostgres(MAJOR, {"shared_buffers": "256MB", "max_wal_size": "4GB"})
    try:
        say("making the PostgreSQL database")
        make_postgresql(cluster, _SOURCE, size)
        tools = tools_for(MAJOR)
        title = f"PostgreSQL backup ({'zstd' if tools.zstd else 'tools without zstd'})"
        found = {title: contest(_backups(folder, cluster, tools), rounds, say)}
        found["PostgreSQL restore"] = contest(_restores(folder, cluster, tools), rounds, say)
        return Found(found)
    finally:
        cluster.stop()


def _url(cluster: RealPostgres, database: str) -> str:
    """An address for PostgreSQL's own programs."""
    return cluster.url(database).replace("postgresql+psycopg2", "postgresql")


def _backups(folder: Path, cluster: RealPostgres, tools: ClientTools) -> list[Way]:
    dump, zipped, url = folder / "bench.pgdump", folder / "pg-seed.zip", _url(cluster, _SOURCE)

    def ours(name: str, title: str, read_back: str) -> Way:
        data = folder / name
        command = [*OURS, "backup", cluster.url(_SOURCE), data, read_back]
        fresh = lambda: shutil.rmtree(data, ignore_errors=True)  # noqa: E731
        return Way(title, command, fresh, data / "backups", ours=True)

    return [
        Way("pg_dump -Fc", [tools.pg_dump, "-Fc", f"--file={dump}", url], made=dump),
        Way("the seed's way", [*SEED, "pg-backup", url, tools.pg_dump, zipped], made=zipped),
        ours("pg-without", "ours, not read back", "none"),
        ours("pg-with", "ours, read back and checked", "quick"),
    ]


def _restores(folder: Path, cluster: RealPostgres, tools: ClientTools) -> list[Way]:
    """Into an empty live database: the console's way keeps the former one whatever its size."""
    archive = next((folder / "pg-with" / "backups").rglob("*.zip"))
    data, dump = folder / "pg-restoring", folder / "bench.pgdump"

    def fresh() -> None:
        shutil.rmtree(data, ignore_errors=True)
        for (name,) in cluster.query(_LEFT):
            cluster.query(f'DROP DATABASE "{name}" WITH (FORCE)')
        cluster.query(f"CREATE DATABASE {_LIVE}")
        cluster.query("CHECKPOINT")
        data.mkdir()
        shutil.copy2(archive.parents[2] / "seal.key", data)

    url, jobs = _url(cluster, _LIVE), min(4, os.cpu_count() or 1)
    restore = [*OURS, "restore", cluster.url(_LIVE), data, archive]
    seed = [*SEED, "pg-restore", folder / "pg-seed.zip", url, tools.pg_restore]

    def alone(number: int) -> list[str | Path]:
        return [tools.pg_restore, f"--jobs={number}", f"--dbname={url}", dump]

    return [
        Way("pg_restore -j1", alone(1), fresh),
        Way(f"pg_restore -j{jobs}", alone(jobs), fresh),
        Way("the seed's way", seed, fresh),
        Way("ours, staged and verified", restore, fresh, ours=True),
    ]

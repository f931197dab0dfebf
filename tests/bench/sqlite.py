"""SQLite: a backup to a ZIP, and a restore with a safety copy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.data import make_sqlite
from tests.bench.measure import Found, Way, contest, timed


def _program(name: str) -> tuple[str | Path, ...]:
    """A file of this folder, without what `-m` would import of the packages around it."""
    return sys.executable, "-P", Path(__file__).with_name(f"{name}.py")


OURS, SEED, WRITER = _program("ours"), _program("seed"), _program("writer")


def run(folder: Path, size: int, rounds: int, say: Callable[[str], None]) -> Found:
    """Both contests."""
    database = folder / "shop.db"
    say("making the SQLite database")
    make_sqlite(database, size)
    found = {"SQLite backup": contest(_backups(folder, database), rounds, say)}
    archive = next((folder / "with-read-back" / "backups").rglob("*.zip"))
    restores = _restores(folder, database, archive)
    found["SQLite restore"] = contest(restores, rounds, say)
    return Found(found, {"longest_wait_of_a_writer_seconds": _held(restores[-1], folder)})


def _held(restore: Way, folder: Path) -> float:
    """Seconds that a program had to wait for its commit while the restore ran."""
    restore.prepare()
    writer = subprocess.Popen(
        [*WRITER, folder / "live.db"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        timed(restore)
    finally:
        longest, _ = writer.communicate()
    return float(longest)


def _backups(folder: Path, database: Path) -> list[Way]:
    def ours(name: str, title: str, read_back: str) -> Way:
        data = folder / name
        command = [*OURS, "backup", f"sqlite:///{database}", data, read_back]
        fresh = lambda: shutil.rmtree(data, ignore_errors=True)  # noqa: E731
        return Way(title, command, fresh, data / "backups", ours=True)

    zipped, copy = folder / "seed.zip", folder / "copy.db"
    packed = folder / "packed"
    ways = [
        Way("the seed's way", [*SEED, "backup", database, zipped], made=zipped),
        Way("cp", ["cp", database, copy], lambda: copy.unlink(missing_ok=True), copy),
        ours("without-read-back", "ours, not read back", "none"),
        ours("with-read-back", "ours, read back and checked", "quick"),
    ]
    for name, options in {"igzip": ["-2", "-T2"], "pigz": ["-1", "-p2"]}.items():
        program = shutil.which(name)
        if program:
            line = f'"{program}" {" ".join(options)} -c "{database}" > "{packed}"'
            title = f"{name} {' '.join(options)}"
            ways.append(Way(title, ["sh", "-c", line], made=packed))
    return ways


def _restores(folder: Path, database: Path, archive: Path) -> list[Way]:
    live, safety = folder / "live.db", folder / "safety.db"
    data, zipped = folder / "restoring", folder / "seed.zip"

    def fresh() -> None:
        shutil.rmtree(data, ignore_errors=True)
        for path in (live, safety, *folder.glob("live.db-*")):
            path.unlink(missing_ok=True)
        shutil.copyfile(database, live)
        # This console's own archive is known by the key that sealed it.
        data.mkdir()
        shutil.copy2(archive.parents[2] / "seal.key", data)

    restore = [*OURS, "restore", f"sqlite:///{live}", data, archive]
    checked = [*SEED, "checked-restore", zipped, live, safety]
    return [
        Way("the seed's way", [*SEED, "restore", zipped, live, safety], fresh, live),
        Way("the seed's way, then checked", checked, fresh, live),
        Way("cp", ["cp", database, live], fresh, live),
        Way("ours, checked, with a safety copy", restore, fresh, live, ours=True),
    ]

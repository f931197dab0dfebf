"""python3 dev.py bench [--sizes 0.25,1,4] [--rounds 3] [--only sqlite,postgresql,web,pages]

Sizes are GiB. The programs igzip, pigz and nginx take part where they are installed. Needs about
eight times the largest size on the disk of `--folder`. Tables are printed and written as JSON;
read the ratios, because the rounds of all ways are interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import pages, postgresql, sqlite, web
from tests.bench.measure import Failed, Found, Seen
from tests.bench.report import as_json, figures_in_words, growth, table

GIB = 1 << 30
Group = Callable[[Path, int, int, Callable[[str], None]], Found]

BY_SIZE: dict[str, Group] = {"sqlite": sqlite.run, "postgresql": postgresql.run, "web": web.run}
ONCE: dict[str, Group] = {"pages": pages.run}


class Record:
    """All that was found so far; written after each group, so that a break loses little."""

    def __init__(self, path: Path, rounds: int) -> None:
        self.by_title: dict[str, list[tuple[float, dict[str, Seen]]]] = {}
        self._figures: dict[str, dict[str, float]] = {}
        self._path = path
        self._rounds = rounds

    def take(self, name: str, size: float, found: Found) -> None:
        """Print and write one group."""
        for title, seen in found.tables.items():
            print(table(f"{title}, {size:g} GiB", seen), flush=True)
            self.by_title.setdefault(title, []).append((size, seen))
        if found.figures:
            title = name if name in ONCE else f"{name}, {size:g} GiB"
            print(figures_in_words(title, found.figures), flush=True)
            self._figures[title] = dict(found.figures)
        self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "rounds": self._rounds,
            "contests": [
                {"title": title, "gib": size, "ways": as_json(seen)}
                for title, by_size in self.by_title.items()
                for size, seen in by_size
            ],
            "figures": self._figures,
        }
        self._path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Run what is asked for. A group that fails is told and left out; the rest goes on."""
    options = _options()
    record, failed, began = Record(Path(options.json), options.rounds), 0, time.monotonic()
    wanted = options.only.split(",")
    for size in map(float, options.sizes.split(",")):
        for name in [name for name in BY_SIZE if name in wanted]:
            failed += not _run(BY_SIZE[name], name, size, options, record)
    for name in [name for name in ONCE if name in wanted]:
        failed += not _run(ONCE[name], name, 0, options, record)
    for title, by_size in record.by_title.items():
        if len(by_size) > 1:
            print(growth(title, by_size))
    print(f"\nWritten to {options.json}; it took {(time.monotonic() - began) / 60:.1f} minutes.")
    return 1 if failed else 0


def _run(group: Group, name: str, size: float, options: argparse.Namespace, record: Record) -> bool:
    _say(f"{name}, {size:g} GiB" if size else name)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        os.chmod(folder, 0o755)
        try:
            found = group(Path(folder), int(size * GIB), options.rounds, _say)
        except Failed as failed:
            _say(f"{name} failed: {failed}")
            return False
        except Exception:
            _say(f"{name} failed:\n{traceback.format_exc()}")
            return False
    record.take(name, size, found)
    return True


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", default="0.25", help="in GiB, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join([*BY_SIZE, *ONCE]), help="of: %(default)s")
    parser.add_argument("--json", default="build/bench.json", help="where the figures go")
    parser.add_argument("--folder", default=None, help="the disk to measure on")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

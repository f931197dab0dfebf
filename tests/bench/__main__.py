"""python3 dev.py bench [--sizes 0.25,1,4] [--rounds 3] [--only sqlite,postgresql]

Sizes are GiB. The programs igzip and pigz take part where they are installed. Needs about
eight times the largest size on the disk of `--folder`. At 0.25 GiB it takes about 3 minutes on
two cores, at 0.25, 1 and 4 GiB about an hour, most of it in the ways that are compared with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import postgresql, sqlite
from tests.bench.measure import Failed, Seen
from tests.bench.report import as_json, growth, table

CONTESTS = {"sqlite": sqlite.run, "postgresql": postgresql.run}
GIB = 1 << 30

Found = dict[str, list[tuple[float, dict[str, Seen]]]]


def main() -> int:
    """Run what is asked for; print as it comes, write at the end of each size."""
    options = _options()
    found: Found = {}
    for size in map(float, options.sizes.split(",")):
        for name in options.only.split(","):
            with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
                os.chmod(folder, 0o755)
                try:
                    results = CONTESTS[name](Path(folder), int(size * GIB), options.rounds, _say)
                except Failed as failed:
                    _say(str(failed))
                    return 1
            for title, seen in results.items():
                print(table(f"{title}, {size:g} GiB", seen), flush=True)
                found.setdefault(title, []).append((size, seen))
        _write(Path(options.json), found, options.rounds)
    for title, by_size in found.items():
        if len(by_size) > 1:
            print(growth(title, by_size))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", default="0.25", help="in GiB, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(CONTESTS), help="of: %(default)s")
    parser.add_argument("--json", default="build/bench.json", help="where the figures go")
    parser.add_argument("--folder", default=None, help="the disk to measure on")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(path: Path, found: Found, rounds: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "rounds": rounds,
        "contests": [
            {"title": title, "gib": size, "ways": as_json(seen)}
            for title, by_size in found.items()
            for size, seen in by_size
        ],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

"""A program that goes on writing to a SQLite database while it is restored.

python writer.py DATABASE     until its input ends; prints the longest commit
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from contextlib import closing

_PATIENCE_SECONDS = 600


def main(path: str) -> None:
    """Commit small changes without a pause; seconds of the longest at the end."""
    over, longest = threading.Event(), 0.0
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    with closing(
        sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)
    ) as connection:
        while not over.is_set():
            began = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE orders SET amount = amount + 1 WHERE id = 7")
            connection.execute("COMMIT")
            longest = max(longest, time.perf_counter() - began)
            time.sleep(0.002)
    print(longest)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What people wait for: pages over 5,000 tables and 20,000 indexes, the command line, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from playwright.sync_api import BrowserContext

from ops import dialect_of, get_health_report
from ops.target import Target
from tests.bench.measure import Found, peak_of
from tests.services.chromium import running_chromium
from tests.services.console import running_console
from tests.services.postgres import RealPostgres

MAJOR = 16
_TABLES, _AT_ONCE = 5_000, 100
_MAKE = """
DO $$ BEGIN FOR i IN {first}..{last} LOOP
  EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a int, b text, c timestamptz)', i);
  EXECUTE format('CREATE INDEX ON t%s (a)', i);
  EXECUTE format('CREATE INDEX ON t%s (b)', i);
  EXECUTE format('CREATE INDEX ON t%s (c)', i);
END LOOP; END $$
"""
_HEAVY = ("streamlit", "pandas", "altair", "starlette", "uvicorn", "redis")
_LOADED = f"""
import sys
from console.cli import main
sys.argv = ["ops-console", "list"]
try: main()
except SystemExit: pass
print("\\nloaded:", *[name for name in {_HEAVY!r} if name in sys.modules])
"""


def run(folder: Path, size: int, rounds: int, say: Callable[[str], None]) -> Found:
    """Figures only; `size` does not matter."""
    cluster = RealPostgres(MAJOR, {"shared_buffers": "128MB"})
    try:
        say(f"making {_TABLES} tables")
        cluster.query("CREATE DATABASE many")
        for first in range(1, _TABLES, _AT_ONCE):
            cluster.query(_MAKE.format(first=first, last=first + _AT_ONCE - 1), db="many")
        cluster.query("ANALYZE", db="many")
        figures = _library(cluster.url("many"), rounds)
        figures |= _command_line(folder, rounds)
        figures |= _browser(folder, cluster.url("many"), rounds)
    finally:
        cluster.stop()
    return Found({}, figures)


def _library(url: str, rounds: int) -> dict[str, float]:
    engine = Target.parse("many", url).engine
    dialect = dialect_of(engine)
    found = {
        "health_report_seconds": _usual(lambda: get_health_report(engine), rounds),
        "size_estimates_seconds": _usual(lambda: dialect.sizes(engine), rounds),
        "size_exact_seconds": _usual(lambda: dialect.sizes(engine, exact=True), rounds),
    }
    engine.dispose()
    return found


def _usual(work: Callable[[], object], rounds: int) -> float:
    """The median of a few times, after one that does not count."""
    work()
    seconds = []
    for _ in range(max(3, rounds)):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def _command_line(folder: Path, rounds: int) -> dict[str, float]:
    env = {**os.environ, "OPS_DATA_DIR": str(folder / "cli")}
    program = str(Path(sys.executable).with_name("ops-console"))
    seconds = _usual(
        lambda: subprocess.run([program, "list"], env=env, check=True, capture_output=True), rounds
    )
    told = subprocess.run(
        [sys.executable, "-c", _LOADED], env=env, check=True, capture_output=True, text=True
    ).stdout
    heavy = told.rsplit("loaded:", 1)[1].split()
    return {"list_seconds": seconds, "list_heavy_modules": len(heavy)}


def _browser(folder: Path, url: str, rounds: int) -> dict[str, float]:
    """From asking for a page to seeing its figures, signed in, and the server's memory."""
    with running_chromium() as browser, running_console(folder, DATABASE_URL=url) as console:
        time.sleep(3)
        idle = peak_of(console.process.pid)
        context = browser.new_context()
        context.new_page().goto(console.link)
        seen = partial(_seen, context, rounds=rounds)
        found = {
            "overview_seconds": seen(console.address, "Kept backups"),
            "size_page_seconds": seen(f"{console.address}/size", "Whole database"),
            "health_page_seconds": seen(f"{console.address}/health", "Look again"),
            "server_idle_bytes": idle,
            "server_peak_bytes": peak_of(console.process.pid),
        }
        context.close()
    return found


_LOOK = """
const look = () => {
  if (document.body?.innerText.includes(TEXT)) window.shownAt = performance.now();
  else requestAnimationFrame(look);
};
look();
"""


def _seen(context: BrowserContext, address: str, text: str, rounds: int) -> float:
    """The median of seconds until the text is there, from asking for the whole page anew. By the
    browser's own clock, and looked for at every picture it draws: `expect` looks now and then."""
    page = context.new_page()
    page.add_init_script(_LOOK.replace("TEXT", json.dumps(text)))

    def look() -> float:
        page.goto(address)
        shown_at: float = page.wait_for_function(
            "() => window.shownAt", timeout=60_000
        ).json_value()
        return shown_at / 1000

    look()
    seconds = median(look() for _ in range(max(5, rounds)))
    page.close()
    return seconds

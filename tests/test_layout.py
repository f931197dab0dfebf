"""The rooms of the house and who may look into whom, as `[tool.importlinter]` says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ops", "console")

IMPORT_ALL_OF_OPS = """
import importlib, pkgutil, sys
import ops
def stop(name): raise
for module in pkgutil.walk_packages(ops.__path__, "ops.", onerror=stop):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sys.modules)
"""


def _modules() -> list[Path]:
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def test_ops_can_be_used_without_a_web_server() -> None:
    command = [sys.executable, "-c", IMPORT_ALL_OF_OPS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "ops.dialects" in loaded
    assert loaded.isdisjoint({"streamlit", "starlette", "uvicorn", "console"})


def test_every_room_keeps_to_its_contract() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_is_named_after_what_it_does() -> None:
    nothing_said = {"common", "helper", "helpers", "misc", "util", "utils"}
    assert [path for path in _modules() if {path.stem, path.parent.name} & nothing_said] == []


def test_every_folder_with_modules_is_a_package() -> None:
    """An installed copy holds packages only: a module elsewhere would be missing there."""
    folders = {path.parent for path in _modules()}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_each_page_shows_the_jobs_of_its_database_once() -> None:
    """By its heading, or in a place of its own."""
    for view in (ROOT / "console/ui/views").glob("*.py"):
        text = view.read_text(encoding="utf-8")
        if "heading(" in text:
            assert ("job_panel(" in text) == ("shows_jobs=False" in text), view.name

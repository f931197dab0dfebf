#!/usr/bin/env python3
"""The project's commands, on a machine that has Python 3.11 and nothing else.

    python3 dev.py run   [arguments of `ops-console serve`]
    python3 dev.py test  [arguments of pytest]     every test, on real servers
    python3 dev.py check                           linters, types, layers, container files
    python3 dev.py soak  [arguments of pytest]     the long tests that kill and restore
    python3 dev.py bench [arguments]               measurements
    python3 dev.py lock                            pin the newest allowed dependencies anew

The first call makes `.venv` from the pinned, hashed files in `requirements/`; later calls
only look whether those files have changed. `uv` does the installing: the one on the PATH,
else a pinned one that is put into `.boot`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BOOT = ROOT / ".boot"
REQUIREMENTS = ROOT / "requirements"
WINDOWS = os.name == "nt"
OLDEST_PYTHON = (3, 11)

# What each pinned file is made of. A later file keeps to the versions of the earlier ones.
LOCKED = {
    "boot": ["--group", "boot"],
    "console": ["--group", "build"],
    "pgtools": ["--group", "build", "--extra", "pgtools", "--extra", "queue"],
    "dev": ["--group", "build", "--extra", "pgtools", "--extra", "queue", "--group", "dev"],
}

# `docker compose config` refuses to read the overlay without its passwords; any value will do.
COMPOSE_PASSWORDS = {"POSTGRES_PASSWORD": "x", "REDIS_PASSWORD": "x"}
COMPOSE_FILES = ["docker-compose.yml", "docker-compose.postgres.yml"]


class Unable(Exception):
    """The machine lacks something; the message says what to do about it."""


def program(folder: Path, name: str) -> Path:
    """A program inside a virtual environment."""
    return folder / ("Scripts" if WINDOWS else "bin") / (name + (".exe" if WINDOWS else ""))


def environment() -> dict[str, str]:
    """Our environment without another project's virtual environment in it."""
    env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    # Trust whom the machine trusts, as pip does: uv brings its own list of authorities.
    env.setdefault("UV_SYSTEM_CERTS", "true")
    env.pop("VIRTUAL_ENV", None)
    return env


def run(*command: object) -> None:
    """Run a step that has to succeed."""
    subprocess.run([str(part) for part in command], cwd=ROOT, env=environment(), check=True)


def become(*command: object) -> int:
    """Turn into the command, so that Ctrl-C and SIGTERM reach it and not a parent."""
    argv = [str(part) for part in command]
    os.chdir(ROOT)
    if WINDOWS:
        return subprocess.call(argv, env=environment())
    sys.stdout.flush()
    os.execve(argv[0], argv, environment())


# --- The environment ------------------------------------------------------------------------


def find_uv() -> str:
    """`uv` from the PATH, else a private one."""
    found = shutil.which("uv")
    if found:
        return found
    private = program(BOOT, "uv")
    if not private.exists():
        install_uv()
    return str(private)


def install_uv() -> None:
    """Put the pinned uv into `.boot`, with the pip that comes with Python."""
    if importlib.util.find_spec("ensurepip") is None:
        package = "python{}.{}-venv".format(*sys.version_info)
        raise Unable(f"Python's venv is not complete: install {package} (or uv), then try again.")
    venv.create(BOOT, with_pip=True, clear=True)
    pip = [program(BOOT, "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "-r", REQUIREMENTS / "boot.txt")


def fingerprint(level: str) -> str:
    """Changes with everything that an environment of this level is made from."""
    digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for path in (REQUIREMENTS / f"{level}.txt", ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_ready(level: str) -> bool:
    """Whether `.venv` was made from the files as they are now."""
    stamp = VENV / f"ready-{level}"
    if not program(VENV, "python").exists() or not stamp.exists():
        return False
    return stamp.read_text() == fingerprint(level)


def prepare(*levels: str) -> None:
    """Make `.venv` hold the first of the levels, unless it already holds one of them."""
    if any(is_ready(level) for level in levels):
        return
    level = levels[0]
    uv = find_uv()
    print("Preparing .venv …", file=sys.stderr, flush=True)
    make_venv(uv)
    for stamp in VENV.glob("ready-*"):
        stamp.unlink()
    pip, python = (uv, "pip"), ("--quiet", "--python", program(VENV, "python"))
    run(*pip, "sync", *python, "--require-hashes", REQUIREMENTS / f"{level}.txt")
    # The build needs setuptools, which is pinned among the requirements: nothing is fetched.
    # "compat" puts the folder itself on the path, so that new packages need no new installation.
    editable = ["--config-settings", "editable_mode=compat", "--editable", ROOT]
    run(*pip, "install", *python, "--no-deps", "--no-build-isolation", *editable)
    (VENV / f"ready-{level}").write_text(fingerprint(level))


def make_venv(uv: str) -> None:
    """An empty `.venv` of this very Python, unless there is one."""
    python = program(VENV, "python")
    ours = "{}.{}".format(*sys.version_info)
    if python.exists():
        ask = [str(python), "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
        if subprocess.run(ask, capture_output=True, text=True).stdout.strip() == ours:
            return
    shutil.rmtree(VENV, ignore_errors=True)
    run(uv, "venv", "--quiet", "--python", sys.executable, VENV)


# --- The commands ---------------------------------------------------------------------------


def command_run(arguments: list[str]) -> int:
    prepare("pgtools", "dev")
    return become(program(VENV, "ops-console"), "serve", *arguments)


def command_test(arguments: list[str]) -> int:
    prepare("dev")
    # Much of a test's time is waiting for servers and browsers: more processes than processors.
    # A file stays with one process, so that what its tests share is started once.
    shared = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "loadfile", "--no-loadscope-reorder"]
    return become(program(VENV, "python"), "-m", "pytest", *shared, *(arguments or ["tests"]))


def command_soak(arguments: list[str]) -> int:
    prepare("dev")
    pytest = [program(VENV, "python"), "-m", "pytest", "-m", "soak or figure", "--timeout", "0"]
    return become(*pytest, *(arguments or ["tests"]))


def command_bench(arguments: list[str]) -> int:
    if not (ROOT / "tests" / "bench" / "__main__.py").exists():
        raise Unable("There are no measurements here: tests/bench/__main__.py is missing.")
    prepare("dev")
    return become(program(VENV, "python"), "-m", "tests.bench", *arguments)


def command_check(arguments: list[str]) -> int:
    prepare("dev")
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = list(pool.map(run_check, *zip(*checks().items(), strict=True)))
    return 0 if all(results) else 1


def command_lock(arguments: list[str]) -> int:
    """Write `requirements/*.txt`; they name versions and hashes, and no place to get them."""
    uv = find_uv()
    constraints: list[str] = []
    for name, content in LOCKED.items():
        target = REQUIREMENTS / f"{name}.txt"
        flags = ["--universal", "--python-version", "3.11", "--generate-hashes", "--upgrade"]
        form = ["--no-annotate", "--custom-compile-command"]
        source = [] if name == "boot" else ["pyproject.toml"]
        options = [*flags, *form, "python3 dev.py lock", *constraints, *content]
        run(uv, "pip", "compile", "--quiet", *source, *options, "--output-file", target)
        constraints += [] if name == "boot" else ["--constraint", str(target)]
    return 0


def checks() -> dict[str, list[str]]:
    """Every static check by its name: the program and its arguments."""
    base, overlay = COMPOSE_FILES
    return {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy"],
        "import-linter": ["lint-imports"],
        "bandit": [
            *["bandit", "--quiet", "--configfile", "pyproject.toml"],
            *["--confidence-level", "medium", "--recursive", "ops", "console"],
        ],
        "compose": ["docker-compose", "-f", base, "config", "-q"],
        "compose overlay": ["docker-compose", "-f", base, "-f", overlay, "config", "-q"],
        "hadolint": ["hadolint", "Dockerfile"],
    }


def run_check(name: str, command: list[str]) -> bool:
    """Run one check and print its line, with what it said if it failed."""
    started = time.monotonic()
    argv = [str(program(VENV, command[0])), *command[1:]]
    env = {**environment(), **COMPOSE_PASSWORDS}
    done = subprocess.run(
        argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    verdict = "ok" if done.returncode == 0 else "FAILED"
    said = "" if done.returncode == 0 else "\n" + done.stdout.rstrip()
    print(f"{name:16} {verdict:6} {time.monotonic() - started:5.1f} s{said}", flush=True)
    return done.returncode == 0


COMMANDS = {
    "run": command_run,
    "test": command_test,
    "check": command_check,
    "soak": command_soak,
    "bench": command_bench,
    "lock": command_lock,
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if sys.version_info < OLDEST_PYTHON:
            raise Unable(
                "Ops Console needs Python 3.11 or newer; this is {}.{}: install a newer one and "
                "start dev.py with it.".format(*sys.version_info)
            )
        return COMMANDS[arguments[0]](arguments[1:])
    except Unable as problem:
        print(problem, file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as problem:
        print(f"This step failed: {' '.join(problem.cmd)}", file=sys.stderr)
        return problem.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

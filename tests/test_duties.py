"""What the console does by itself while it is served."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from ops.activity import entries
from ops.backup import create_backup
from ops.datafolder import DataFolder
from ops.duties import DUTIES, Duty, keep_doing
from ops.errors import Unavailable
from ops.installation import Installation
from ops.journal import Journal, Step, journals_of
from ops.locks import target_lock
from ops.named_locks import AdvisoryLocks, FileLocks, held
from ops.recovery import unsettled
from ops.restore import restore_backup
from ops.settings import Settings
from ops.store import open_store
from ops.undo import kept_points
from tests.databases import LiveDatabase
from tests.services.postgres import RealPostgres
from tests.waiting import wait_for

CLEARING = next(duty for duty in DUTIES if duty.name == "clear away what was left")
EXPIRY = next(duty for duty in DUTIES if duty.name == "give up what was kept long enough")


@pytest.fixture
def alone(folder: DataFolder) -> Iterator[Installation]:
    """An installation that looks after nothing."""
    store = open_store(folder.store_path)
    yield Installation(Settings.model_validate({}), folder, store, ())
    store.dispose()


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def _start(home: Installation, stop: threading.Event, *duties: Duty) -> threading.Thread:
    thread = threading.Thread(target=keep_doing, args=(home, stop, duties), daemon=True)
    thread.start()
    return thread


def test_duties_are_taken_up_when_the_store_comes_back(
    alone: Installation, stop: threading.Event, pg16: RealPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"memory_{secrets.token_hex(4)}"
    shared = create_engine(pg16.url(name), poolclass=NullPool)
    alone.folder.shared_locks = AdvisoryLocks(shared, FileLocks(alone.folder.locks))
    done = threading.Event()
    thread = _start(alone, stop, Duty("a", 3600, lambda _home: done.set()))
    wait_for(lambda: "the duties wait" in caplog.text, 20)
    assert not done.is_set()
    pg16.query(f"CREATE DATABASE {name}")
    assert done.wait(20)
    stop.set()
    thread.join(10)
    pg16.query(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_duty_that_fails_keeps_no_other_from_its_turn(
    alone: Installation, stop: threading.Event
) -> None:
    called: list[str] = []

    def _fail(_home: Installation) -> None:
        called.append("failing")
        raise Unavailable("The database does not answer.")

    def _break(_home: Installation) -> None:
        raise ValueError

    def _work(_home: Installation) -> None:
        called.append("working")

    _start(alone, stop, Duty("a", 0, _fail), Duty("b", 0, _break), Duty("c", 3600, _work))
    wait_for(lambda: called.count("failing") > 1, 20)
    assert called.count("working") == 1


def test_one_console_does_the_duties_until_it_is_gone(
    alone: Installation, stop: threading.Event
) -> None:
    called = threading.Event()
    with held(alone.folder.locks / "duties.lock"):
        _start(alone, stop, Duty("a", 3600, lambda _home: called.set()))
        assert not called.wait(1)
    assert called.wait(20)


def test_what_could_not_be_removed_at_once_is_removed_later(
    home: Installation, live: LiveDatabase
) -> None:
    journal = Journal.begin(home.folder, "live", live.backend, "restore", "x.zip")
    with target_lock(home.folder, live.target):
        CLEARING.do(home)
        assert unsettled(live.target, home.folder), "a living process is at work on it"
    CLEARING.do(home)
    assert Journal.read(journal.path).step is Step.ROLLED_BACK
    swapping = Journal.begin(home.folder, "live", live.backend, "restore", "y.zip")
    swapping.advance(Step.SWAPPING)
    CLEARING.do(home)
    assert Journal.read(swapping.path).step is Step.SWAPPING, "that may take a person"


LONG_AGO = "2020-01-01T00:00:00+00:00"


def _over(home: Installation, live: LiveDatabase, *, until: str, seen: str | None = None) -> None:
    """What is kept is over since `until`, which the console has known since `seen`."""
    (journal,) = journals_of(home.folder, live.target.name)
    journal.undo_until = until
    journal.undo_over = seen or journal.undo_over
    journal.write()


def test_a_clock_that_was_wrong_for_a_while_deletes_nothing(
    home: Installation, live: LiveDatabase
) -> None:
    restore_backup(live.target, create_backup(live.target, home.folder).archive, home.folder)
    (before,) = journals_of(home.folder, live.target.name)
    _over(home, live, until=LONG_AGO)
    EXPIRY.do(home)
    _over(home, live, until=str(before.undo_until), seen=LONG_AGO)
    EXPIRY.do(home)
    (after,) = journals_of(home.folder, live.target.name)
    assert after == before, "the right clock begins anew"
    _over(home, live, until=LONG_AGO, seen="2100-01-01T00:00:00+00:00")
    EXPIRY.do(home)
    (after,) = journals_of(home.folder, live.target.name)
    assert after.undo_over is not None
    assert after.undo_over < "2100", "a wrong clock noted when it was seen"


def test_a_former_database_goes_when_its_time_is_up(home: Installation, live: LiveDatabase) -> None:
    archive = create_backup(live.target, home.folder).archive
    before = live.neighbours()
    restore_backup(live.target, archive, home.folder)
    EXPIRY.do(home)
    assert len(kept_points(live.target, home.folder)) == 1
    _over(home, live, until=LONG_AGO)
    EXPIRY.do(home)
    assert len(kept_points(live.target, home.folder)) == 1, "the clock may be wrong just now"
    _over(home, live, until=LONG_AGO, seen=LONG_AGO)
    EXPIRY.do(home)
    assert kept_points(live.target, home.folder) == []
    (line,) = entries(home)
    assert (line.who, line.what, line.archive) == ("console", "delete-kept", archive.name)
    assert live.neighbours() == before


def test_a_database_that_hangs_keeps_no_other_duty_from_its_turn(
    alone: Installation, stop: threading.Event
) -> None:
    done, forever = threading.Event(), threading.Event()
    hanging = Duty("ask", 3600, lambda _home: forever.wait(60), asks_databases=True)
    thread = _start(alone, stop, hanging, Duty("begin", 3600, lambda _home: done.set()))
    assert done.wait(10)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    forever.set()

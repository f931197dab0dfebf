"""Messages to people who are not looking: real servers take them, refuse them, hang, and die."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from ops import jobs
from ops.activity import Filter, Outcome, entries
from ops.checks.base import Level
from ops.errors import OpsError
from ops.installation import Installation
from ops.notify import HEARTBEAT, deliver, deliver_soon, forget_old, send_test, standing_of, tell
from ops.notify.alarms import REMIND_SECONDS
from ops.notify.services import ping, send, without
from ops.outlook import findings_about_messages as alerts_of
from ops.runs import PAUSES, begin_due
from ops.schedule import Plan, save_plan
from ops.settings import Settings
from ops.store import alarms, notices, scheduled_runs
from ops.watch import look
from tests.services.listeners import Listener, mail_listener, web_listener
from tests.services.ports import free_port

MakeHome = Callable[..., Installation]


@pytest.fixture
def web() -> Iterator[Listener]:
    with web_listener() as listener:
        yield listener


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[MakeHome]:
    """An installation that looks after one small database, with these settings."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    (tmp_path / "shop.db").chmod(0o600)
    opened: list[Installation] = []

    def make(**settings: str) -> Installation:
        base = {"OPS_DATA_DIR": tmp_path / "data", "DATABASE_URL": f"sqlite:///{tmp_path}/shop.db"}
        home = Installation.open(Settings.model_validate({**base, **settings}))
        opened.append(home)
        return home

    yield make
    for home in opened:
        home.store.dispose()


def _hook(listener: Listener) -> str:
    return f"json://ops:hunter2@127.0.0.1:{listener.port}/hooks/T0PS3CRET"


def _due_now(home: Installation) -> None:
    with home.store.begin() as store:
        store.execute(update(notices).values(next_try=0))


def _fail(home: Installation, who: str = "ann") -> None:
    """A job that fails: there is no such archive."""
    job_id = jobs.create(home, "restore", "main", who, {"archive": "/nowhere/no.zip"})
    with pytest.raises(OpsError):
        jobs.execute(home, job_id)


# --- Services -------------------------------------------------------------------------------


def test_a_mail_arrives() -> None:
    with mail_listener() as mail:
        address = (
            f"mailto://127.0.0.1:{mail.port}?from=ops@example.org&to=you@example.org&mode=insecure"
        )
        (delivery,) = send([address], "The title", "First line.\nSecond line.")
    assert delivery.ok, delivery
    ((subject, text),) = mail.came
    assert subject == "The title"
    assert text.replace("\r", "").strip() == "First line.\nSecond line."


def test_one_bad_service_keeps_the_others_from_nothing(
    web: Listener, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    closed = f"json://ops:hunter2@127.0.0.1:{free_port()}/hooks/T0PS3CRET"
    deliveries = send([closed, "nonsense://T0PS3CRET", _hook(web)], "title", "body")
    assert [found.ok for found in deliveries] == [False, False, True]
    assert web.came == [("title", "body")]
    assert "onnection error" in deliveries[0].problem
    assert "understood" in deliveries[1].problem
    told = f"{deliveries} {caplog.text} {capfd.readouterr()}"
    assert "hunter2" not in told
    assert "T0PS3CRET" not in told


def test_a_service_that_hangs_is_not_waited_for(web: Listener) -> None:
    web.hang = threading.Event()
    began = time.monotonic()
    addresses = [_hook(web), _hook(web)]
    deliveries = send(addresses, "title", "body", deadline=0.5)
    assert "no answer within" in deliveries[0].problem
    assert "no answer within" in ping(f"http://127.0.0.1:{web.port}/1", deadline=0.5).problem
    assert time.monotonic() - began < 3


def test_what_stands_in_an_address_is_told_nowhere() -> None:
    address = "mailto://me:hunter2@mail.example.org:25/?to=you@example.org"
    said = "535 HUNTER2 of me@mail.example.org is wrong"
    assert without(said, address) == "535 *** of me@*** is wrong"
    said = "The token hun/ter is wrong, and hun%2Fter too"
    assert without(said, "telegram://hun%2fter/%20") == "The token *** is wrong, and *** too"


# --- The outbox -----------------------------------------------------------------------------


def test_a_job_that_fails_is_told_once_and_so_is_that_it_works_again(
    make_home: MakeHome, web: Listener
) -> None:
    home = make_home(OPS_NOTIFY=_hook(web))
    _fail(home)
    _fail(home)
    ((title, body),) = web.came
    assert title == "Ops Console: restore of main failed"
    assert body.startswith("The backup file cannot be read")
    assert "Database: main." in body
    long_ago = update(alarms).values(told=time.time() - REMIND_SECONDS - 1)
    with home.store.begin() as store:
        store.execute(long_ago)
    _fail(home)
    assert len(web.came) == 2
    made = jobs.execute(home, jobs.create(home, "backup", "main", "ann", {}))
    assert len(web.came) == 2
    restored = jobs.create(home, "restore", "main", "ann", {"archive": made["archive"]})
    jobs.execute(home, restored)
    assert [title for title, _ in web.came[2:]] == ["Ops Console: restore of main works again"]
    lines = entries(home, Filter(what="notify"))
    assert [line.outcome for line in lines] == [Outcome.DONE] * 3


def test_a_job_found_dead_is_told_by_the_console(make_home: MakeHome, web: Listener) -> None:
    home = make_home(OPS_NOTIFY=_hook(web))
    jobs.create(home, "backup", "main", "ann", {})
    with home.store.begin() as store:
        store.exec_driver_sql("UPDATE jobs SET state = 'running', started = created")
    for _ in range(2):
        jobs.recent(home)
    assert web.came == []
    deliver_soon(home)
    ends = time.monotonic() + 20
    while not web.came and time.monotonic() < ends:
        time.sleep(0.02)
    assert [title for title, _ in web.came] == ["Ops Console: backup of main failed"]


def test_what_cannot_be_delivered_is_seen_tried_again_and_given_up(
    make_home: MakeHome, web: Listener
) -> None:
    web.status = 500
    home = make_home(OPS_NOTIFY=_hook(web))
    tell(home, "title", "postgresql://shop:hunter2@db/shop does not answer")
    deliver(home)
    (finding,) = alerts_of(home)
    assert (finding.id, finding.level) == ("alerts.messages", Level.NOW)
    assert "JSON no. 1" in finding.sentence
    deliver(home)  # it is not due yet
    for _ in range(10):
        _due_now(home)
        deliver(home)
    with home.store.connect() as store:
        row = store.execute(select(notices)).mappings().one()
    assert (row["tries"], row["given_up"], row["delivered"]) == (5, 1, None)
    lines = entries(home, Filter(what="notify", outcome="failed"))
    assert ["given up" in line.detail for line in lines] == [True, False]
    assert "hunter2" not in f"{dict(row)} {lines} {finding}"
    web.status = 200
    tell(home, "another", "body")
    deliver(home)
    assert [title for title, _ in web.came] == ["another"]
    assert alerts_of(home)[0].level is Level.GOOD


def test_only_who_has_not_got_it_gets_it_again(make_home: MakeHome, web: Listener) -> None:
    with web_listener() as other:
        other.status = 503
        home = make_home(OPS_NOTIFY=f"{_hook(web)} {_hook(other)}")
        tell(home, "title", "body")
        deliver(home)
        other.status = 200
        _due_now(home)
        deliver(home)
        assert (len(web.came), len(other.came)) == (1, 1)
        _due_now(home)
        deliver(home)
        assert (len(web.came), len(other.came)) == (1, 1)


def test_two_who_deliver_at_once_send_it_once(make_home: MakeHome, web: Listener) -> None:
    home = make_home(OPS_NOTIFY=_hook(web))
    for number in range(3):
        tell(home, f"no. {number}", "body")
    threads = [threading.Thread(target=deliver, args=(home,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(title for title, _ in web.came) == ["no. 0", "no. 1", "no. 2"]


def test_old_messages_are_forgotten(make_home: MakeHome) -> None:
    home = make_home(OPS_NOTIFY="json://127.0.0.1:1")
    for title in ("old", "new"):
        tell(home, title, "body")
    with home.store.begin() as store:
        store.execute(update(notices).where(notices.c.title == "old").values(at=0))
    forget_old(home)
    with home.store.connect() as store:
        assert list(store.scalars(select(notices.c.title))) == ["new"]


def test_the_test_message_says_how_it_went(make_home: MakeHome, web: Listener) -> None:
    home = make_home(OPS_NOTIFY=_hook(web))
    assert alerts_of(home)[0].level is Level.SOON
    (delivery,) = send_test(home, "ann", "::1")
    assert (delivery.ok, delivery.service) == (True, "JSON")
    assert web.came[0][0] == "Ops Console: a test"
    assert alerts_of(home)[0].level is Level.GOOD
    web.status = 403
    (delivery,) = send_test(home, "ann", "::1")
    assert not delivery.ok
    assert alerts_of(home)[0].level is Level.NOW
    lines = entries(home, Filter(who="ann", what="notify"))
    assert [line.outcome for line in lines] == [Outcome.FAILED, Outcome.DONE]


def test_without_services_nothing_is_kept_and_that_is_told(make_home: MakeHome) -> None:
    home = make_home()
    tell(home, "title", "body")
    _fail(home)
    with home.store.connect() as store:
        assert store.execute(select(notices)).all() == []
    (finding,) = alerts_of(home)
    assert (finding.level, "nobody will be told" in finding.sentence) == (Level.INFO, True)


def test_a_run_of_a_schedule_is_told_when_it_is_given_up(
    make_home: MakeHome, web: Listener
) -> None:
    home = make_home(OPS_NOTIFY=_hook(web))
    save_plan(home, "main", Plan(), "ann")
    place = Path(str(home.target("main").url.database))
    place.rename(f"{place}.away")
    job_id = jobs.create(home, "backup", "main", "schedule", {"scheduled": 1.0})
    with pytest.raises(OpsError):
        jobs.execute(home, job_id)
    assert web.came == []  # it will be tried again
    run = {"target": "main", "kind": "backup", "moment": 1.0, "state": "running", "job": job_id}
    with home.store.begin() as store:
        rest = {"tries": len(PAUSES), "next_try": 0.0, "changed": 0.0}
        store.execute(insert(scheduled_runs).values(run | rest))
    for _ in range(2):
        begin_due(home)
        deliver(home)
    ((title, body),) = web.came
    assert title == "Ops Console: backup of main failed"
    assert body.startswith(jobs.get(home, job_id).error["error"])  # type: ignore[index]


# --- The watchdog ---------------------------------------------------------------------------


def test_the_watchdog_hears_of_good_scheduled_backups_only(
    make_home: MakeHome, web: Listener
) -> None:
    home = make_home(OPS_HEARTBEAT_URL=f"http://127.0.0.1:{web.port}/ping/T0PS3CRET")
    jobs.execute(home, jobs.create(home, "backup", "main", "ann", {}))
    _fail(home, "schedule")
    assert web.came == []
    jobs.execute(home, jobs.create(home, "backup", "main", "schedule", {}))
    assert web.came == [("/ping/T0PS3CRET", "")]
    assert standing_of(home, HEARTBEAT).problem == ""
    web.status = 404
    jobs.execute(home, jobs.create(home, "backup", "main", "schedule", {}))
    watchdog = next(found for found in alerts_of(home) if found.id == "alerts.watchdog")
    assert watchdog.level is Level.SOON
    assert "status 404" in watchdog.sentence
    told = [line.detail for line in entries(home, Filter(what="heartbeat"))]
    assert len(told) == 2
    assert "T0PS3CRET" not in f"{told} {watchdog}"


# --- Findings -------------------------------------------------------------------------------


def test_no_backup_for_too_long_is_told_and_so_is_its_end(
    make_home: MakeHome, web: Listener
) -> None:
    home = make_home(OPS_NOTIFY=_hook(web))
    look(home)
    deliver(home)
    assert web.came == []  # one look is not enough
    for _ in range(3):
        look(home)
        deliver(home)
    ((title, body),) = web.came
    assert title == "Ops Console: main: Age of the newest good backup"
    assert body.startswith("There is no backup yet.\nWhat to do: Press “Back up now”.")
    jobs.execute(home, jobs.create(home, "backup", "main", "ann", {}))
    for _ in range(3):
        look(home)
        deliver(home)
    assert [title for title, _ in web.came[1:]] == [
        "Ops Console: main: over: Age of the newest good backup"
    ]


def test_what_only_flickers_is_not_told(make_home: MakeHome, web: Listener) -> None:
    home = make_home(OPS_NOTIFY=_hook(web))
    place = home.target("main").url.database
    assert place is not None
    jobs.execute(home, jobs.create(home, "backup", "main", "ann", {}))
    for _ in range(2):
        Path(place).rename(f"{place}.away")
        look(home)
        with home.store.connect() as store:
            assert 1 in store.scalars(select(alarms.c.bad)).all()
        Path(f"{place}.away").rename(place)
        look(home)
    deliver(home)
    assert web.came == []

"""The account: password, links, sessions and the brake on guessing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Table, select, update

from console import accounts
from console.context import console
from ops.errors import Refused
from ops.store import accounts as accounts_table
from ops.store import sessions, sign_in_links

PASSWORD = "a sentence to sign in with"


@pytest.fixture(autouse=True)
def _fresh_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'shop.db'}")
    monkeypatch.delenv("OPS_ADMIN_PASSWORD", raising=False)
    monkeypatch.setattr(accounts, "_brake", accounts.Brake())
    console.cache_clear()
    yield
    console().store.dispose()
    console.cache_clear()


def _age(table: Table, **columns: float) -> None:
    """Make every row of the table older by that many seconds."""
    values = {name: table.c[name] - seconds for name, seconds in columns.items()}
    with console().store.begin() as store:
        store.execute(update(table).values(values))


def _hash() -> str | None:
    with console().store.connect() as store:
        return store.scalar(select(accounts_table.c.password_hash))


def _signed_in() -> str:
    token = accounts.use_sign_in_link(accounts.make_sign_in_link_token())
    assert token is not None
    return token


def test_no_secret_is_kept_as_it_is() -> None:
    accounts.set_password(PASSWORD)
    link, session = accounts.make_sign_in_link_token(), accounts.sign_in(PASSWORD)
    assert session is not None
    folder = console().folder.root
    kept = b"".join(path.read_bytes() for path in folder.glob("console.db*"))
    assert b"argon2id" in kept
    for secret in (PASSWORD, link, session):
        assert secret.encode() not in kept


def test_a_password_signs_in_and_a_wrong_one_does_not() -> None:
    assert not accounts.has_password()
    assert accounts.sign_in("") is None
    accounts.set_password(PASSWORD)
    assert accounts.has_password()
    assert accounts.sign_in(PASSWORD + "x") is None
    session = accounts.who(accounts.sign_in(PASSWORD))
    assert session is not None
    assert session.account == "admin"
    assert len(session.csrf) > 20


@pytest.mark.parametrize("password", ["", "seven77", "x" * 1001])
def test_a_password_must_have_a_sensible_length(password: str) -> None:
    with pytest.raises(Refused):
        accounts.set_password(password)
    assert not accounts.has_password()


def test_a_link_signs_in_once() -> None:
    link = accounts.make_sign_in_link_token()
    assert accounts.use_sign_in_link("x" + link) is None
    assert accounts.who(accounts.use_sign_in_link(link)) is not None
    assert accounts.use_sign_in_link(link) is None


def test_of_many_who_use_a_link_at_once_one_gets_in() -> None:
    link, got = accounts.make_sign_in_link_token(), []
    threads = [
        threading.Thread(target=lambda: got.append(accounts.use_sign_in_link(link)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert sum(token is not None for token in got) == 1


def test_a_link_ends_after_a_day() -> None:
    link = accounts.make_sign_in_link_token()
    _age(sign_in_links, created=accounts.LINK_SECONDS + 1)
    assert accounts.use_sign_in_link(link) is None


def test_a_session_ends_when_nobody_uses_it() -> None:
    token = _signed_in()
    _age(sessions, seen=accounts.IDLE_SECONDS - 60)
    assert accounts.who(token) is not None  # which is a use
    _age(sessions, seen=accounts.IDLE_SECONDS - 60)
    assert accounts.who(token) is not None
    _age(sessions, seen=accounts.IDLE_SECONDS + 1)
    assert accounts.who(token) is None


def test_a_page_that_asks_by_itself_keeps_no_session_alive() -> None:
    token = _signed_in()
    _age(sessions, seen=accounts.IDLE_SECONDS - 60)
    with console().store.connect() as store:
        seen = store.scalar(select(sessions.c.seen))
    assert accounts.who(token, is_use=False) is not None
    with console().store.connect() as store:
        assert store.scalar(select(sessions.c.seen)) == seen


def test_a_session_ends_at_last_however_much_it_is_used() -> None:
    token = _signed_in()
    _age(sessions, created=accounts.ABSOLUTE_SECONDS + 1)
    assert accounts.who(token) is None


def test_signing_out_ends_this_session_only() -> None:
    token, other = _signed_in(), _signed_in()
    accounts.sign_out(token)
    accounts.sign_out(None)
    assert accounts.who(token) is None
    assert accounts.who(other) is not None


def test_a_new_password_ends_all_other_ways_in() -> None:
    mine, other = _signed_in(), _signed_in()
    link = accounts.make_sign_in_link_token()
    accounts.set_password(PASSWORD, keep_token=mine)
    assert accounts.who(mine) is not None
    assert accounts.who(other) is None
    assert accounts.use_sign_in_link(link) is None


def test_the_password_setting_is_applied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_ADMIN_PASSWORD", PASSWORD)
    console.cache_clear()
    accounts.apply_password_setting()
    token, first = accounts.sign_in(PASSWORD), _hash()
    accounts.apply_password_setting()
    assert _hash() == first
    assert accounts.who(token) is not None

    monkeypatch.setenv("OPS_ADMIN_PASSWORD", "another sentence")
    console.cache_clear()
    accounts.apply_password_setting()
    assert _hash() != first
    assert accounts.who(token) is None
    assert accounts.sign_in("another sentence") is not None


def test_a_damaged_hash_lets_nobody_in() -> None:
    accounts.set_password(PASSWORD)
    with console().store.begin() as store:
        store.execute(update(accounts_table).values(password_hash="damaged"))
    assert accounts.sign_in(PASSWORD) is None


def test_guessing_is_braked_even_with_the_right_password() -> None:
    accounts.set_password(PASSWORD)
    for _ in range(accounts.FREE_ATTEMPTS):
        assert accounts.sign_in("a wrong guess") is None
    with pytest.raises(accounts.TooManyAttempts, match=r"Wait [12] second"):
        accounts.sign_in(PASSWORD)
    link = accounts.make_sign_in_link_token()
    assert accounts.use_sign_in_link(link) is not None


def test_the_pauses_grow_to_a_limit_and_end_with_the_right_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(accounts, "time", SimpleNamespace(monotonic=lambda: now))
    brake, pauses = accounts.Brake(), []
    for _ in range(20):
        brake.wrong()
        try:
            brake.check()
        except accounts.TooManyAttempts as pause:
            pauses.append(pause.seconds)
            now += pause.seconds
            brake.check()
    assert len(pauses) == 20 - accounts.FREE_ATTEMPTS + 1
    assert pauses == sorted(pauses)
    assert pauses[0] <= 3
    assert pauses[-1] <= accounts.PAUSE_MAX_SECONDS + 1
    brake.right()
    brake.wrong()
    brake.check()


def test_guesses_side_by_side_do_not_slip_past_the_brake() -> None:
    accounts.set_password(PASSWORD)
    answers: list[str] = []

    def guess() -> None:
        try:
            accounts.sign_in("a wrong guess")
            answers.append("looked at")
        except accounts.TooManyAttempts:
            answers.append("refused")

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count("looked at") == accounts.FREE_ATTEMPTS
    assert answers.count("refused") == 12 - accounts.FREE_ATTEMPTS

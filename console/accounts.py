"""Who may come in: the account, its password, sign-in links and sessions.

There is one account, `admin`. Tokens are random, and only their SHA-256 is kept: who
reads the console's memory cannot sign in with what is there.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from console.context import console
from ops.activity import CONSOLE, record
from ops.errors import OpsError, Refused
from ops.store import accounts, sessions, sign_in_links

SESSION_COOKIE: Final = "ops_session"

ADMIN: Final = "admin"
PASSWORD_MIN: Final = 8
PASSWORD_MAX: Final = 1000

IDLE_SECONDS: Final = 2 * 3600
ABSOLUTE_SECONDS: Final = 12 * 3600
LINK_SECONDS: Final = 24 * 3600
# A session's last use is written down at most this often.
TOUCH_SECONDS: Final = 60

FREE_ATTEMPTS: Final = 5
PAUSE_SECONDS: Final = 2.0
PAUSE_MAX_SECONDS: Final = 60.0

_hasher: Final = PasswordHasher()


@dataclass(frozen=True)
class Session:
    """A person who is signed in; `csrf` goes with every changing request."""

    account: str
    csrf: str


class TooManyAttempts(OpsError):
    """Wrong passwords were tried; `seconds` must pass before the next one."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        unit = "second" if self.seconds == 1 else "seconds"
        super().__init__(
            f"Too many wrong passwords. Wait {self.seconds} {unit}, then try again.",
            "A link from the command `ops-console link`, run beside the console, works at once.",
        )


class Brake:
    """Makes guessing passwords slow: after some free attempts the pause doubles each time.

    It counts for the one account, not for the caller's address, which a guesser can change.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong = 0
        self._blocked_until = 0.0

    def check(self) -> None:
        """Raises TooManyAttempts while a pause lasts."""
        with self._lock:
            left = self._blocked_until - time.monotonic()
        if left > 0:
            raise TooManyAttempts(left)

    def wrong(self) -> None:
        """Note a wrong password."""
        with self._lock:
            self._wrong += 1
            over = self._wrong - FREE_ATTEMPTS
            if over >= 0:
                pause = min(PAUSE_SECONDS * 2 ** min(over, 10), PAUSE_MAX_SECONDS)
                self._blocked_until = time.monotonic() + pause

    def right(self) -> None:
        """Forget the wrong ones."""
        with self._lock:
            self._wrong, self._blocked_until = 0, 0.0


_brake: Final = Brake()
# One password is looked at at a time: attempts side by side cannot slip past the brake,
# and each check takes 64 MiB.
_one_at_a_time: Final = threading.Lock()


# --- Password -------------------------------------------------------------------------------


def has_password() -> bool:
    """Whether a password was ever set."""
    return _password_hash() is not None


def set_password(password: str, keep_token: str | None = None) -> None:
    """Set the password; ends every session but `keep_token`'s, and voids unused links.

    Raises:
        Refused: it is too short or too long.
    """
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise Refused(
            "The password was not accepted.",
            f"Choose one with {PASSWORD_MIN} to {PASSWORD_MAX} characters; "
            "a short sentence is easy to remember and hard to guess.",
        )
    values = {"password_hash": _hasher.hash(password), "changed": time.time()}
    kept = _digest(keep_token) if keep_token else ""
    with console().store.begin() as store:
        _ensure_admin(store)
        store.execute(update(accounts).where(accounts.c.name == ADMIN).values(values))
        store.execute(
            delete(sessions).where(sessions.c.account == ADMIN, sessions.c.token_hash != kept)
        )
        store.execute(delete(sign_in_links).where(sign_in_links.c.account == ADMIN))


def apply_password_setting() -> None:
    """Make OPS_ADMIN_PASSWORD the password, if it is set and is not the password already."""
    wanted = console().settings.admin_password
    if wanted is None or _is_password(wanted.get_secret_value()):
        return
    set_password(wanted.get_secret_value())
    record(console(), who=CONSOLE, where="OPS_ADMIN_PASSWORD", what="password")


def _ensure_admin(store: Connection) -> None:
    """The account's row; two processes may come here at the same time."""
    with suppress(IntegrityError), store.begin_nested():
        store.execute(insert(accounts).values(name=ADMIN, changed=time.time()))


def _password_hash() -> str | None:
    with console().store.connect() as store:
        return store.scalar(select(accounts.c.password_hash).where(accounts.c.name == ADMIN))


def _is_password(password: str) -> bool:
    known = _password_hash()
    if known is None or len(password) > PASSWORD_MAX:
        return False
    try:
        return _hasher.verify(known, password)
    except (VerificationError, InvalidHashError):
        return False


# --- Signing in and out ---------------------------------------------------------------------


def sign_in(password: str) -> str | None:
    """A session token for the right password, None for a wrong one.

    Raises:
        TooManyAttempts: wrong passwords were tried just before.
    """
    with _one_at_a_time:
        _brake.check()
        if not _is_password(password):
            _brake.wrong()
            return None
        _brake.right()
    return _new_session()


def make_sign_in_link_token() -> str:
    """A token that signs in once, within 24 hours."""
    token, now = secrets.token_urlsafe(32), time.time()
    with console().store.begin() as store:
        store.execute(delete(sign_in_links).where(sign_in_links.c.created < now - LINK_SECONDS))
        store.execute(
            insert(sign_in_links).values(token_hash=_digest(token), account=ADMIN, created=now)
        )
    return token


def use_sign_in_link(token: str) -> str | None:
    """A session token for an unused link; None if it was used, is too old or unknown."""
    fresh = time.time() - LINK_SECONDS
    link = delete(sign_in_links).where(
        sign_in_links.c.token_hash == _digest(token), sign_in_links.c.created > fresh
    )
    with console().store.begin() as store:
        # Deleting is the test: of two requests only one finds the row.
        if store.execute(link).rowcount != 1:
            return None
    return _new_session()


def who(token: str | None, *, is_use: bool = True) -> Session | None:
    """Who holds this session token, or None when the session is unknown or over.

    `is_use` is False for a page that asks by itself: that keeps no session alive.
    """
    if not token:
        return None
    now, digest = time.time(), _digest(token)
    with console().store.connect() as store:
        row = store.execute(select(sessions).where(sessions.c.token_hash == digest)).first()
    if row is None or now - row.created > ABSOLUTE_SECONDS or now - row.seen > IDLE_SECONDS:
        return None
    if is_use and now - row.seen > TOUCH_SECONDS:
        touch = update(sessions).where(sessions.c.token_hash == digest).values(seen=now)
        with console().store.begin() as store:
            store.execute(touch)
    return Session(row.account, row.csrf)


def sign_out(token: str | None) -> None:
    """End this session."""
    if token:
        with console().store.begin() as store:
            store.execute(delete(sessions).where(sessions.c.token_hash == _digest(token)))


def _new_session() -> str:
    """A session of the account; sessions that are over are cleared away on the way."""
    token, now = secrets.token_urlsafe(32), time.time()
    over = (sessions.c.created < now - ABSOLUTE_SECONDS) | (sessions.c.seen < now - IDLE_SECONDS)
    with console().store.begin() as store:
        _ensure_admin(store)
        store.execute(delete(sessions).where(over))
        store.execute(
            insert(sessions).values(
                token_hash=_digest(token),
                account=ADMIN,
                csrf=secrets.token_urlsafe(24),
                created=now,
                seen=now,
            )
        )
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

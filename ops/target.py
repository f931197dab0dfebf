"""A target: a database the console looks after."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from ops.errors import SettingsError

_DRIVERS = {"postgresql": "postgresql+psycopg2", "postgres": "postgresql+psycopg2"}
_SECRET_IN_URL = re.compile(r"(?<=://)([^/@\s:]*):[^@\s]*@")
_QUOTED = r"[eE]?'(?:[^'\\]|''|\\.)*(?:'|\Z)"
_SECRET_KEYS = re.compile(
    rf"(?is)\b(password|sslpassword|passwd|pwd)(?:\s*=\s*(?:{_QUOTED}|\"[^\"]*\"|[^&\s]+)|\s+{_QUOTED})"
)
"""`key=value` with or without quotes, and the options of SQL commands: PASSWORD 'it''s'."""


def redact(text: str) -> str:
    """`text` with the passwords of any URL, key=value pair or SQL command in it replaced by ***."""
    return _SECRET_KEYS.sub(r"\1=***", _SECRET_IN_URL.sub(r"\1:***@", text))


class CountingPool(QueuePool):
    """A pool that counts how often somebody waited for a connection in vain."""

    timeouts = 0

    def connect(self) -> PoolProxiedConnection:
        try:
            return super().connect()
        except PoolTimeoutError:
            self.timeouts += 1
            raise


@dataclass(frozen=True)
class Target:
    """A name and an SQLAlchemy URL. Neither `repr` nor `str` shows the password."""

    name: str
    url: URL = field(repr=False)
    is_demo: bool = False

    @classmethod
    def parse(cls, name: str, url: str, *, is_demo: bool = False) -> Target:
        """Make a target from a URL as people write it.

        Raises:
            SettingsError: not a URL, or a kind of database the console does not know.
        """
        from ops.dialects import known_backends

        try:
            parsed = make_url(url)
            parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
            backend = parsed.get_backend_name()
            parsed.get_dialect()
        except (ArgumentError, NoSuchModuleError, ValueError):
            raise SettingsError(
                f"The address of database {name!r} is not a database URL.",
                "Write it like sqlite:////path/to/file.db or "
                "postgresql://user:password@host:5432/database "
                "(special characters in the password percent-encoded, such as %40 for @).",
            ) from None
        if "@" in (parsed.host or ""):
            raise SettingsError(
                f"The address of database {name!r} holds an @ that belongs to its password.",
                "Write %40 for each @ inside the password.",
            )
        if backend not in known_backends():
            raise SettingsError(
                f"Database {name!r} is of the kind {backend!r}, which the console does not know.",
                f"It looks after: {', '.join(known_backends())}.",
            )
        return cls(name, parsed, is_demo)

    @cached_property
    def engine(self) -> Engine:
        """The engine of this target, made once; connections are tested before use,
        because a restore replaces the database under them."""
        from ops.dialects import dialect_named

        dialect = dialect_named(self.url.get_backend_name())
        told = dict(dialect.connect_args) if dialect else {}
        return create_engine(
            self.url, pool_pre_ping=True, poolclass=CountingPool, connect_args=told
        )

    @property
    def masked_url(self) -> str:
        """The URL with its secrets hidden, for pages and logs."""
        return redact(self.url.render_as_string(hide_password=True))

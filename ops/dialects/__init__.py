"""The registry: the one place where a kind of database is chosen.

A new kind is a folder beside these two and one line in `_REGISTRY`.
"""

from __future__ import annotations

from sqlalchemy import Engine

from ops.dialects.base import Dialect
from ops.dialects.postgresql import PostgreSQL
from ops.dialects.sqlite import SQLite

_REGISTRY: dict[str, Dialect] = {
    "sqlite": SQLite(),
    "postgresql": PostgreSQL(),
}


def dialect_of(engine: Engine) -> Dialect:
    """The dialect that knows this engine's kind of database.

    Raises:
        ValueError: no dialect for it.
    """
    try:
        return _REGISTRY[engine.dialect.name]
    except KeyError:
        raise ValueError(f"no dialect for {engine.dialect.name!r}") from None


def dialect_named(backend: str) -> Dialect | None:
    """The dialect of a manifest's `db_backend`, None if unknown."""
    return _REGISTRY.get(backend)


def known_backends() -> list[str]:
    """The kinds of database that the console looks after."""
    return list(_REGISTRY)


def entry_suffixes() -> dict[str, str]:
    """How the name of the database's entry in an archive ends, for each backend."""
    return {backend: dialect.entry_suffix for backend, dialect in _REGISTRY.items()}

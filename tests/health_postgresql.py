"""What the tests of PostgreSQL's health share: looking at one check, and other programs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg2
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from ops.checks.base import Finding, HealthReport
from ops.checks.history import History
from ops.checks.postgresql import CHECKS, open_context
from ops.health import get_health_report
from tests.services.postgres import RealPostgres


def configure(pg: RealPostgres, assignment: str) -> None:
    """Change a setting and wait until a new session has it."""
    name, _, wanted = assignment.partition(" = ")
    pg.query(f"ALTER SYSTEM SET {name} = {wanted}")
    pg.query("SELECT pg_reload_conf()")
    wait_until(lambda: pg.query(f"SHOW {name}") == [(wanted,)])


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def report_on(url: str) -> HealthReport:
    return get_health_report(create_engine(url, poolclass=NullPool))


def look(
    url: str,
    id: str,
    *,
    deep: bool = False,
    history: History | None = None,
    later: float = 0,
    **thresholds: Any,
) -> Finding:
    """One check by itself, `later` seconds from now, with thresholds that seconds can reach."""
    check = next(check for check in CHECKS if check.id == f"postgresql.{id}")
    with open_context(create_engine(url, poolclass=NullPool), deep=deep) as context:
        seen = replace(context, history=history, now=time.time() + later)
        return replace(check, **thresholds).answer(seen)


def as_role(pg: RealPostgres, db: str, role: str) -> str:
    return pg.url(db, user=role, password="open sesame")


@contextmanager
def session(pg: RealPostgres, db: str, *statements: str, name: str = "cash desk") -> Iterator[Any]:
    """Another program with an open transaction."""
    address = make_url(pg.url(db)).set(drivername="postgresql")
    dsn = address.render_as_string(hide_password=False)
    with closing(psycopg2.connect(dsn, application_name=name)) as connection:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        try:
            yield connection
        finally:
            connection.cancel()  # closing waits for a statement of another thread


def in_background(connection: Any, statement: str) -> None:
    def work() -> None:
        with connection.cursor() as cursor:
            try:
                cursor.execute(statement)
            except psycopg2.Error:
                connection.rollback()

    threading.Thread(target=work, daemon=True).start()

"""Figures over time: sizes, rows, connections, free disk, how long work took.

Every 15 minutes for two days, then one an hour for 30 days, then one a day for ten years:
less than 10 MB for the 50 largest tables of a database.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, Engine, delete, insert, select, text
from sqlalchemy.exc import IntegrityError

from ops.dialects import dialect_of
from ops.dialects.base import SizeReport
from ops.errors import OpsError
from ops.installation import Installation
from ops.store import measures, samples, series
from ops.target import Target

log = logging.getLogger(__name__)

SIZE: Final = "size"
FREE_DISK: Final = "disk.free"
SESSIONS: Final = "sessions"
BACKUP_SIZE: Final = "backup.size"
TABLE_SIZE: Final = "table.size:"
TABLE_ROWS: Final = "table.rows:"
JOB_SECONDS: Final = "job.seconds:"
"""The names of series; those with a colon go on with a table's name or a kind of job."""

CONSOLE: Final = ":console"
"""Under this name, which no target can have, stands the disk of the data folder."""

SAMPLE_EVERY_SECONDS: Final = 15 * 60
_SLACK_SECONDS: Final = 30
_TABLES: Final = 50
_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
_EVERY_SAMPLE_SECONDS: Final = 2 * _DAY
_HOURLY_SECONDS: Final = 30 * _DAY
_KEEP_SECONDS: Final = 3650 * _DAY
_TABLE_IS_GONE_SECONDS: Final = 90 * _DAY

_THIN: Final = """
DELETE FROM measures WHERE (series, taken) IN (
    SELECT series, taken FROM (
        SELECT m.series, m.taken, row_number() OVER (
                   PARTITION BY m.series, m.taken / :span
                   ORDER BY CASE WHEN s.name = 'sessions' THEN m.value ELSE 0 END DESC,
                            m.taken DESC) AS place
        FROM measures m JOIN series s ON s.id = m.series
        WHERE m.taken >= :since AND m.taken < :until) AS ranked
    WHERE place > 1)
"""
"""Of each span of time the last one stays; of connections the highest one."""

_ENDS: Final = """
SELECT s.name, a.value, b.value
FROM (SELECT series, min(taken) AS first, max(taken) AS last FROM measures
      WHERE taken >= :since AND series IN (
          SELECT id FROM series WHERE target = :target AND substr(name, 1, :length) = :prefix)
      GROUP BY series) AS ends
JOIN series s ON s.id = ends.series
JOIN measures a ON a.series = ends.series AND a.taken = ends.first
JOIN measures b ON b.series = ends.series AND b.taken = ends.last
"""

_FORGET_TABLES: Final = """
DELETE FROM measures WHERE series IN (
    SELECT s.id FROM series s JOIN measures m ON m.series = s.id
    WHERE s.name LIKE 'table.%' GROUP BY s.id HAVING max(m.taken) < :until)
"""
_FORGET_SERIES: Final = "DELETE FROM series WHERE id NOT IN (SELECT series FROM measures)"


def take_samples(home: Installation) -> None:
    """Measure every target, and the disk of the data folder. One that does not answer keeps
    none of the others from being measured."""
    if _is_due(home.store, CONSOLE, FREE_DISK):
        note(home.store, CONSOLE, {FREE_DISK: home.folder.free_bytes()})
    for target in home.targets:
        try:
            take_sample(home.store, target)
        except OpsError as error:
            log.warning("%s could not be measured: %s %s", target.name, error, error.detail)


def take_sample(store: Engine, target: Target) -> None:
    """Note a target's figures, at most once every 15 minutes.

    Raises:
        Unavailable: the database does not answer.
    """
    if _is_due(store, target.name, SIZE):
        _adopt_old_samples(store, target.name)
        note(store, target.name, _figures(target))


def note(
    store: Engine, target: str, figures: Mapping[str, float], taken: float | None = None
) -> None:
    """Add one figure to each series; `taken` in seconds since the epoch, None: just now."""
    moment = int(time.time() if taken is None else taken)
    with store.begin() as connection:
        for name, value in figures.items():
            row = {"series": _number_of(connection, target, name), "taken": moment, "value": value}
            _put(connection, row)


def samples_of(
    store: Engine, target: str, name: str, *, since: float = 0
) -> list[tuple[float, float]]:
    """One series as (seconds since the epoch, figure), oldest first."""
    query = (
        select(measures.c.taken, measures.c.value)
        .join(series, series.c.id == measures.c.series)
        .where(series.c.target == target, series.c.name == name, measures.c.taken >= since)
        .order_by(measures.c.taken)
    )
    with store.connect() as connection:
        return [(taken, value) for taken, value in connection.execute(query)]


def size_samples(store: Engine, target: str, *, limit: int = 500) -> list[tuple[float, int]]:
    """The database's size as (seconds since the epoch, bytes), oldest first: the newest
    `limit` of them."""
    return [(taken, int(value)) for taken, value in samples_of(store, target, SIZE)[-limit:]]


def changes_of(
    store: Engine, target: str, prefix: str, since: float
) -> dict[str, tuple[float, float]]:
    """For each series whose name begins so, by its name without that beginning: its first
    figure since `since` and its last."""
    asked = {"target": target, "prefix": prefix, "length": len(prefix), "since": since}
    with store.connect() as connection:
        found = connection.execute(text(_ENDS), asked).all()
    return {name.removeprefix(prefix): (first, last) for name, first, last in found}


def names_of(store: Engine, target: str, prefix: str) -> list[str]:
    """The series whose name begins so, without that beginning, sorted."""
    query = select(series.c.name).where(
        series.c.target == target, series.c.name.startswith(prefix, autoescape=True)
    )
    with store.connect() as connection:
        return sorted(name.removeprefix(prefix) for name in connection.scalars(query))


def thin(store: Engine, now: float | None = None) -> None:
    """Keep fewer of the older figures, and none of tables that are long gone."""
    moment = int(time.time() if now is None else now)
    fine, hourly = moment - _EVERY_SAMPLE_SECONDS, moment - _HOURLY_SECONDS
    fine, hourly = fine - fine % _HOUR, hourly - hourly % _DAY
    with store.begin() as connection:
        connection.execute(text(_THIN), {"span": _HOUR, "since": hourly, "until": fine})
        connection.execute(text(_THIN), {"span": _DAY, "since": 0, "until": hourly})
        connection.execute(delete(measures).where(measures.c.taken < moment - _KEEP_SECONDS))
        connection.execute(text(_FORGET_TABLES), {"until": moment - _TABLE_IS_GONE_SECONDS})
        connection.execute(text(_FORGET_SERIES))


def _figures(target: Target) -> dict[str, float]:
    dialect, engine = dialect_of(target.engine), target.engine
    report = dialect.sizes(engine)
    figures: dict[str, float] = {SIZE: report.total_bytes, **_of_tables(report)}
    sessions, free = dialect.sessions(engine), dialect.free_disk(engine)
    if sessions is not None:
        figures[SESSIONS] = sessions.used
    if free is not None:
        figures[FREE_DISK] = free
    return figures


def _of_tables(report: SizeReport) -> dict[str, float]:
    """Bytes (with their indexes) and rows of the largest tables."""
    sizes: Counter[str] = Counter()
    for relation in report.relations:
        sizes[relation.table] += relation.size_bytes
    largest = dict(sizes.most_common(_TABLES))
    rows = {
        TABLE_ROWS + relation.name: relation.rows
        for relation in report.relations
        if relation.name in largest and relation.rows is not None
    }
    return {**{TABLE_SIZE + name: size for name, size in largest.items()}, **rows}


def _is_due(store: Engine, target: str, name: str) -> bool:
    since = time.time() - SAMPLE_EVERY_SECONDS + _SLACK_SECONDS
    return not samples_of(store, target, name, since=since)


def _number_of(connection: Connection, target: str, name: str) -> int:
    known = select(series.c.id).where(series.c.target == target, series.c.name == name[:300])
    number = connection.scalar(known)
    if number is None:
        try:
            with connection.begin_nested():
                connection.execute(insert(series).values(target=target, name=name[:300]))
        except IntegrityError:
            log.debug("another process was faster to name %s", name)
        number = connection.scalar(known)
    assert number is not None
    return int(number)


def _put(connection: Connection, row: Mapping[str, float]) -> None:
    """A figure; of two processes that measure in the same second one is enough."""
    try:
        with connection.begin_nested():
            connection.execute(insert(measures).values(row))
    except IntegrityError:
        log.debug("measured twice in one second: %s", row)


def _adopt_old_samples(store: Engine, target: str) -> None:
    """Take over the sizes that an older console kept in a table of their own."""
    mine = samples.c.target == target
    with store.begin() as connection:
        found = connection.execute(select(samples).where(mine)).all()
        if found:
            number = _number_of(connection, target, SIZE)
            for row in found:
                values = {"series": number, "taken": int(row.taken), "value": row.size_bytes}
                _put(connection, values)
            connection.execute(delete(samples).where(mine))

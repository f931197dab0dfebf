"""Databases of a wanted size, with text that compresses as business data does."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.services.postgres import RealPostgres

_SEED_ROWS = 20_000
_WORDS = 5_000

_SQLITE_TABLES = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, placed TEXT, amount REAL,
                     note TEXT, token TEXT);
CREATE INDEX orders_customer ON orders (customer);
CREATE INDEX orders_placed ON orders (placed);
"""

_MORE_ORDERS = """
INSERT INTO orders (customer, placed, amount, note, token)
SELECT abs(random()) % 100000, placed, amount + abs(random()) % 100, note, hex(randomblob(12))
FROM orders WHERE id <= 20000
"""

_PG_TABLES = """
CREATE TABLE orders_{n} (id bigint, customer int, placed timestamptz, amount numeric(10, 2),
                         note text, token text)
"""

_PG_ROWS = """
INSERT INTO orders_{n}
SELECT g, (random() * 100000)::int, timestamptz '2025-01-01' + random() * interval '300 days',
       (random() * 1000)::numeric(10, 2), w.note, md5(random()::text)
FROM generate_series({first}, {last}) g
JOIN words w ON w.id = g % 5000
"""

_PG_WORDS = """
CREATE TABLE words AS
SELECT i AS id, (SELECT string_agg(left(md5((i * 31 + k * k % 400)::text),
                                        3 + k % 6), ' ')
                 FROM generate_series(1, 18 + i % 5) AS k) AS note
FROM generate_series(0, 4999) i
"""

_PG_INDEXES = (
    "ALTER TABLE orders_{n} ADD PRIMARY KEY (id)",
    "CREATE INDEX ON orders_{n} (customer)",
    "CREATE INDEX ON orders_{n} (placed)",
)
_PG_TABLES_COUNT = 4
_PG_BYTES_PER_ROW = 320
"""With its three indexes."""


def make_sqlite(path: Path, size: int) -> None:
    """A file of about `size` bytes in WAL mode, written to its end."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(3, 9))) for _ in range(_WORDS)]

    def order() -> tuple[int, str, float, str, str]:
        placed = f"2025-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}T08:00:00"
        note = " ".join(chance.choices(words, k=20))
        customer, amount = chance.randrange(100_000), chance.random() * 1000
        return customer, placed, amount, note, chance.randbytes(12).hex()

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        connection.executescript(_SQLITE_TABLES)
        insert = "INSERT INTO orders (customer, placed, amount, note, token) VALUES (?, ?, ?, ?, ?)"
        connection.execute("BEGIN")
        connection.executemany(insert, (order() for _ in range(_SEED_ROWS)))
        while connection.execute("PRAGMA page_count").fetchone()[0] * 4096 < size:
            connection.execute(_MORE_ORDERS)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def make_postgresql(cluster: RealPostgres, name: str, size: int) -> None:
    """A database of about `size` bytes in four tables with three indexes each."""
    cluster.query(f"CREATE DATABASE {name}")
    cluster.query(_PG_WORDS, db=name)
    rows = size // _PG_BYTES_PER_ROW // _PG_TABLES_COUNT
    for n in range(_PG_TABLES_COUNT):
        cluster.query(_PG_TABLES.format(n=n), db=name)
        cluster.query(_PG_ROWS.format(n=n, first=1, last=rows), db=name)
        for statement in _PG_INDEXES:
            cluster.query(statement.format(n=n), db=name)
    cluster.query("VACUUM ANALYZE", db=name)

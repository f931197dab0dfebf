"""The demo: a small shop, for a first look without a database of one's own."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

_SCHEMA: Final = """
CREATE TABLE customers (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, city TEXT NOT NULL);
CREATE TABLE categories (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE products (
  id INTEGER PRIMARY KEY, category_id INTEGER NOT NULL REFERENCES categories(id),
  name TEXT NOT NULL, price_cents INTEGER NOT NULL CHECK (price_cents > 0), description TEXT);
CREATE TABLE orders (
  id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers(id),
  ordered_at TEXT NOT NULL, status TEXT NOT NULL);
CREATE TABLE order_items (
  order_id INTEGER NOT NULL REFERENCES orders(id),
  product_id INTEGER NOT NULL REFERENCES products(id),
  quantity INTEGER NOT NULL CHECK (quantity > 0), price_cents INTEGER NOT NULL,
  PRIMARY KEY (order_id, product_id)) WITHOUT ROWID;
CREATE TABLE reviews (
  id INTEGER PRIMARY KEY, product_id INTEGER NOT NULL REFERENCES products(id),
  customer_id INTEGER NOT NULL REFERENCES customers(id), stars INTEGER NOT NULL, body TEXT);
CREATE INDEX products_by_category ON products(category_id);
CREATE INDEX orders_by_customer ON orders(customer_id);
CREATE INDEX orders_by_time ON orders(ordered_at);
CREATE INDEX items_by_product ON order_items(product_id);
CREATE INDEX reviews_by_product ON reviews(product_id);
CREATE INDEX reviews_by_customer ON reviews(customer_id);
CREATE VIEW revenue_by_day AS
  SELECT date(o.ordered_at) AS day, sum(i.quantity * i.price_cents) / 100.0 AS revenue
  FROM orders o JOIN order_items i ON i.order_id = o.id GROUP BY day;
"""

_CATEGORIES: Final = ("Tea", "Coffee", "Honey", "Spices", "Chocolate", "Pasta", "Oil", "Jam")
_CITIES: Final = ("Lisbon", "Graz", "Turku", "Ghent", "Porto", "Bern", "Split", "Cork", "Lyon")
_FIRST: Final = ("Ana", "Ben", "Caro", "Dev", "Ela", "Finn", "Gus", "Hana", "Ivo", "Jo", "Kai")
_LAST: Final = (
    "Alder",
    "Birch",
    "Cedar",
    "Dogwood",
    "Elm",
    "Fir",
    "Gum",
    "Hazel",
    "Ivy",
    "Juniper",
)
_STATES: Final = ("paid", "sent", "delivered", "delivered", "delivered", "returned")
_PRAISE: Final = "Arrived quickly and well packed. We would order this again for the family. "
_CUSTOMERS, _PRODUCTS, _ORDERS, _REVIEWS = 2_000, 400, 24_000, 9_000


def make_demo_shop(engine: Engine) -> None:
    """Make the demo's file unless it is there: six tables, links, indexes, a view, about 5 MB,
    in WAL mode. Always the same rows apart from their dates, which end today."""
    path = Path(str(engine.url.database))
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(draft)) as connection:
        connection.executescript(_SCHEMA)
        _fill(connection, random.Random(7))  # nosec B311
        connection.commit()
        connection.execute("ANALYZE")
        connection.commit()
        connection.execute("PRAGMA journal_mode=WAL")
    for end in ("-wal", "-shm"):
        draft.with_name(draft.name + end).unlink(missing_ok=True)
    draft.replace(path)


def _fill(connection: sqlite3.Connection, chance: random.Random) -> None:
    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    people = (
        (
            n,
            f"{chance.choice(_FIRST)} {chance.choice(_LAST)}",
            f"customer{n}@shop.example",
            chance.choice(_CITIES),
        )
        for n in range(1, _CUSTOMERS + 1)
    )
    connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?)", people)
    connection.executemany("INSERT INTO categories VALUES (?, ?)", enumerate(_CATEGORIES, start=1))
    goods = (
        (
            n,
            1 + n % len(_CATEGORIES),
            f"{_CATEGORIES[n % len(_CATEGORIES)]} no. {n}",
            chance.randrange(190, 4900),
            _PRAISE * 3,
        )
        for n in range(1, _PRODUCTS + 1)
    )
    connection.executemany("INSERT INTO products VALUES (?, ?, ?, ?, ?)", goods)
    for order in range(1, _ORDERS + 1):
        when = now - timedelta(minutes=(_ORDERS - order) * 20)
        connection.execute(
            "INSERT INTO orders VALUES (?, ?, ?, ?)",
            (
                order,
                chance.randrange(1, _CUSTOMERS + 1),
                when.isoformat(" "),
                chance.choice(_STATES),
            ),
        )
        for product in chance.sample(range(1, _PRODUCTS + 1), chance.randrange(1, 4)):
            connection.execute(
                "INSERT INTO order_items VALUES (?, ?, ?, ?)",
                (order, product, chance.randrange(1, 4), chance.randrange(190, 4900)),
            )
    reviews = (
        (
            n,
            chance.randrange(1, _PRODUCTS + 1),
            chance.randrange(1, _CUSTOMERS + 1),
            chance.randrange(1, 6),
            _PRAISE * chance.randrange(1, 4),
        )
        for n in range(1, _REVIEWS + 1)
    )
    connection.executemany("INSERT INTO reviews VALUES (?, ?, ?, ?, ?)", reviews)

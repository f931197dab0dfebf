"""docs/restore-without-the-console.md, followed to the letter."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from ops import DataFolder, Target, create_backup
from tests.services.postgres import RealPostgres

PAGE = Path(__file__).resolve().parent.parent / "docs" / "restore-without-the-console.md"
FILL = "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)"
ROWS = "INSERT INTO orders VALUES (1, 'one'), (2, 'two'), (3, 'three')"
LOSS = "DELETE FROM orders WHERE id > 1"


def _blocks(number: int) -> list[str]:
    """The commands of one numbered section, block by block."""
    section = PAGE.read_text("utf-8").split(f"\n## {number}. ")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)


def _followed(block: str, folder: Path, env: Mapping[str, str] = os.environ) -> str:
    """What the commands print; each of them must succeed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=dict(env),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _unpacked(target: Target, folder: DataFolder, desk: Path) -> None:
    """Section 1 with a backup of the target."""
    desk.mkdir()
    shutil.copy(create_backup(target, folder).archive, desk / "shop.zip")
    unpack, check = _blocks(1)
    _followed(unpack, desk)
    (computed, written) = re.findall(r"[0-9a-f]{64}", _followed(check, desk))
    assert computed == written


def _ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql).fetchall()


def test_sqlite_by_hand(folder: DataFolder, tmp_path: Path) -> None:
    origin, desk = tmp_path / "shop.db", tmp_path / "desk"
    for statement in ("PRAGMA journal_mode=WAL", FILL, ROWS):
        _ask(origin, statement)
    _unpacked(Target.parse("live", f"sqlite:///{origin}"), folder, desk)
    shutil.copy(origin, desk / "live.db")
    _ask(desk / "live.db", LOSS)
    by_program, by_python, put_in_place = _blocks(2)
    ways = [by_python]
    if shutil.which("sqlite3"):
        ways.append(by_program)
    for block in ways:
        answers = _followed(block, desk)
        assert "ok" in answers
        assert "3" in answers
    _followed(put_in_place, desk)
    assert _ask(desk / "live.db", "SELECT count(*) FROM orders") == [(3,)]
    assert _ask(desk / "before" / "live.db", "SELECT count(*) FROM orders") == [(1,)]


@pytest.fixture
def shop(pg: RealPostgres) -> Iterator[RealPostgres]:
    """A server with a database `shop`; what is made beside it goes afterwards."""
    pg.query("CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8'")
    for statement in (FILL, ROWS):
        pg.query(statement, db="shop")
    yield pg
    for (name,) in pg.query("SELECT datname FROM pg_database WHERE starts_with(datname, 'shop')"):
        pg.query(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_postgresql_by_hand(shop: RealPostgres, folder: DataFolder, tmp_path: Path) -> None:
    target = Target.parse("live", shop.url("shop"))
    _unpacked(target, folder, tmp_path / "desk")
    target.engine.dispose()
    shop.query(LOSS, db="shop")
    env = {
        **os.environ,
        "PATH": f"{shop.bin}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(shop.port),
        "PGUSER": "postgres",
        "PGPASSWORD": shop.password,
    }
    bring_back, compare, swap = _blocks(3)
    assert "orders" in _followed(bring_back, tmp_path / "desk", env)
    assert re.search(r"^ +3$", _followed(compare, tmp_path / "desk", env), re.M)
    _followed(swap, tmp_path / "desk", env)
    assert shop.query("SELECT count(*) FROM orders", db="shop") == [(3,)]
    assert shop.query("SELECT count(*) FROM orders", db="shop_before") == [(1,)]


def test_the_page_is_found_from_the_readme() -> None:
    readme = (PAGE.parent.parent / "README.md").read_text("utf-8")
    assert f"docs/{PAGE.name}" in readme

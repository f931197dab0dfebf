"""What a PostgreSQL dump holds, whatever others do meanwhile, and how it is compressed: once, and
so that the tools that read it can."""

from __future__ import annotations

import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ops import DataFolder, Progress, Target, create_backup, restore_backup
from ops.dialects.postgresql import counting, tools
from ops.dialects.postgresql.tools import ClientTools, installed_tools, tools_for, tools_that_read
from ops.errors import Busy, PreflightRefused
from ops.verify import prove_archive
from tests.archives import forged, opened, unpacked_into
from tests.databases import ROLE, PostgreSQLDatabase
from tests.services.postgres import RealPostgres

PLAIN = ClientTools(Path("/plain"), 16, "16.1")
NEWER = ClientTools(Path("/newer"), 17, "17.1")
ABLE = ClientTools(Path("/able"), 16, "16.1", zstd=True)


def test_a_dump_is_compressed_once(
    pg_database: str, pg: RealPostgres, folder: DataFolder, tmp_path: Path
) -> None:
    target = Target.parse("live", pg_database)
    name = target.engine.url.database
    pg.query("CREATE TABLE a AS SELECT g, md5(g::text) FROM generate_series(1, 9999) g", db=name)
    archive = create_backup(target, folder).archive
    described, entry, _ = opened(archive)
    compression = described["database"]["details"]["compression"]
    with zipfile.ZipFile(archive) as file:
        method = file.getinfo(entry).compress_type
    assert (compression, method) in [("zstd", zipfile.ZIP_STORED), ("none", zipfile.ZIP_DEFLATED)]
    reader, dump = tools_for(pg.major).pg_restore, unpacked_into(archive, tmp_path)
    told = subprocess.run([reader, "--list", dump], capture_output=True, text=True, check=True)
    assert f"Compression: {compression}" in told.stdout


def test_whether_the_tools_know_zstd_is_found_out(pg16: RealPostgres, tmp_path: Path) -> None:
    url = pg16.url().replace("postgresql+psycopg2", "postgresql")
    asked = [tools for tools in installed_tools(None) if tools.major >= pg16.major]
    assert asked
    for number, found in enumerate(asked):
        into = tmp_path / f"{number}.pgdump"
        command = [found.pg_dump, "-Fc", "--compress=zstd:1", "-s", f"--file={into}", url]
        done = subprocess.run(command, capture_output=True, check=False)
        assert found.zstd == (done.returncode == 0)


def test_tools_that_know_zstd_are_taken_first_and_alone_where_they_must(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tools, "installed_tools", lambda _: (NEWER, PLAIN, ABLE))
    assert tools_for(16) == ABLE
    assert tools_that_read(17) == NEWER
    assert tools_for(16, 16, zstd=True) == ABLE
    with pytest.raises(PreflightRefused, match="zstd"):
        tools_that_read(17, zstd=True)


def test_an_archive_that_nobody_here_can_read_is_refused_before_anything(
    pg_database: str, folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target.parse("live", pg_database)
    archive = create_backup(target, folder).archive
    with_zstd = forged(
        archive,
        tmp_path / "zstd.zip",
        lambda told: told["database"]["details"].update(compression="zstd"),
    )
    plain = tuple(found for found in installed_tools(None) if not found.zstd)
    monkeypatch.setattr(tools, "installed_tools", lambda _: plain)
    with pytest.raises(PreflightRefused, match=r"zstd, which .* cannot read.*Nothing was changed"):
        restore_backup(target, with_zstd, folder, trust_foreign=True)


@pytest.fixture
def busy(pg16: RealPostgres) -> Iterator[PostgreSQLDatabase]:
    """A database of which a dump takes a moment."""
    made = PostgreSQLDatabase(pg16)
    made.run(
        "CREATE TABLE etl AS SELECT n FROM generate_series(1, 1000) n;"
        "CREATE TABLE big AS SELECT n, repeat(md5(n::text), 20) t FROM generate_series(1, 150000) n"
    )
    yield made
    made.close()


def _while_dumped(database: PostgreSQLDatabase, statement: str) -> Callable[[], None]:
    """Send it as soon as the table `etl` is locked for a dump; call what is returned to wait until
    it is done."""
    asked = (
        "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE relation = 'etl'::regclass "
        "AND application_name = 'ops-console' AND state = 'active' AND query LIKE 'COPY%'"
    )

    def meanwhile() -> None:
        while not database.as_superuser(asked):
            time.sleep(0.01)
        database.run(statement)

    thread = threading.Thread(target=meanwhile, daemon=True)
    thread.start()
    return lambda: thread.join(60)


def test_what_empties_a_table_waits_until_the_backup_has_counted_it(
    busy: PostgreSQLDatabase, folder: DataFolder
) -> None:
    """TRUNCATE shows to older snapshots as well: the count would be 0 and the dump hold 1,000."""
    done = _while_dumped(busy, "TRUNCATE etl; INSERT INTO etl VALUES (1)")
    made = create_backup(busy.target, folder)
    done()
    assert {table.name: table.rows for table in made.tables}["public.etl"] == 1000
    assert prove_archive(busy.target, made.archive, folder).ok
    assert busy.rows("SELECT * FROM etl") == [(1,)]


def test_who_comes_between_our_lock_and_that_of_the_dump_is_let_go_first(
    busy: PostgreSQLDatabase, folder: DataFolder
) -> None:
    """It waits for us, and pg_dump for it: nobody would ever come to an end."""
    empty = threading.Thread(target=busy.run, args=("TRUNCATE etl",), daemon=True)

    class Comes(Progress):
        """Right after our lock, when the dump is about to begin."""

        def report(self, done: float, total: float, note: str = "") -> None:
            if note == "Copying the database" and not empty.ident and _is_held(busy):
                empty.start()
                waits = "SELECT 1 FROM pg_locks WHERE relation = 'etl'::regclass AND NOT granted"
                while not busy.as_superuser(waits):
                    time.sleep(0.01)

    began = time.monotonic()
    made = create_backup(busy.target, folder, progress=Comes())
    empty.join(30)
    assert empty.ident
    assert time.monotonic() - began < 30
    assert {table.name: table.rows for table in made.tables}["public.etl"] == 0
    assert prove_archive(busy.target, made.archive, folder).ok


def test_a_lost_race_for_a_lock_is_known_however_many_tables_there_are(
    busy: PostgreSQLDatabase, folder: DataFolder
) -> None:
    """pg_dump tells the whole statement, of which only a part is kept."""
    busy.run(
        "DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE "
        "'CREATE TABLE a_rather_long_name_of_a_table_' || i || ' (n int)'; END LOOP; END $$"
    )
    test_who_comes_between_our_lock_and_that_of_the_dump_is_let_go_first(busy, folder)


MIGRATIONS = {
    "another type": "ALTER TABLE etl ALTER n TYPE bigint",
    "another type, without writing anew": "ALTER TABLE etl ADD c bigint; UPDATE etl SET c = n; "
    "ALTER TABLE etl DROP n; ALTER TABLE etl RENAME c TO n",
    "made again": "CREATE TABLE kept AS SELECT * FROM etl; DROP TABLE etl; "
    "CREATE TABLE etl AS SELECT * FROM kept; DROP TABLE kept",
    "another in its place": "CREATE TABLE etl_new AS SELECT * FROM etl; DROP TABLE etl; "
    "ALTER TABLE etl_new RENAME TO etl",
}


@pytest.mark.parametrize("migration", MIGRATIONS.values(), ids=MIGRATIONS)
def test_a_table_that_is_just_changed_is_saved_as_it_is_then(
    busy: PostgreSQLDatabase, folder: DataFolder, migration: str
) -> None:
    """For a snapshot that is older it would be empty, for pg_dump and for our count alike."""
    address = busy.url.replace("postgresql+psycopg2", "postgresql")
    with closing(psycopg2.connect(address)) as session:
        session.cursor().execute(migration)
        end = threading.Timer(1.5, session.commit)
        end.start()
        made = create_backup(busy.target, folder)
        end.join()
    assert {table.name: table.rows for table in made.tables}["public.etl"] == 1000
    restore_backup(busy.target, made.archive, folder)
    assert busy.rows("SELECT count(n), sum(n) FROM etl") == [(1000, 500_500)]


def test_schemas_that_are_exchanged_while_they_are_saved_are_noticed(
    busy: PostgreSQLDatabase, folder: DataFolder
) -> None:
    """A schema is renamed without a lock on its tables; names would then mean others."""
    busy.run("CREATE SCHEMA app; CREATE TABLE app.t AS SELECT n FROM generate_series(1, 50) n")
    exchange = (
        "CREATE SCHEMA next; CREATE TABLE next.t AS SELECT n FROM generate_series(1, 70) n;"
        "ALTER SCHEMA app RENAME TO former; ALTER SCHEMA next RENAME TO app"
    )
    done = _while_dumped(busy, exchange)
    made = create_backup(busy.target, folder)
    done()
    counted = {table.name: table.rows for table in made.tables}
    assert (counted.get("app.t"), counted.get("former.t")) in ((50, None), (70, 50))
    assert prove_archive(busy.target, made.archive, folder).ok


def _is_held(database: PostgreSQLDatabase) -> bool:
    held = "SELECT 1 FROM pg_locks WHERE relation = 'etl'::regclass AND granted"
    return bool(database.as_superuser(held))


def test_a_table_in_somebodys_hands_makes_it_busy(
    busy: PostgreSQLDatabase, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "LOCK_SECONDS", 1)
    address = busy.url.replace("postgresql+psycopg2", "postgresql")
    with closing(psycopg2.connect(address)) as holder:
        holder.cursor().execute("ALTER TABLE etl ADD x int")
        with pytest.raises(Busy, match="layout of a table"):
            create_backup(busy.target, folder)
    assert create_backup(busy.target, folder).archive.exists()


@pytest.mark.parametrize(
    "limit",
    ["statement_timeout = '40ms'", "idle_in_transaction_session_timeout = '100ms'"],
)
def test_limits_for_everyday_programs_do_not_end_a_backup_or_a_restore(
    busy: PostgreSQLDatabase, folder: DataFolder, limit: str
) -> None:
    busy.run(f'ALTER DATABASE "{busy.name}" SET {limit}')
    busy.as_superuser(f'ALTER ROLE "{ROLE}" SET {limit}')
    try:
        done = restore_backup(busy.target, create_backup(busy.target, folder).archive, folder)
    finally:
        busy.as_superuser(f'ALTER ROLE "{ROLE}" RESET ALL')
    assert [table.rows for table in done.tables] == [150_000, 1000]


def test_a_backup_of_more_tables_than_a_server_has_locks_for(
    pg16: RealPostgres, folder: DataFolder
) -> None:
    """A server has room for max_locks_per_transaction of each session it may have."""
    room = 64 * int(pg16.query("SHOW max_connections")[0][0])
    database = PostgreSQLDatabase(pg16)
    tables, indexes = 300, max(30, 3 * room // 300)
    database.run(
        f"DO $$ BEGIN FOR i IN 1..{tables} LOOP EXECUTE format('CREATE TABLE t%s (a int)', i); "
        f"FOR j IN 1..{indexes} LOOP EXECUTE format('CREATE INDEX ON t%s ((a + %s))', i, j); "
        "END LOOP; COMMIT; END LOOP; END $$"
    )
    made = create_backup(database.target, folder)
    assert len(made.tables) == tables
    database.close()


def test_rows_of_inheriting_tables_are_counted_once(
    busy: PostgreSQLDatabase, folder: DataFolder
) -> None:
    busy.run(
        "CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent);"
        "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 2), (3, 4)"
    )
    made = create_backup(busy.target, folder, checksums=True)
    counted = {table.name: table.rows for table in made.tables}
    assert (counted["public.parent"], counted["public.child"]) == (1, 2)
    assert prove_archive(busy.target, made.archive, folder).ok


def test_counts_of_older_backups_with_inheriting_tables_still_hold(
    busy: PostgreSQLDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    """They counted a parent with all that inherits from it, and say nothing of how they did."""
    busy.run(
        "CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent);"
        "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 2), (3, 4)"
    )
    made = create_backup(busy.target, folder)

    def older(told: dict[str, Any]) -> None:
        del told["database"]["details"]["counted"]
        for table in told["tables"]:
            if table["name"] == "public.parent":
                table["rows"] = 3

    archive = forged(made.archive, tmp_path / "older.zip", older)
    assert prove_archive(busy.target, archive, folder, trust_foreign=True).ok

"""PostgreSQL: what the swap carries over, and whom it meets on the way."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ops import (
    DataFolder,
    Progress,
    Target,
    compare_archive,
    create_backup,
    restore_backup,
    restore_beside,
    undo_restore,
)
from ops.dialects.postgresql import sessions
from ops.dialects.postgresql.connect import connected
from ops.dialects.postgresql.names import run_plain
from ops.dialects.postgresql.sessions import attended, end_leftovers
from ops.errors import Busy, Cancelled, PreflightRefused
from ops.journal import journals_of
from ops.locks import target_lock
from ops.recovery import settle_target
from tests import processes
from tests.archives import assert_nothing_left
from tests.databases import PASSWORD, ROLE, WRITE_PAIR, PostgreSQLDatabase
from tests.figures import recorded
from tests.services.postgres import RealPostgres

PROPERTIES = """
SELECT pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding,
       datcollate, datctype, datlocprovider::text, to_jsonb(d) ->> 'datlocale' AS locale,
       to_jsonb(d) ->> 'daticulocale' AS icu_locale, datconnlimit, datistemplate, datallowconn,
       (SELECT spcname FROM pg_tablespace t WHERE t.oid = dattablespace) AS tablespace,
       (SELECT array_agg(x::text ORDER BY x::text)
        FROM unnest(coalesce(datacl, acldefault('d', datdba))) x) AS grants,
       shobj_description(oid, 'pg_database') AS comment,
       (SELECT array_agg(setrole || ':' || c ORDER BY setrole, c)
        FROM pg_db_role_setting, unnest(setconfig) c WHERE setdatabase = d.oid) AS settings
FROM pg_database d WHERE datname = %s
"""

DRESSED = """
ALTER DATABASE {db} SET work_mem = '13MB'
ALTER DATABASE {db} SET search_path = "$user", "we ird", public
ALTER DATABASE {db} SET application_name = 'it''s "x" \\ y %'
ALTER DATABASE {db} SET log_min_duration_statement = 500
ALTER DATABASE {db} SET datestyle = 'German, DMY'
ALTER DATABASE {db} SET "my.custom" = 'a,b c'
ALTER DATABASE {db} SET "app.user" = 'u1'
ALTER DATABASE {db} SET temp_tablespaces = ''
ALTER ROLE "ops reader" IN DATABASE {db} SET search_path TO "we, ""ird", b
ALTER ROLE postgres IN DATABASE {db} SET search_path TO ''
ALTER ROLE "ops reader" IN DATABASE {db} SET statement_timeout = '3s'
REVOKE ALL ON DATABASE {db} FROM PUBLIC
REVOKE TEMPORARY ON DATABASE {db} FROM "ops tester"
GRANT CONNECT ON DATABASE {db} TO "ops reader"
GRANT CONNECT, TEMPORARY ON DATABASE {db} TO pg_monitor WITH GRANT OPTION
ALTER DATABASE {db} CONNECTION LIMIT 42
COMMENT ON DATABASE {db} IS 'It''s the "live" one \\ ü %s'
"""

FORMS = {
    16: ("", "ENCODING 'LATIN1' LOCALE 'C'"),
    18: ("LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C'",),
}


@pytest.fixture
def database(pg: RealPostgres) -> Iterator[PostgreSQLDatabase]:
    """A filled database on each version."""
    made = PostgreSQLDatabase(pg)
    made.fill()
    yield made
    made.close()


def _properties(database: PostgreSQLDatabase) -> Any:
    return database.cluster.query(PROPERTIES, database.name)


def _dress(database: PostgreSQLDatabase) -> None:
    """Give it everything that can hang on a database's name."""
    for line in DRESSED.strip().splitlines():
        database.cluster.query(line.replace("{db}", f'"{database.name}"'))


@pytest.mark.figure
def test_everything_that_hangs_on_the_name_is_carried_over(
    pg: RealPostgres, tmp_path: Path
) -> None:
    with pg.tablespace(pg.folder / secrets.token_hex(4)) as space:
        for form in FORMS[pg.major]:
            folder = DataFolder(tmp_path / secrets.token_hex(4))
            options = f"{form} TABLESPACE {space}"
            database = PostgreSQLDatabase(pg, f"dressed % {secrets.token_hex(4)}", options)
            database.run("CREATE TABLE t (a text); INSERT INTO t VALUES ('x')")
            _dress(database)
            before = _properties(database)
            target = Target.parse("live", pg.url(database.name))
            archive = create_backup(target, folder).archive
            restore_backup(target, archive, folder)
            assert _properties(database) == before
            undo_restore(target, folder)
            assert _properties(database) == before
            assert_nothing_left(database, folder)
            database.close()
    with recorded(f"postgresql-{pg.major}: carried over by a swap and back", 2) as outcomes:
        outcomes["differences"] = 0


def test_an_ordinary_role_carries_over_what_it_may(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    name = f'"{database.name}"'
    database.run(f"ALTER DATABASE {name} SET work_mem = '13MB'")
    database.run(f'GRANT CONNECT ON DATABASE {name} TO "ops reader"')
    database.run(f"COMMENT ON DATABASE {name} IS 'mine'")
    before = _properties(database)
    restore_backup(database.target, create_backup(database.target, folder).archive, folder)
    assert _properties(database) == before


def test_only_the_owner_may_enter_what_is_staged_or_kept_beside(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    before = _properties(database)
    archive = create_backup(database.target, folder).archive
    may_enter = """SELECT has_database_privilege('ops reader', datname, 'CONNECT, TEMPORARY')
        FROM pg_database WHERE starts_with(datname, %s) AND datname <> %s"""
    seen = []

    class Looks(Progress):
        def report(self, done: float, total: float, note: str = "") -> None:
            seen.extend(database.cluster.query(may_enter, database.name, database.name))

    restore_beside(database.target, archive, folder, progress=Looks())
    assert set(seen) == {(False,)}
    assert database.cluster.query(may_enter, database.name, database.name) == [(False,)]
    restore_backup(database.target, archive, folder)
    assert _properties(database) == before  # everybody may, as before


def test_what_an_ordinary_role_may_not_carry_over_changes_nothing(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    database.as_superuser(
        f'ALTER ROLE "ops reader" IN DATABASE "{database.name}" SET statement_timeout = 3000'
    )
    archive = create_backup(database.target, folder).archive
    before = database.fingerprint()
    with pytest.raises(PreflightRefused, match='"ops reader"') as refusal:
        restore_backup(database.target, archive, folder)
    assert f'ALTER ROLE "ops reader" IN DATABASE {database.name}' in refusal.value.hint
    assert database.fingerprint() == before
    assert_nothing_left(database, folder)


class _Client:
    """A program that commits, notes what was acknowledged, and connects again at once."""

    def __init__(self, database: PostgreSQLDatabase) -> None:
        self.acknowledged, self.gap = 0, 0.0
        self._database = database
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> _Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        last = time.monotonic()
        while not self._stop.is_set():
            try:
                self._database.run(WRITE_PAIR)
            except psycopg2.OperationalError:
                continue
            self.acknowledged += 1
            self.gap = max(self.gap, time.monotonic() - last)
            last = time.monotonic()


def test_clients_that_come_back_at_once_do_not_stop_the_swap(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    archive = create_backup(database.target, folder).archive
    with _Client(database) as one, _Client(database) as two:
        time.sleep(0.2)
        restore_backup(database.target, archive, folder)
        time.sleep(0.2)
    after = database.rows("SELECT count(*) FROM left_hand")[0][0]
    undo_restore(database.target, folder)
    before = database.rows("SELECT count(*) FROM left_hand")[0][0]
    assert before > 0
    assert after > 0
    # A commit may reach the disk although its client was ended before it heard of it.
    assert one.acknowledged + two.acknowledged <= before + after
    assert max(one.gap, two.gap) < 3


def test_sessions_that_may_not_be_ended_stop_the_swap(
    pg16: RealPostgres, folder: DataFolder
) -> None:
    database = PostgreSQLDatabase(pg16)
    database.fill(10)
    archive = create_backup(database.target, folder).archive
    database.drift()
    drifted = database.fingerprint()
    held = psycopg2.connect(
        host="127.0.0.1", port=pg16.port, user="postgres", password=pg16.password,
        dbname=database.name,
    )  # fmt: skip
    try:
        with pytest.raises(Busy, match="connected to the database"):
            restore_backup(database.target, archive, folder)
    finally:
        held.close()
    assert database.fingerprint() == drifted
    assert_nothing_left(database, folder)
    restore_backup(database.target, archive, folder)
    database.close()


def test_a_crash_right_after_the_swap_takes_nothing_back(folder: DataFolder) -> None:
    """Where the server acknowledges commits before they are on disk (synchronous_commit)."""
    cluster = RealPostgres(16, {"synchronous_commit": "off", "wal_writer_delay": "10s"})
    try:
        database = PostgreSQLDatabase(cluster)
        database.fill(10)
        saved = database.fingerprint()
        archive = create_backup(database.target, folder).archive
        database.drift()
        drifted = database.fingerprint()
        restore_backup(database.target, archive, folder)
        cluster.restart()
        assert database.fingerprint() == saved
        undo_restore(database.target, folder)
        cluster.restart()
        # The sequences may have moved on: PostgreSQL logs 32 numbers ahead.
        assert database.fingerprint()["schema"] == drifted["schema"]
        assert_nothing_left(database, folder)
    finally:
        cluster.stop()


class _StopsSoon(Progress):
    """Asks to stop as soon as the work has said that it copies or restores."""

    def report(self, done: float, total: float, note: str = "") -> None:
        if note.startswith(("Copying", "Restoring beside")):
            raise Cancelled


def _backends(database: PostgreSQLDatabase) -> list[Any]:
    return database.cluster.query(
        "SELECT query FROM pg_stat_activity WHERE application_name ~ '^ops-console'"
        " AND starts_with(datname, %s)",
        database.name,
    )


def _soon(holds: Callable[[], bool]) -> bool:
    ends = time.monotonic() + 5
    while not holds() and time.monotonic() < ends:
        time.sleep(0.02)
    return holds()


@pytest.mark.parametrize("held", ["bulk", "months"])
def test_a_backup_that_waits_for_a_table_is_cancelled(
    database: PostgreSQLDatabase, folder: DataFolder, held: str
) -> None:
    """Ourselves wait for the first; for the second, which has no rows to count, pg_dump does."""
    database.run("CREATE TABLE months (n int) PARTITION BY LIST (n)")
    with psycopg2.connect(
        host="127.0.0.1", port=database.cluster.port, user=ROLE, password=PASSWORD,
        dbname=database.name,
    ) as other:  # fmt: skip
        other.cursor().execute(f"LOCK TABLE {held} IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(Cancelled):
            create_backup(database.target, folder, progress=_StopsSoon())
        assert time.monotonic() - began < 10
        assert _soon(lambda: _backends(database) == [])
        other.rollback()
    other.close()
    assert_nothing_left(database, folder)


def test_a_running_pg_restore_is_cancelled(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    database.run("CREATE MATERIALIZED VIEW slow AS SELECT 1 AS one, pg_sleep(1.5) IS NULL AS x")
    archive = create_backup(database.target, folder).archive
    before = database.fingerprint()
    with pytest.raises(Cancelled, match="Nothing was changed"):
        restore_backup(database.target, archive, folder, progress=_StopsSoon())
    assert _backends(database) == []
    assert database.fingerprint() == before
    assert_nothing_left(database, folder)


def test_a_comparison_is_stopped_while_the_server_sorts(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    archive = create_backup(database.target, folder).archive
    with psycopg2.connect(
        host="127.0.0.1", port=database.cluster.port, user=ROLE, password=PASSWORD,
        dbname=database.name,
    ) as other:  # fmt: skip
        stopped: list[float] = []

        class Stops(Progress):
            """While a table is waited for, in the same statement that would sort it."""

            def report(self, done: float, total: float, note: str = "") -> None:
                if note == "Comparing every row: public.bulk":
                    if not stopped:
                        other.cursor().execute("LOCK TABLE bulk IN ACCESS EXCLUSIVE MODE")
                    stopped.append(time.monotonic())
                    if len(stopped) > 1:
                        raise Cancelled

        with pytest.raises(Cancelled):
            compare_archive(database.target, archive, folder, progress=Stops())
        assert time.monotonic() - stopped[-1] < 5
        other.rollback()
    other.close()
    assert_nothing_left(database, folder)


def test_a_database_that_is_being_made_when_the_restore_dies_does_not_stay(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    archive = create_backup(database.target, folder).archive
    for delay in (0.0, 0.004, 0.012):
        known = len(journals_of(folder, "live"))
        process = processes.started(processes.restore, database.url, folder.root, archive)
        while process.is_alive():
            journals = journals_of(folder, "live")
            if len(journals) > known and "staged" in journals[0].facts:
                break
        time.sleep(delay)
        process.kill()
        process.join()
        with target_lock(folder, database.target):
            folder.clear_workspaces("live")
            settle_target(database.target, folder)
        time.sleep(0.4)  # the server may still be at it
        assert_nothing_left(database, folder)


def test_a_server_that_does_not_answer_a_stop_is_hung_up_on(
    database: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_ask_to_cancel", lambda _raw: None)
    monkeypatch.setattr(sessions, "_HANG_UP_AFTER_SECONDS", 0.2)

    def stop() -> None:
        raise Cancelled

    began = time.monotonic()
    with connected(database.target.engine) as connection:
        with pytest.raises(Cancelled):
            attended(connection, lambda: run_plain(connection, "SELECT pg_sleep(60)"), stop)
        connection.invalidate()
    assert time.monotonic() - began < 5


def test_what_does_not_end_is_not_waited_for_without_end(
    database: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_LEFTOVERS_END_WITHIN_SECONDS", 0)
    engine = database.target.engine
    with (
        connected(engine, application="ops-console left") as left,
        connected(engine) as connection,
    ):
        left.exec_driver_sql("SELECT 1")
        with suppress(Busy):  # the first look may still see the session that it has ended
            end_leftovers(connection, "ops-console left")
        assert _soon(lambda: not _applications(database, "ops-console left"))
        left.invalidate()


def _applications(database: PostgreSQLDatabase, name: str) -> list[Any]:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
    return database.cluster.query(query, name)

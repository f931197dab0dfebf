"""PostgreSQL without the right to make databases: the archive is put in place in one step."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ops import (
    DataFolder,
    OpsError,
    Progress,
    Target,
    create_backup,
    preview_restore,
    restore_backup,
    undo_points,
    undo_restore,
)
from ops.dialects.base import NoticeLevel
from ops.dialects.postgresql import inplace
from ops.errors import BadArchive, Busy, Cancelled, NeedsHuman, PreflightRefused
from ops.journal import Journal, Step, journals_of
from ops.recovery import settle_target
from tests.archives import assert_nothing_left, notice_about, opened, packed, sealed_again
from tests.databases import (
    MANAGED_ROLE,
    PASSWORD,
    ROLE,
    Fingerprint,
    ManagedPostgreSQL,
    PostgreSQLDatabase,
)
from tests.services.postgres import RealPostgres


@pytest.fixture
def database(pg: RealPostgres) -> Iterator[ManagedPostgreSQL]:
    """A filled database on each version."""
    made = ManagedPostgreSQL(pg)
    made.fill()
    yield made
    made.close()


class At(Progress):
    """Does something, once, when a step with this note begins."""

    def __init__(self, note: str, act: Callable[[], object]) -> None:
        self.acted = False
        self._note, self._act = note, act

    def report(self, done: float, total: float, note: str = "") -> None:
        if note == self._note and not self.acted:
            self.acted = True
            self._act()


def _goes_round(database: PostgreSQLDatabase, folder: DataFolder) -> None:
    """Backup, drift, restore and undo are exact."""
    saved = database.fingerprint()
    archive = create_backup(database.target, folder).archive
    database.drift()
    database.run(
        'REVOKE ALL ON SCHEMA public FROM PUBLIC, "ops reader";'
        'GRANT USAGE ON SCHEMA public TO pg_monitor; DROP SCHEMA "we ird" CASCADE;'
        "ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC"
    )
    drifted = database.fingerprint()
    restore_backup(database.target, archive, folder)
    assert database.fingerprint() == saved
    undo_restore(database.target, folder)
    assert database.fingerprint() == drifted
    assert_nothing_left(database, folder)


def _unchanged_by(
    database: PostgreSQLDatabase,
    folder: DataFolder,
    error: type[OpsError],
    progress: Progress | None = None,
) -> OpsError:
    """A restore ends with this error, and everything is as before."""
    archive = create_backup(database.target, folder).archive
    database.drift()
    drifted = database.fingerprint()
    with pytest.raises(error, match="Nothing was changed") as raised:
        restore_backup(database.target, archive, folder, progress=progress or Progress())
    assert _without_sequences(database.fingerprint()) == _without_sequences(drifted)
    assert undo_points(database.target, folder) == []
    assert_nothing_left(database, folder)
    return raised.value


def test_the_way_is_announced_with_the_grant_that_gives_the_better_one(
    pg: RealPostgres, folder: DataFolder
) -> None:
    database = PostgreSQLDatabase(pg)
    database.fill()
    role = f"odd role {secrets.token_hex(3)}"
    login = "LOGIN PASSWORD 'secret' BYPASSRLS"
    database.as_superuser(f'CREATE ROLE "{role}" {login} IN ROLE "{ROLE}", pg_signal_backend')
    target = Target.parse("live", pg.url(database.name, user=role, password="secret"))
    saved = database.fingerprint()
    archive = create_backup(target, folder).archive
    told = notice_about(target, archive, folder, "one step")
    assert told.level is NoticeLevel.WARN
    assert "for about 1 minute, programs that use the database wait" in told.message
    database.drift()
    undo = restore_backup(target, archive, folder).undo
    assert undo is not None
    assert database.fingerprint() == saved
    assert database.neighbours() == set()
    database.as_superuser(told.hint.partition("run: ")[2])
    assert not [n for n in preview_restore(target, archive, folder).notices if "one" in n.message]
    restore_backup(target, archive, folder)
    assert len(database.neighbours()) == 1
    undo_restore(target, folder, point=undo.id)  # the older, a file, can be put back as well
    assert "added" in {name for (name,) in database.rows("SELECT relname FROM pg_class")}
    database.close()
    for statement in ("DROP OWNED BY", "DROP ROLE"):
        pg.query(f'{statement} "{role}"')


def test_it_is_exact_with_all_that_a_database_may_hold(
    database: ManagedPostgreSQL, folder: DataFolder
) -> None:
    database.run(
        """
        CREATE PUBLICATION news FOR TABLE orders;
        CREATE TABLE "new
        line;" (a int); INSERT INTO "new
        line;" VALUES (1), (2);
        CREATE TABLE "it's" (a text);
        INSERT INTO "it's" VALUES (E'\\\\.'), (E'a;\\nCOPY x FROM stdin;');
        CREATE TABLE no_columns (); INSERT INTO no_columns DEFAULT VALUES;
        ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
        ALTER DEFAULT PRIVILEGES IN SCHEMA "we ird" GRANT ALL ON SEQUENCES TO "ops reader";
        GRANT CREATE ON SCHEMA public TO "ops reader";
        CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN
        COMMIT;
        END $$;
        CREATE FUNCTION standard(a int) RETURNS int LANGUAGE sql
        BEGIN ATOMIC SELECT 1; SELECT a; END;
        CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
        CREATE STATISTICS both_columns ON id, customer_id FROM orders;
        """
    )
    _goes_round(database, folder)


def test_extensions_and_their_schemas_stay(database: ManagedPostgreSQL, folder: DataFolder) -> None:
    database.as_superuser("CREATE EXTENSION vector")
    database.run("CREATE TABLE point (at vector(2)); INSERT INTO point VALUES ('[1,2]')")
    database.run(
        "CREATE FUNCTION near(vector) RETURNS vector LANGUAGE sql AS 'SELECT $1';"
        "CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int); CREATE DOMAIN dom AS int;"
        "CREATE STATISTICS both_columns ON id, customer_id FROM orders;"
        "CREATE OPERATOR @@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)"
    )
    _goes_round(database, folder)


def test_another_encoding(pg16: RealPostgres, folder: DataFolder) -> None:
    database = ManagedPostgreSQL(pg16, options="ENCODING 'LATIN1' LOCALE 'C'")
    database.fill(10)
    database.run('CREATE TABLE "Ümläut" (a text); INSERT INTO "Ümläut" VALUES (\'ß\')')
    _goes_round(database, folder)
    database.close()


def test_an_extension_in_a_schema_of_its_own(
    database: ManagedPostgreSQL, folder: DataFolder
) -> None:
    database.run('CREATE SCHEMA "ex tra"; CREATE TABLE "ex tra".mine (id int PRIMARY KEY)')
    database.as_superuser('CREATE EXTENSION vector SCHEMA "ex tra"')
    database.run("CREATE TABLE point (at \"ex tra\".vector(2)); INSERT INTO point VALUES ('[1,2]')")
    _goes_round(database, folder)


def test_an_extension_that_the_database_lacks_is_refused_with_the_statement(
    database: ManagedPostgreSQL, folder: DataFolder
) -> None:
    database.as_superuser("CREATE EXTENSION vector")
    archive = create_backup(database.target, folder).archive
    database.as_superuser("DROP EXTENSION vector")
    before = database.fingerprint()
    with pytest.raises(PreflightRefused, match="lacks extensions") as refused:
        restore_backup(database.target, archive, folder)
    assert database.fingerprint() == before
    database.as_superuser(refused.value.hint.partition("in it: ")[2])
    restore_backup(database.target, archive, folder)


OBSTACLES = {
    "a table of others": "CREATE TABLE theirs (id int)",
    "a function of others": "CREATE FUNCTION theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a schema of others": "CREATE SCHEMA theirs",
    "a grant that was passed on": "CREATE TABLE theirs (id int); "
    f'ALTER TABLE theirs OWNER TO "{MANAGED_ROLE}"; '
    'GRANT SELECT ON theirs TO "ops reader" WITH GRANT OPTION; '
    'SET ROLE "ops reader"; GRANT SELECT ON theirs TO pg_monitor',
    "a grant on a column that was passed on": "CREATE TABLE theirs (id int); "
    f'ALTER TABLE theirs OWNER TO "{MANAGED_ROLE}"; '
    'GRANT SELECT (id) ON theirs TO "ops reader" WITH GRANT OPTION; '
    'SET ROLE "ops reader"; GRANT SELECT (id) ON theirs TO pg_monitor',
    "an event trigger": "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS "
    f"'BEGIN END'; ALTER FUNCTION f() OWNER TO \"{MANAGED_ROLE}\"; "
    "CREATE EVENT TRIGGER theirs ON ddl_command_end EXECUTE FUNCTION f()",
    "all tables published": "CREATE PUBLICATION theirs FOR ALL TABLES; "
    f'ALTER PUBLICATION theirs OWNER TO "{MANAGED_ROLE}"',
    "a schema published": "CREATE PUBLICATION theirs FOR TABLES IN SCHEMA public; "
    f'ALTER PUBLICATION theirs OWNER TO "{MANAGED_ROLE}"',
    "a foreign data wrapper": "CREATE FOREIGN DATA WRAPPER theirs",
    "a function in C": "CREATE FUNCTION theirs(text) RETURNS int LANGUAGE internal AS 'textlen'; "
    f'ALTER FUNCTION theirs OWNER TO "{MANAGED_ROLE}"',
    "default privileges of others": "CREATE SCHEMA theirs; "
    f'ALTER SCHEMA theirs OWNER TO "{MANAGED_ROLE}"; '
    "ALTER DEFAULT PRIVILEGES IN SCHEMA theirs GRANT SELECT ON TABLES TO pg_monitor",
    "a subscription": "CREATE SUBSCRIPTION theirs CONNECTION 'host=127.0.0.1 dbname=x' "
    "PUBLICATION p WITH (connect = false, slot_name = NONE)",
}


def test_what_would_stop_it_half_way_is_refused_beforehand(
    pg16: RealPostgres, folder: DataFolder
) -> None:
    for statements in OBSTACLES.values():
        database = ManagedPostgreSQL(pg16)
        database.run("CREATE TABLE mine (id int)")
        archive = create_backup(database.target, folder).archive
        if "SET ROLE" in statements:
            database.as_superuser(statements)
        else:
            for statement in statements.split("; "):
                database.as_superuser(statement)
        with pytest.raises(PreflightRefused, match=r"theirs|default privileges of postgres"):
            restore_backup(database.target, archive, folder)
        assert_nothing_left(database, folder)
        if "SUBSCRIPTION" in statements:
            database.as_superuser("DROP SUBSCRIPTION theirs")
        database.close()


def test_what_could_not_be_given_back_to_its_owner_is_refused(
    database: ManagedPostgreSQL, folder: DataFolder
) -> None:
    """Up to version 14 everybody may create in the schema public, in others never."""
    crew = f"crew_{secrets.token_hex(3)}"
    database.as_superuser(f'CREATE ROLE {crew}; GRANT {crew} TO "{MANAGED_ROLE}"')
    archive = create_backup(database.target, folder).archive
    for schema in ("public", '"we ird"'):
        database.as_superuser(f"GRANT CREATE ON SCHEMA {schema} TO {crew}")
        database.as_superuser(f"CREATE TABLE {schema}.theirs (id int)")
        database.as_superuser(f"ALTER TABLE {schema}.theirs OWNER TO {crew}")
        before = database.fingerprint()
        with pytest.raises(PreflightRefused, match=rf"theirs of {crew}.*could not be undone"):
            restore_backup(database.target, archive, folder)
        assert database.fingerprint() == before
        database.as_superuser(f'ALTER TABLE {schema}.theirs OWNER TO "{MANAGED_ROLE}"')
    database.as_superuser(f"DROP OWNED BY {crew}")
    drifted = database.fingerprint()
    restore_backup(database.target, archive, folder)
    undo_restore(database.target, folder)
    assert database.fingerprint() == drifted
    database.as_superuser(f"DROP ROLE {crew}")


def _superuser(database: PostgreSQLDatabase) -> Any:
    return psycopg2.connect(
        host="127.0.0.1", port=database.cluster.port, user="postgres",
        password=database.cluster.password, dbname=database.name,
    )  # fmt: skip


def test_a_reader_that_may_not_be_ended_makes_it_busy(
    pg16: RealPostgres, folder: DataFolder
) -> None:
    database = ManagedPostgreSQL(pg16)
    database.fill(10)
    archive = create_backup(database.target, folder).archive
    before = database.fingerprint()
    with closing(_superuser(database)) as other:
        other.cursor().execute("SELECT 1 FROM customer")
        with pytest.raises(Busy, match=r"could not be asked to leave.*Nothing was changed"):
            restore_backup(database.target, archive, folder)
    assert database.fingerprint() == before
    assert_nothing_left(database, folder)
    database.close()


def test_our_own_sessions_that_are_in_the_way_are_ended(
    database: ManagedPostgreSQL, folder: DataFolder
) -> None:
    saved = database.fingerprint()
    archive = create_backup(database.target, folder).archive
    login = {"user": MANAGED_ROLE, "password": PASSWORD, "dbname": database.name}
    held = psycopg2.connect(host="127.0.0.1", port=database.cluster.port, **login)
    held.cursor().execute("INSERT INTO left_hand VALUES (1)")
    restore_backup(database.target, archive, folder)
    assert database.fingerprint() == saved
    with pytest.raises(psycopg2.OperationalError):
        held.cursor().execute("SELECT 1")
    held.close()


@pytest.mark.parametrize("made", ["CREATE TABLE late (id int)", "SELECT lo_create(0)"])
def test_what_others_make_while_the_database_is_saved_is_not_lost(
    database: ManagedPostgreSQL, folder: DataFolder, made: str
) -> None:
    archive = create_backup(database.target, folder).archive
    # A superuser's session is not ended, as others are where there are large objects.
    make = f'SET ROLE "{MANAGED_ROLE}"; {made}'
    at = At("Saving the database as it is", lambda: database.as_superuser(make))
    with pytest.raises(Busy, match=r"Another program made .* Nothing was changed"):
        restore_backup(database.target, archive, folder, progress=at)
    assert at.acted
    assert_nothing_left(database, folder)
    restore_backup(database.target, archive, folder)


def test_nobody_stays_who_could_write_into_a_large_object(
    database: ManagedPostgreSQL, folder: DataFolder
) -> None:
    """No lock keeps anybody from that, and it would be neither in the backup nor in the undo."""
    archive = create_backup(database.target, folder).archive
    told = notice_about(database.target, archive, folder, "large objects")
    assert told.level is NoticeLevel.WARN
    login = {"user": MANAGED_ROLE, "password": PASSWORD, "dbname": database.name}
    writer = psycopg2.connect(host="127.0.0.1", port=database.cluster.port, **login)
    writer.autocommit = True
    outcome = []

    def write() -> None:
        time.sleep(0.5)  # it was there before, and has had the time to be ended
        try:
            writer.cursor().execute(
                "SELECT lo_put(max(oid), 0, 'late') FROM pg_largeobject_metadata"
            )
        except psycopg2.OperationalError:
            outcome.append("ended")

    restore_backup(
        database.target, archive, folder, progress=At("Saving the database as it is", write)
    )
    assert outcome == ["ended"]


def test_logins_to_other_servers_that_we_may_not_read_are_refused(
    contrib: RealPostgres, folder: DataFolder
) -> None:
    """A dump holds them without their passwords."""
    database = ManagedPostgreSQL(contrib)
    for statement in (
        "CREATE EXTENSION postgres_fdw",
        f'GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO "{MANAGED_ROLE}"',
        "CREATE ROLE app",
    ):
        database.as_superuser(statement)
    database.run("CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'x')")
    archive = create_backup(database.target, folder).archive
    database.run("CREATE USER MAPPING FOR app SERVER other OPTIONS (password 'topsecret')")
    with pytest.raises(PreflightRefused, match="app at other"):
        restore_backup(database.target, archive, folder)
    database.close()


STEPS = (
    "Waiting until nobody writes",
    "Saving the database as it is",
    "Clearing the database",
    "Making tables",
    "Bringing the rows back",
    "Making indexes and keys",
    "Counting every row",
    "Putting the backup in place",
)


@pytest.mark.parametrize("step", STEPS)
def test_a_session_that_is_killed_changes_nothing(
    database: ManagedPostgreSQL, folder: DataFolder, step: str
) -> None:
    def kill() -> None:
        database.cluster.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'ops-console %'"
        )

    at = At(step, kill)
    _unchanged_by(database, folder, OpsError, at)
    assert at.acted


def test_a_server_that_crashes_changes_nothing(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = RealPostgres(16)
    try:
        database = ManagedPostgreSQL(cluster)
        database.fill()
        at = At("Making indexes and keys", cluster.restart)
        _unchanged_by(database, folder, OpsError, at)
        assert at.acted
        noted: list[int] = []
        note = inplace._note_transaction

        def crash_after_the_note(*arguments: Any) -> None:
            note(*arguments)
            noted.append(int(arguments[2].facts["xid"]))
            cluster.restart()

        monkeypatch.setattr(inplace, "_note_transaction", crash_after_the_note)
        database.start_over()
        database.fill()
        _unchanged_by(database, folder, OpsError)
        # The server knows the number, and gave it to nobody else since.
        assert cluster.query(f"SELECT pg_xact_status('{noted[0]}')") == [("aborted",)]
    finally:
        cluster.stop()


class _StopsWhile(Progress):
    """Asks to stop when a step with this note has gone on for a while."""

    def __init__(self, note: str) -> None:
        self._left, self._note = 2, note

    def report(self, done: float, total: float, note: str = "") -> None:
        self._left -= note == self._note
        if self._left == 0:
            raise Cancelled


def test_a_long_statement_is_cancelled_on_the_server(
    database: ManagedPostgreSQL, folder: DataFolder
) -> None:
    """It would take half an hour."""
    database.run("CREATE FUNCTION nap() RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    database.run("CREATE MATERIALIZED VIEW slow AS SELECT public.nap()")
    database.run("CREATE OR REPLACE FUNCTION nap() RETURNS boolean LANGUAGE sql "
                 "AS 'SELECT pg_sleep(1800) IS NULL'")  # fmt: skip
    archive = create_backup(database.target, folder).archive
    before = database.fingerprint()
    progress = _StopsWhile("Making indexes and keys")
    with pytest.raises(Cancelled, match="Nothing was changed"):
        restore_backup(database.target, archive, folder, progress=progress)
    assert database.fingerprint() == before
    ours = "SELECT query FROM pg_stat_activity WHERE application_name LIKE 'ops-console %'"
    assert database.cluster.query(ours) == []
    assert_nothing_left(database, folder)


def _without_sequences(found: Fingerprint) -> Fingerprint:
    """A crash skips up to 32 numbers of a sequence (manual, CREATE SEQUENCE)."""
    return {name: told for name, told in found.items() if not name.endswith(("_seq", "tickets"))}


def _interrupted(database: ManagedPostgreSQL, folder: DataFolder, xid: int | None) -> Journal:
    """The journal of a restore that died after it had noted this transaction."""
    keep = folder.undo("live") / "20260101T0000000000000000.pgdump"
    keep.write_bytes(b"the safety dump")
    query = "SELECT oid::bigint FROM pg_database WHERE datname = %s"
    journal = Journal.begin(folder, "live", "postgresql", "restore", "x.zip")
    journal.advance(
        Step.SWAPPING,
        undo_days=7,
        live=database.name,
        live_oid=database.cluster.query(query, database.name)[0][0],
        keep=str(keep),
        **({} if xid is None else {"xid": xid}),
    )
    return journal


def _transaction(database: ManagedPostgreSQL, end: str) -> int:
    with closing(_superuser(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text")
        (xid,) = cursor.fetchone()
        cursor.execute(end)
    return int(xid)


def test_what_became_of_the_transaction_decides(
    database: ManagedPostgreSQL, folder: DataFolder
) -> None:
    committed = _interrupted(database, folder, _transaction(database, "COMMIT"))
    settle_target(database.target, folder)
    assert [point.id for point in undo_points(database.target, folder)] == [committed.id]
    for xid in (None, _transaction(database, "ROLLBACK")):
        _interrupted(database, folder, xid)
        settle_target(database.target, folder)
        assert journals_of(folder, "live")[0].step is Step.ROLLED_BACK
        assert list(folder.undo("live").iterdir()) == []


def test_a_transaction_that_nobody_knows_is_for_a_person(
    database: ManagedPostgreSQL, folder: DataFolder
) -> None:
    journal = _interrupted(database, folder, _transaction(database, "COMMIT") + 100_000)
    with pytest.raises(NeedsHuman, match="does not know any more"):
        settle_target(database.target, folder)
    assert Path(str(journal.facts["keep"])).exists()
    with pytest.raises(NeedsHuman):
        undo_restore(database.target, folder)


def test_a_dump_that_is_cut_off_is_found_before_anything_is_touched(
    database: ManagedPostgreSQL, folder: DataFolder
) -> None:
    made = create_backup(database.target, folder)
    before = database.fingerprint()
    manifest, name, content = opened(made.archive)
    for part in (0.5, 0.9, 0.999):
        cut = content[: int(len(content) * part)]
        manifest["entries"] = [
            {"name": name, "size": len(cut), "sha256": hashlib.sha256(cut).hexdigest()}
        ]
        archive = packed(
            folder.root / "cut.zip", {name: cut, "manifest.json": json.dumps(manifest).encode()}
        )
        with pytest.raises(BadArchive, match="damaged"):
            restore_backup(database.target, sealed_again(archive, folder), folder)
        assert database.fingerprint() == before
    assert_nothing_left(database, folder)

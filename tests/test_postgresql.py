"""PostgreSQL: odd addresses, secrets, missing rights, other versions."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from ops import (
    DataFolder,
    OpsError,
    Target,
    create_backup,
    dialect_of,
    get_health_report,
    preview_restore,
    restore_backup,
    undo_restore,
)
from ops.checks.base import Level
from ops.dialects.postgresql import reading
from ops.errors import BadArchive, PreflightRefused, Unavailable
from tests.archives import assert_nothing_left, counts
from tests.databases import KINDS, PASSWORD, ROLE, Fingerprint, PostgreSQLDatabase
from tests.health_reports import finding
from tests.services.ports import free_port
from tests.services.postgres import RealPostgres


@pytest.fixture
def database(pg: RealPostgres) -> Iterator[PostgreSQLDatabase]:
    """A filled database on each version."""
    made = PostgreSQLDatabase(pg)
    made.fill()
    yield made
    made.close()


@contextmanager
def _named(cluster: RealPostgres, name: str) -> Iterator[PostgreSQLDatabase]:
    made = PostgreSQLDatabase(cluster, name)
    made.fill()
    yield made
    made.close()


def _goes_round(database: PostgreSQLDatabase, folder: DataFolder, url: str = "") -> None:
    """Backup, drift, restore and undo by this URL are exact."""
    target = Target.parse("live", url or database.url)
    saved = database.fingerprint()
    archive = create_backup(target, folder).archive
    database.drift()
    drifted = database.fingerprint()
    restore_backup(target, archive, folder)
    assert database.fingerprint() == saved
    undo_restore(target, folder)
    assert database.fingerprint() == drifted
    assert_nothing_left(database, folder)


ODD_NAMES = (
    'we=ird "db" % %41 \\ \' host=elsewhere',
    "postgresql://other/db",
    "ü" * 31 + "x",
    "x" * 63,
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_database_names(pg: RealPostgres, folder: DataFolder, name: str) -> None:
    with _named(pg, name) as database:
        _goes_round(database, folder)


def test_the_database_of_the_users_name(pg: RealPostgres, folder: DataFolder) -> None:
    """A URL may leave the database out."""
    with _named(pg, ROLE) as database:
        url = make_url(database.url)._replace(database=None).render_as_string(False)
        _goes_round(database, folder, url)


def test_a_socket_directory(database: PostgreSQLDatabase, folder: DataFolder) -> None:
    query = {"host": str(database.cluster.socket_dir), "port": str(database.cluster.port)}
    url = make_url(database.url).set(host=None, port=None, query=query)
    _goes_round(database, folder, url.render_as_string(False))


def test_several_hosts_of_which_the_first_is_dead(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    hosts = (f"127.0.0.1:{free_port()}", f"127.0.0.1:{database.cluster.port}")
    query = {"host": hosts, "target_session_attrs": "read-write"}
    url = make_url(database.url).set(host=None, port=None, query=query)
    _goes_round(database, folder, url.render_as_string(False))


class _Watcher:
    """Reads every process's command line, and the settings of PostgreSQL's programs, again and
    again."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.settings: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_text(errors="replace")
                    self.seen.add(line)
                    if "bin/pg_" in line:
                        environ = path.with_name("environ").read_text(errors="replace")
                        self.settings.add(environ)
                except OSError:
                    continue


def test_no_command_line_shows_the_password(
    database: PostgreSQLDatabase, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_TARGETS__OTHER", "postgresql://else:known@where/x")
    with _Watcher() as watcher:
        archive = create_backup(database.target, folder).archive
        restore_backup(database.target, archive, folder)
    assert any("pg_dump\0" in line for line in watcher.seen)
    assert any("pg_restore\0" in line for line in watcher.seen)
    assert not [line for line in watcher.seen if PASSWORD in line or "p%40ss" in line]
    assert any("PGPASSFILE=" in told for told in watcher.settings)
    assert not [told for told in watcher.settings if "OPS_TARGETS__OTHER" in told]


def test_a_program_that_takes_more_than_it_may_is_a_refusal(
    pg16: RealPostgres, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _named(pg16, "") as database:
        archive = create_backup(database.target, folder).archive
        before = database.fingerprint()
        monkeypatch.setattr(reading, "_LISTING", 100)  # its end is a signal, as in a crash
        with pytest.raises(BadArchive, match=r"crashed over this one.*Nothing was changed"):
            restore_backup(database.target, archive, folder)
        assert database.fingerprint() == before
        assert_nothing_left(database, folder)


def test_no_error_shows_the_password(pg: RealPostgres, folder: DataFolder) -> None:
    good = pg.url("postgres", user="nobody here", password=PASSWORD)
    gone = make_url(good).set(port=free_port()).render_as_string(False)
    for url in (good, gone, f"{good}?sslmode=require", f"{good}?sslmode=nonsense"):
        target = Target.parse("live", url)
        with pytest.raises(OpsError) as raised:
            create_backup(target, folder)
        told = [str(raised.value), repr(raised.value), raised.value.detail, raised.value.hint]
        told += [repr(target), str(target), target.masked_url]
        assert not [text for text in told if PASSWORD in text or "p%40ss" in text]
    assert Target.parse("x", good).masked_url.count("***") == 1


def test_a_server_that_is_gone_is_said_in_words(pg: RealPostgres, folder: DataFolder) -> None:
    url = make_url(pg.url()).set(port=free_port()).render_as_string(False)
    with pytest.raises(Unavailable, match="does not answer"):
        create_backup(Target.parse("live", url), folder)


@contextmanager
def _role(database: PostgreSQLDatabase, options: str = "") -> Iterator[Target]:
    """The database as another role sees it, which owns nothing yet."""
    name, superuser = f"odd role {secrets.token_hex(3)}", database.as_superuser
    superuser(f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'secret' {options}")
    url = database.cluster.url(database.name, user=name, password="secret")
    try:
        yield Target.parse("live", url)
    finally:
        superuser(f'REASSIGN OWNED BY "{name}" TO "{ROLE}"')
        superuser(f'DROP OWNED BY "{name}"')
        superuser(f'DROP ROLE "{name}"')


def _refused_until_granted(
    database: PostgreSQLDatabase, work: Callable[[], object], message: str
) -> None:
    """The work is refused, and the SQL of the hint is all that it needs."""
    with pytest.raises(PreflightRefused, match=message) as refused:
        work()
    assert "Nothing was changed" in str(refused.value)
    _, _, grant = refused.value.hint.partition("run: ")
    assert grant.endswith(";")
    database.as_superuser(grant)
    work()


def test_tables_that_cannot_be_read_are_listed_with_the_grant(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    database.run("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    with _role(database, "BYPASSRLS") as target:
        _refused_until_granted(
            database, lambda: create_backup(target, folder), r'may not read "we ird"\."Odd '
        )


def test_a_user_that_may_not_enter_a_schema_sees_what_would_change(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    archive = create_backup(database.target, folder).archive
    with _role(database, "CREATEDB") as target:
        preview = preview_restore(target, archive, folder)
        sizes = dialect_of(target.engine).sizes(target.engine, exact=True)
    odd = next(change for change in preview.changes if "Odd" in change.name)
    assert (odd.exists_now, odd.now, odd.after) == (True, None, 2)
    assert odd.name in [relation.name for relation in sizes.relations]


def test_hidden_rows_are_refused_with_the_grant(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    database.run("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    with _role(database, "IN ROLE pg_read_all_data") as target:
        _refused_until_granted(
            database, lambda: create_backup(target, folder), "hides rows of public.customer "
        )


def test_large_objects_that_cannot_be_read_are_refused_with_the_grant(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    with _role(database, "BYPASSRLS IN ROLE pg_read_all_data") as target:
        _refused_until_granted(database, lambda: create_backup(target, folder), "large objects of ")


def test_a_table_whose_rules_bind_its_owner_too(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    database.run("ALTER TABLE customer FORCE ROW LEVEL SECURITY")
    with pytest.raises(PreflightRefused, match=r"hides rows of public.customer"):
        create_backup(database.target, folder)


def test_rights_that_a_restore_needs(database: PostgreSQLDatabase, folder: DataFolder) -> None:
    archive = create_backup(database.target, folder).archive
    with _role(database, "CREATEDB IN ROLE pg_signal_backend") as target:
        _refused_until_granted(
            database, lambda: restore_backup(target, archive, folder), "does not own"
        )


@pytest.mark.parametrize("major", [16])
def test_prepared_transactions_forbid_a_restore(major: int, folder: DataFolder) -> None:
    cluster = RealPostgres(major, {"max_prepared_transactions": "3"})
    try:
        database = PostgreSQLDatabase(cluster)
        database.fill(10)
        archive = create_backup(database.target, folder).archive
        before = database.fingerprint()
        database.run("BEGIN; CREATE TABLE half (id int); PREPARE TRANSACTION 'half done'")
        with pytest.raises(PreflightRefused, match="prepared transactions"):
            restore_backup(database.target, archive, folder)
        database.run("ROLLBACK PREPARED 'half done'")
        restore_backup(database.target, archive, folder)
        assert database.fingerprint() == before
    finally:
        cluster.stop()


def test_an_older_archive_restores_on_a_newer_server(
    pg16: RealPostgres, pg18: RealPostgres, folder: DataFolder
) -> None:
    with _named(pg16, "") as old, _named(pg18, "") as new:
        rows = {name: told for name, told in old.fingerprint().items() if name != "schema"}
        archive = create_backup(old.target, folder).archive
        new.drift()
        restore_backup(new.target, archive, folder)
        assert {name: told for name, told in new.fingerprint().items() if name != "schema"} == rows


def test_a_newer_archive_is_refused_by_an_older_server(
    pg16: RealPostgres, pg18: RealPostgres, folder: DataFolder
) -> None:
    with _named(pg18, "") as new, _named(pg16, "") as old:
        archive = create_backup(new.target, folder).archive
        before = old.fingerprint()
        with pytest.raises(PreflightRefused, match="made with PostgreSQL 18"):
            restore_backup(old.target, archive, folder)
        assert old.fingerprint() == before
        assert_nothing_left(old, folder)


def test_owners_that_this_server_does_not_know(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    owner = f"gone {secrets.token_hex(3)}"
    database.as_superuser(f'CREATE ROLE "{owner}"; GRANT "{owner}" TO "{ROLE}"')
    database.as_superuser(f'CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO "{owner}"')
    made = create_backup(database.target, folder)
    database.as_superuser(f'DROP OWNED BY "{owner}"')
    database.as_superuser(f'DROP ROLE "{owner}"')
    result = restore_backup(database.target, made.archive, folder)
    assert any("names users unknown to this server" in note for note in result.notes)
    assert counts(result.tables) == counts(made.tables)
    owners = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'theirs'"
    assert database.rows(owners) == [(ROLE,)]


def test_grantees_that_this_server_does_not_know(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    reader = f"gone {secrets.token_hex(3)}"
    database.as_superuser(f'CREATE ROLE "{reader}"')
    database.run("CREATE TABLE granted (id int)")
    database.run(f'GRANT SELECT ON granted TO "{reader}"')
    made = create_backup(database.target, folder)
    database.as_superuser(f'DROP OWNED BY "{reader}"')
    database.as_superuser(f'DROP ROLE "{reader}"')
    result = restore_backup(database.target, made.archive, folder)
    assert any(reader in note for note in result.notes)
    assert counts(result.tables) == counts(made.tables)


def test_the_password_file_goes_with_the_work(
    database: PostgreSQLDatabase, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder.root.parent / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    archive = create_backup(database.target, folder).archive
    restore_backup(database.target, archive, folder)
    assert list(place.iterdir()) == []


def test_a_function_of_anothers_does_not_run_with_the_consoles_rights(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    """Whoever may create in a schema of the search path could shadow the server's functions."""
    database.run("CREATE TABLE witness (who text)")
    database.run(
        "CREATE FUNCTION public.format(text, name, name) RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO public.witness VALUES (current_user); "
        "RETURN pg_catalog.format($1, $2, $3); END $$"
    )
    engine = database.target.engine
    dialect = dialect_of(engine)
    dialect.sizes(engine)
    dialect.live_rows(engine)
    get_health_report(engine)
    create_backup(database.target, folder)
    assert database.rows("SELECT * FROM witness") == []


def test_what_lies_beside_a_table_counts_when_the_largest_are_sought(
    database: PostgreSQLDatabase,
) -> None:
    """Long values are kept apart from their table (TOAST), in many more pages than its own."""
    database.run("CREATE TABLE long_texts (body text)")
    database.run("ALTER TABLE long_texts ALTER body SET STORAGE EXTERNAL")
    database.run("INSERT INTO long_texts SELECT repeat('x', 4000000) FROM generate_series(1, 3)")
    database.run("CREATE TABLE many_rows AS SELECT n FROM generate_series(1, 20000) n")
    database.as_superuser("VACUUM ANALYZE")
    engine = database.target.engine
    for exact in (False, True):
        report = dialect_of(engine).sizes(engine, exact=exact)
        first = report.relations[0]
        assert (first.name, first.rows) == ("public.long_texts", 3)
        assert report.total_bytes > first.size_bytes >= 12_000_000
        assert not report.is_cut_off
        sizes = [relation.size_bytes for relation in report.relations]
        assert sizes == sorted(sizes, reverse=True)


def test_of_very_many_tables_the_largest_are_shown(database: PostgreSQLDatabase) -> None:
    database.run(
        "DO $$ BEGIN FOR i IN 1..1100 LOOP EXECUTE 'CREATE TABLE u' || i || ' ()'; END LOOP; END $$"
    )
    database.run("CREATE TABLE largest AS SELECT n FROM generate_series(1, 20000) n")
    database.run("ANALYZE largest")
    engine = database.target.engine
    for exact in (False, True):
        report = dialect_of(engine).sizes(engine, exact=exact)
        assert (report.is_cut_off, len(report.relations)) == (True, 1000)
        assert report.relations[0].name == "public.largest"


def test_a_superuser_does_not_count_what_others_made(database: PostgreSQLDatabase) -> None:
    """Planning alone evaluates expressions of indexes."""
    database.run(
        "CREATE TABLE witness (who text); CREATE TABLE bait (id int);"
        "CREATE FUNCTION innocent(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
        "$$ BEGIN IF current_user = 'postgres' THEN RAISE EXCEPTION 'caught'; END IF; "
        "RETURN 0; END $$; CREATE INDEX ON bait (id) WHERE public.innocent(1) = 0"
    )
    target = Target.parse("live", database.cluster.url(database.name))
    rows = dialect_of(target.engine).live_rows(target.engine)
    assert "public.bait" in {row.name for row in rows}
    assert not any(row.exact for row in rows)


def test_what_others_wrote_into_row_security_is_not_run_for_a_mere_look(
    database: PostgreSQLDatabase,
) -> None:
    database.as_superuser(
        "CREATE TABLE bait AS SELECT 1 AS id; GRANT SELECT ON bait TO public;"
        "CREATE FUNCTION theirs() RETURNS bool LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'run by %', current_user; END $$;"
        "CREATE POLICY p ON bait USING (public.theirs());"
        "ALTER TABLE bait ENABLE ROW LEVEL SECURITY"
    )
    engine = database.target.engine
    rows = dialect_of(engine).live_rows(engine)
    assert "public.bait" in {row.name for row in rows}
    assert not any(row.exact for row in rows)


def test_the_ordinary_user_that_is_advised_is_all_that_a_restore_needs(
    pg: RealPostgres, folder: DataFolder, tmp_path: Path
) -> None:
    database = PostgreSQLDatabase(pg)
    database.run("CREATE TABLE t (a int)")
    superuser = Target.parse("live", pg.url(database.name))
    advice = finding(get_health_report(superuser.engine), "postgresql.superuser").fix
    superuser.engine.dispose()
    statements = advice.partition("run: ")[2].partition(" Then put")[0]
    pg.query(statements.replace("…", "secret"))
    try:
        url = pg.url(database.name, user="ops_console", password="secret")
        target = Target.parse("live", url)
        assert finding(get_health_report(target.engine), "postgresql.superuser").level == "good"
        archive = create_backup(target, DataFolder(tmp_path / "elsewhere")).archive
        restore_backup(target, archive, folder, trust_foreign=True)
    finally:
        database.close()
        pg.query("DROP ROLE ops_console")


def test_all_addresses_of_a_database_are_one(pg: RealPostgres) -> None:
    def identity(url: str) -> str:
        engine = Target.parse("live", url).engine
        return dialect_of(engine).identity(engine)

    socket = make_url(pg.url()).set(
        host=None, port=None, query={"host": str(pg.socket_dir), "port": str(pg.port)}
    )
    hosts = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{pg.port}"]
    several = make_url(pg.url()).set(host=None, port=None, query={"host": hosts})
    by_name = make_url(pg.url()).set(host="localhost")
    addresses = [address.render_as_string(False) for address in (socket, several, by_name)]
    known = identity(pg.url())
    assert {identity(address) for address in addresses} == {known}
    assert identity(pg.url("gone")).partition("/")[0] == known.partition("/")[0]
    assert identity(pg.url("template1")) != known

    port, here = free_port(), ("127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", "localhost")
    silent = [make_url(pg.url()).set(host=host, port=port) for host in here]
    assert {identity(url.render_as_string(False)) for url in silent} == {f":{port}/postgres"}


def test_a_name_that_is_not_in_the_databases_encoding_is_said_in_words(
    pg: RealPostgres, folder: DataFolder
) -> None:
    database = PostgreSQLDatabase(pg, options="ENCODING 'SQL_ASCII' LOCALE 'C'")
    # The server takes these as they come: LATIN1, where others write UTF-8.
    statement = b'CREATE TABLE "t\xe9" (a int)'.hex()
    database.run(f"DO $$ BEGIN EXECUTE convert_from('\\x{statement}', 'SQL_ASCII'); END $$")
    for work in (
        lambda target: create_backup(target, folder),
        lambda target: dialect_of(target.engine).live_rows(target.engine),
        lambda target: dialect_of(target.engine).sizes(target.engine),
    ):
        with pytest.raises(OpsError, match="is not written in the encoding"):
            work(database.target)
    assert_nothing_left(database, folder)
    database.close()


@pytest.mark.parametrize("live", KINDS["postgresql"], indirect=True)
def test_a_grant_that_the_health_page_asks_for_does_not_stop_a_restore(
    live: PostgreSQLDatabase, folder: DataFolder
) -> None:
    """pg_dump saves grants on the server's own views, which only a superuser may bring back."""
    found = finding(get_health_report(live.target.engine), "postgresql.open_door")
    for grant in re.findall(r"GRANT [^;]*;", found.fix):
        live.as_superuser(grant)
    found = finding(get_health_report(live.target.engine), "postgresql.open_door")
    assert found.level is not Level.UNKNOWN
    before = _rows_of(live)
    archive = create_backup(live.target, folder).archive
    live.drift()
    restored = restore_backup(live.target, archive, folder)
    assert _rows_of(live) == before
    is_in_place = "managed" in live.kind  # what is not emptied keeps its grants
    assert any("was left out" in note for note in restored.notes) is not is_in_place
    undo_restore(live.target, folder)


def _rows_of(live: PostgreSQLDatabase) -> Fingerprint:
    """All but the schema's text, which names the grants."""
    return {name: rows for name, rows in live.fingerprint().items() if name != "schema"}


_WITH_STATISTICS = """
SELECT DISTINCT schemaname || '.' || tablename, inherited FROM pg_stats
WHERE schemaname <> 'information_schema' ORDER BY 1, 2
"""


def test_the_planner_knows_a_restored_database_as_after_a_plain_analyze(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    """Of every table, also of the catalogue, of partitions, their parents and what is stored of
    views; with names that need quotes."""
    database.run('CREATE SCHEMA "Ö d"; CREATE TABLE "Ö d"."Ein ""T""" AS SELECT 1 AS "A b"')
    restore_backup(database.target, create_backup(database.target, folder).archive, folder)
    told = database.rows(_WITH_STATISTICS)
    database.run("ANALYZE")
    assert told == database.rows(_WITH_STATISTICS)
    assert {('Ö d.Ein "T"', False), ("public.moods", False)} <= set(told)
    assert {("public.event", True), ("public.event_2024", False)} <= set(told)

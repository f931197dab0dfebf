"""PostgreSQL: archives of somebody else's, whose commands must not reach beyond what is staged."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ops import (
    DataFolder,
    OpsError,
    Progress,
    Target,
    compare_archive,
    create_backup,
    preview_restore,
    prove_archive,
    restore_backup,
    restore_beside,
)
from ops.dialects.base import Notice, NoticeLevel
from ops.dialects.postgresql import growth
from ops.errors import BadArchive, Cancelled, PreflightRefused
from ops.journal import journals_of
from ops.locks import target_lock
from ops.recovery import settle_target
from tests import processes
from tests.archives import assert_nothing_left, counts, described, packed
from tests.databases import PASSWORD, PostgreSQLDatabase
from tests.services.postgres import RealPostgres


class MakerDatabase(PostgreSQLDatabase):
    """A database whose owner may make databases and logins, and nothing else."""

    role = "ops maker"
    attributes = "CREATEDB CREATEROLE"


@pytest.fixture
def database(pg: RealPostgres) -> Iterator[MakerDatabase]:
    """A filled database on each version."""
    made = MakerDatabase(pg)
    made.fill(10)
    yield made
    made.close()


@pytest.fixture(params=["CREATEROLE", "superuser"])
def console(request: pytest.FixtureRequest, database: MakerDatabase) -> Target:
    """As whom the console signs in: with the least right that is needed, or with all."""
    url = database.url if request.param == "CREATEROLE" else database.cluster.url(database.name)
    return Target.parse("live", url)


@contextmanager
def _another(database: MakerDatabase, stem: str, owner: str) -> Iterator[str]:
    """An empty database beside."""
    name = f"{stem}_{secrets.token_hex(4)}"
    database.cluster.query(f'CREATE DATABASE {name} OWNER "{owner}"')
    yield name
    database.cluster.query(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def treasure(database: MakerDatabase) -> Iterator[str]:
    """Another database of the console's user."""
    with _another(database, "treasure", database.role) as name:
        yield name


@pytest.fixture
def scratch(database: MakerDatabase) -> Iterator[str]:
    """An empty database, in which an attacker prepares a dump."""
    with _another(database, "scratch", "postgres") as name:
        yield name


def _touched(database: MakerDatabase, treasure: str) -> list[Any]:
    """What an attack on the other database leaves."""
    query = "SELECT datconnlimit FROM pg_database WHERE datname = %s"
    return database.cluster.query(query, treasure)


def _roles(cluster: RealPostgres) -> list[Any]:
    """Every role with all that can be said of it, and who is a member of which."""
    return [
        cluster.query("SELECT * FROM pg_authid ORDER BY oid"),
        cluster.query("SELECT roleid, member, admin_option FROM pg_auth_members ORDER BY 1, 2"),
    ]


def _dumped(database: PostgreSQLDatabase, name: str) -> bytes:
    """A dump as anybody makes it."""
    url = database.cluster.url(name).replace("+psycopg2", "")
    command = [database.cluster.bin / "pg_dump", "--format=custom", url]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _archive(database: PostgreSQLDatabase, dump: bytes, into: Path, **rows: int) -> Path:
    tables = [{"name": f"public.{name}", "rows": count} for name, count in sorted(rows.items())]
    manifest = described("x.pgdump", dump, tables=tables)
    manifest["database"]["tool"] = f"pg_dump {database.cluster.major}"
    return packed(into, {"x.pgdump": dump, "manifest.json": json.dumps(manifest).encode()})


def _with_command(database: PostgreSQLDatabase, scratch: str, command: str) -> bytes:
    """A dump in which `command` stands where a view was defined."""
    carrier = f"CREATE VIEW carrier AS SELECT '{'A' * 1000}'::text AS a"
    database.cluster.query("DROP VIEW IF EXISTS carrier", db=scratch)
    database.cluster.query(carrier, db=scratch)
    whole = re.compile(rb"CREATE VIEW public.carrier AS\n SELECT 'A+'::text AS a")
    dump = _dumped(database, scratch)
    assert len(whole.findall(dump)) == 1
    return whole.sub(lambda found: command.encode().ljust(len(found[0])), dump)


COMMANDS = (
    "DROP DATABASE {live} WITH (FORCE)",
    "DROP DATABASE {treasure}",
    "ALTER DATABASE {treasure} CONNECTION LIMIT 7",
    "ALTER ROLE {role} PASSWORD 'known'",
    "CREATE ROLE thief SUPERUSER",
    "GRANT {role} TO CURRENT_USER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "RESET ROLE; ALTER DATABASE {treasure} CONNECTION LIMIT 7",
    "RESET SESSION AUTHORIZATION; ALTER DATABASE {treasure} CONNECTION LIMIT 7",
    "SET ROLE {role}; ALTER DATABASE {treasure} CONNECTION LIMIT 7",
    "SET SESSION AUTHORIZATION postgres",
    "CREATE TABLE loot (line text); COPY loot FROM '/etc/passwd'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 64', current_database()); END $$",
    "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION pg_catalog.now()",
    "ALTER SYSTEM SET work_mem = '1GB'",
)


def test_commands_reach_nothing(
    database: MakerDatabase,
    console: Target,
    treasure: str,
    scratch: str,
    folder: DataFolder,
    tmp_path: Path,
) -> None:
    before, roles = database.fingerprint(), _roles(database.cluster)
    names = {"live": f'"{database.name}"', "role": f'"{database.role}"', "treasure": treasure}
    for command in COMMANDS:
        dump = _with_command(database, scratch, command.format(**names))
        archive = _archive(database, dump, tmp_path / "foreign.zip")
        with pytest.raises(OpsError, match="Nothing was changed"):
            restore_backup(console, archive, folder, trust_foreign=True)
        assert _touched(database, treasure) == [(-1,)], command
    assert database.fingerprint() == before
    assert _roles(database.cluster) == roles
    assert_nothing_left(database, folder)


AMBUSH = """
CREATE FUNCTION attack() RETURNS int LANGUAGE plpgsql SECURITY {security} AS $$ BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{treasure}';
  ALTER DATABASE {treasure} CONNECTION LIMIT 7; RETURN 1;
  EXCEPTION WHEN OTHERS THEN RETURN 0; END $$;
CREATE FUNCTION innocent(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN PERFORM public.attack(); RETURN 0; END $$;
CREATE FUNCTION as_trigger() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.attack(); RETURN new; END $$;
CREATE TABLE bait (id int, n int GENERATED ALWAYS AS (public.innocent(id)) STORED,
  CHECK (public.innocent(id) = 0));
CREATE INDEX folded_by_the_planner ON bait ((public.innocent(1)));
CREATE INDEX evaluated_by_analyze ON bait (public.innocent(id));
CREATE TRIGGER snare BEFORE INSERT ON bait FOR EACH ROW EXECUTE FUNCTION as_trigger();
ALTER TABLE bait ENABLE ALWAYS TRIGGER snare;
CREATE VIEW watched AS SELECT public.attack();
CREATE MATERIALIZED VIEW kept AS SELECT public.attack();
INSERT INTO bait VALUES (1), (2), (3);
"""


@pytest.mark.parametrize("security", ["INVOKER", "DEFINER"])
def test_code_that_waits_for_others_meets_nobody_with_rights(
    database: MakerDatabase,
    console: Target,
    treasure: str,
    scratch: str,
    folder: DataFolder,
    tmp_path: Path,
    security: str,
) -> None:
    roles = _roles(database.cluster)
    database.cluster.query(AMBUSH.format(treasure=treasure, security=security), db=scratch)
    dump = _dumped(database, scratch)
    database.cluster.query(f"ALTER DATABASE {treasure} CONNECTION LIMIT -1")
    archive = _archive(database, dump, tmp_path / "foreign.zip", bait=3)
    login = {"user": database.role, "password": PASSWORD, "dbname": treasure}
    with closing(psycopg2.connect(host="127.0.0.1", port=database.cluster.port, **login)) as held:
        result = restore_backup(console, archive, folder, trust_foreign=True)
        held.cursor().execute("SELECT 1")  # an attack may end sessions, even where it only reads
    assert _touched(database, treasure) == [(-1,)]
    assert _roles(database.cluster) == roles
    assert any("owners and grants was left out" in note for note in result.notes)
    owners = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'bait'"
    assert database.cluster.query(owners, db=database.name) == [(database.role,)]
    # What the notice says: in place it works with the rights of whoever uses the database.
    assert database.rows("SELECT count(*) FROM bait") == [(3,)]
    assert _touched(database, treasure) == [(7,)]
    assert_nothing_left(database, folder)


class _Looks(Progress):
    """Notes what a look finds whenever the work has something to tell."""

    def __init__(self, look: Callable[[str], object]) -> None:
        self.seen: list[tuple[str, object]] = []
        self._look = look

    def report(self, done: float, total: float, note: str = "") -> None:
        self.seen.append((note, self._look(note)))


def _staged(folder: DataFolder) -> str:
    journals = journals_of(folder, "live")
    return str(journals[0].facts.get("staged", "")) if journals else ""


def test_what_is_staged_belongs_to_its_login_until_the_swap(
    database: MakerDatabase, console: Target, folder: DataFolder, tmp_path: Path
) -> None:
    archive = create_backup(database.target, DataFolder(tmp_path / "elsewhere")).archive
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'customer'"

    def owners(note: str) -> object:
        is_there = note.startswith(("Comparing", "Swapping"))
        return is_there and database.cluster.query(owner, db=_staged(folder))[0][0]

    proving, restoring = _Looks(owners), _Looks(owners)
    assert prove_archive(console, archive, folder, trust_foreign=True, progress=proving).ok
    restore_backup(console, archive, folder, trust_foreign=True, progress=restoring)
    seen = [who for _, who in (*proving.seen, *restoring.seen) if who]
    assert len(seen) == 3
    assert all(str(who).startswith("ops_restore_") for who in seen)
    assert database.rows(owner) == [(database.role,)]
    logins = "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, 'ops_restore_')"
    assert database.cluster.query(logins) == [(0,)]
    assert_nothing_left(database, folder)


ENDLESS = {
    "in rows": "repeat('x', 1900) AS x, generate_series(1, public.many()) AS n",
    "in temporary files": "(SELECT count(*) FROM generate_series(1, public.many())) AS n",
}
FLOOD = """
CREATE FUNCTION many() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE MATERIALIZED VIEW flood AS SELECT {endless};
CREATE OR REPLACE FUNCTION many() RETURNS int LANGUAGE sql AS 'SELECT 2000000000';
"""


@pytest.mark.parametrize("endless", ENDLESS.values(), ids=ENDLESS)
def test_what_grows_without_end_is_stopped(
    database: MakerDatabase,
    scratch: str,
    folder: DataFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    endless: str,
) -> None:
    database.cluster.query(f'GRANT pg_monitor TO "{database.role}"')
    database.cluster.query(FLOOD.format(endless=endless), db=scratch)
    dump = _dumped(database, scratch)
    monkeypatch.setattr(growth, "_ALWAYS_ALLOWED", 16 << 20)
    before, roles = database.fingerprint(), _roles(database.cluster)
    archive = _archive(database, dump, tmp_path / "foreign.zip")
    with pytest.raises(BadArchive, match=r"grows far beyond what it says.*Nothing was changed"):
        restore_backup(database.target, archive, folder, trust_foreign=True)
    assert database.fingerprint() == before
    assert _roles(database.cluster) == roles
    assert_nothing_left(database, folder)


def test_half_of_the_free_room_is_never_taken(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    growth.Limit(1 << 20, str(tmp_path), free // 2).check(1 << 20)
    with pytest.raises(BadArchive, match="more than half of the room"):
        growth.Limit(1 << 20, str(tmp_path), free * 2).check(1)


NAP = """
CREATE FUNCTION nap(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN IF current_query() ~* '^{statement}' THEN PERFORM pg_sleep(1800); END IF;
  RETURN 0; END $$;
CREATE TABLE bed (id int);
INSERT INTO bed VALUES (1), (2), (3);
CREATE INDEX ON bed (public.nap(id)) WHERE public.nap(1) = 0;
"""


@pytest.mark.parametrize("statement", ["ANALYZE", "SELECT count"])
def test_a_statement_without_end_is_stopped(
    database: MakerDatabase, scratch: str, folder: DataFolder, tmp_path: Path, statement: str
) -> None:
    database.cluster.query(NAP.format(statement=statement), db=scratch)
    archive = _archive(database, _dumped(database, scratch), tmp_path / "foreign.zip", bed=3)
    asleep = f"""SELECT usename FROM pg_stat_activity WHERE query ~* '^{statement}'
        AND application_name ~ '^ops-console 2' AND now() - query_start > interval '0.3 s'"""
    stopped: list[float] = []

    def stop(note: str) -> None:
        if note.startswith(("Telling", "Counting")) and database.cluster.query(asleep):
            stopped.append(time.monotonic())
            raise Cancelled

    with pytest.raises(Cancelled, match="Nothing was changed"):
        restore_backup(database.target, archive, folder, trust_foreign=True, progress=_Looks(stop))
    assert time.monotonic() - stopped[0] < 5
    assert database.cluster.query(asleep) == []
    assert_nothing_left(database, folder)


def _foreign_notice(target: Target, archive: Path, folder: DataFolder) -> Notice:
    notices = preview_restore(target, archive, folder).notices
    (found,) = [notice for notice in notices if "not made by this console" in notice.message]
    return found


def test_without_logins_the_risk_is_said_with_the_grant_that_takes_it_away(
    pg: RealPostgres, database: MakerDatabase, scratch: str, folder: DataFolder, tmp_path: Path
) -> None:
    role = f"plain_{secrets.token_hex(3)}"
    pg.query(f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'secret'")
    database.start_over()
    pg.query(f'ALTER DATABASE "{database.name}" OWNER TO {role}')
    pg.query(f"CREATE DATABASE {role}_treasure OWNER {role}")
    target = Target.parse("live", pg.url(database.name, user=role, password="secret"))
    dump = _with_command(database, scratch, f"DROP DATABASE {role}_treasure")
    archive = _archive(database, dump, tmp_path / "foreign.zip")
    told = _foreign_notice(target, archive, folder)
    assert told.level is NoticeLevel.WARN
    assert "with all rights of the console's user" in told.message
    pg.query(told.hint.partition("run: ")[2])
    assert "by a login made for it alone" in _foreign_notice(target, archive, folder).message
    databases = "SELECT count(*) FROM pg_database WHERE datname = %s"
    with pytest.raises(OpsError):
        restore_backup(target, archive, folder, trust_foreign=True)
    assert pg.query(databases, f"{role}_treasure") == [(1,)]
    pg.query(f"ALTER ROLE {role} NOCREATEROLE")
    with pytest.raises(OpsError):
        restore_backup(target, archive, folder, trust_foreign=True)
    assert pg.query(databases, f"{role}_treasure") == [(0,)]  # as the notice said
    database.close()
    pg.query(f"DROP ROLE {role}")


def test_an_owner_that_may_do_anything_is_refused(
    pg: RealPostgres, database: MakerDatabase, scratch: str, folder: DataFolder, tmp_path: Path
) -> None:
    pg.query(f'ALTER DATABASE "{database.name}" OWNER TO postgres')
    archive = _archive(database, _dumped(database, scratch), tmp_path / "foreign.zip")
    target = Target.parse("live", pg.url(database.name))
    with pytest.raises(PreflightRefused, match="belongs to postgres, who may do anything"):
        restore_backup(target, archive, folder, trust_foreign=True)


def test_everything_is_given_to_an_owner_who_is_a_group(
    pg: RealPostgres, database: MakerDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    """The console's user is then a member of the owner, not the owner."""
    elsewhere = DataFolder(tmp_path / "elsewhere")
    made = create_backup(database.target, elsewhere)
    crew = f"crew_{secrets.token_hex(3)}"
    pg.query(f"CREATE ROLE {crew}")
    pg.query(f'GRANT {crew} TO "{database.role}"')
    pg.query(f'ALTER DATABASE "{database.name}" OWNER TO {crew}')
    result = restore_backup(database.target, made.archive, folder, trust_foreign=True)
    assert counts(result.tables) == counts(made.tables)
    owners = """
        SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'we ird' UNION
        SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('customer', 'tickets')
        UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'tidy'
        UNION SELECT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata
    """
    assert database.as_superuser(owners) == [(crew,)]
    database.close()
    pg.query(f"DROP ROLE {crew}")


def test_a_login_whose_restore_was_killed_does_not_stay(
    database: MakerDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    database.run("CREATE MATERIALIZED VIEW slow AS SELECT 1 AS one, pg_sleep(1) IS NULL AS x")
    archive = create_backup(database.target, DataFolder(tmp_path / "elsewhere")).archive
    before, roles = database.fingerprint(), _roles(database.cluster)
    logins = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'ops_restore_')"
    for delay in (0.0, 0.02, 0.6):
        arguments = (database.url, folder.root, archive, True)
        process = processes.started(processes.restore, *arguments)
        while process.is_alive() and not database.cluster.query(logins):
            time.sleep(0.002)
        time.sleep(delay)
        assert process.is_alive()
        process.kill()
        process.join()
        with target_lock(folder, database.target):
            folder.clear_workspaces("live")
            settle_target(database.target, folder)
        assert _roles(database.cluster) == roles
        assert database.fingerprint() == before
        assert_nothing_left(database, folder)


def test_the_password_of_the_login_shows_nowhere(folder: DataFolder, tmp_path: Path) -> None:
    cluster = RealPostgres(16, {"log_statement": "all"})
    try:
        database = MakerDatabase(cluster)
        database.fill(10)
        archive = create_backup(database.target, DataFolder(tmp_path / "elsewhere")).archive
        restore_backup(database.target, archive, folder, trust_foreign=True)
        (told,) = re.findall(r"CREATE ROLE \"ops_restore_.*", cluster.log.read_text())
        assert re.search(r"PASSWORD 'SCRAM-SHA-256\$4096:[^']+' VALID UNTIL '", told)
        login = {"user": database.role, "password": PASSWORD, "dbname": database.name}
        psycopg2.connect(host="127.0.0.1", port=cluster.port, **login).close()
    finally:
        cluster.stop()


def test_what_a_guest_has_staged_is_not_read_with_the_consoles_rights(
    console: Target, database: MakerDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    before = database.fingerprint()
    archive = create_backup(database.target, DataFolder(tmp_path / "elsewhere")).archive
    with pytest.raises(PreflightRefused, match="did not make is not compared row by row"):
        compare_archive(console, archive, folder, trust_foreign=True)
    assert journals_of(folder, "live") == []  # nothing was staged
    with pytest.raises(PreflightRefused, match="is not kept beside the database"):
        restore_beside(console, archive, folder, trust_foreign=True)
    assert database.fingerprint() == before
    assert_nothing_left(database, folder)


def test_rows_that_row_security_hides_from_their_owner_are_counted(
    database: MakerDatabase, console: Target, folder: DataFolder, tmp_path: Path
) -> None:
    """A console that has lost its key must not call its own good backups bad."""
    database.run(
        "CREATE TABLE guarded AS SELECT n FROM generate_series(1, 30) n;"
        "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY nobody ON guarded USING (false)"
    )
    superuser = Target.parse("live", database.cluster.url(database.name))
    archive = create_backup(superuser, DataFolder(tmp_path / "another")).archive
    restore_backup(console, archive, folder, trust_foreign=True)
    assert database.as_superuser("SELECT count(*) FROM guarded") == [(30,)]
    assert database.rows("SELECT count(*) FROM guarded") == [(0,)]

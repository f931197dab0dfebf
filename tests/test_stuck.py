"""An interrupted restore that no rule can settle: a person is shown what there is and chooses."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import (
    DataFolder,
    create_backup,
    delete_undo_point,
    restore_backup,
    undo_points,
    undo_restore,
)
from ops.errors import NeedsHuman, Refused
from ops.journal import Journal, Step, journals_of
from ops.recovery import look_stuck, settle_target, take_way_out, unsettled
from tests.archives import assert_nothing_left
from tests.databases import LiveDatabase, PostgreSQLDatabase, SQLiteDatabase
from tests.services.postgres import RealPostgres


@pytest.fixture
def database(pg: RealPostgres) -> Iterator[PostgreSQLDatabase]:
    """A filled database on each version."""
    made = PostgreSQLDatabase(pg)
    made.fill()
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> SQLiteDatabase:
    """A filled SQLite file."""
    folder = tmp_path / "database"
    folder.mkdir()
    made = SQLiteDatabase(folder, "wal")
    made.fill()
    return made


def _oid(database: PostgreSQLDatabase, name: str) -> int:
    query = "SELECT oid::bigint FROM pg_database WHERE datname = %s"
    return int(database.cluster.query(query, name)[0][0])


def _interrupted(database: PostgreSQLDatabase, folder: DataFolder, restored: str) -> Journal:
    """A restore that died in its swap; `restored` is the database it had staged."""
    journal = Journal.begin(folder, "live", "postgresql", "restore", "x.zip")
    journal.advance(
        Step.SWAPPING,
        undo_days=7,
        live=database.name,
        live_oid=_oid(database, database.name),
        staged=restored,
        staged_oid=_oid(database, restored),
        parked=f"{database.name}__before_20260101_000000_0000",
    )
    return journal


def _stuck_ways(live: LiveDatabase, folder: DataFolder) -> tuple[Journal, list[str]]:
    found = look_stuck(live.target, folder)
    assert found is not None
    return found[0], [way.id for way in found[1].ways]


@pytest.mark.parametrize("choice", ["former", "restored"])
def test_a_name_that_is_gone_is_given_back(
    database: PostgreSQLDatabase, folder: DataFolder, choice: str
) -> None:
    restored = f"{database.name}__restore_20260101_000000_0000"
    aside = f"{database.name}__before_20260101_000000_ffff"
    before = database.fingerprint()
    database.cluster.query(f'CREATE DATABASE "{restored}" OWNER "ops tester"')
    database.cluster.query(f'REVOKE ALL ON DATABASE "{restored}" FROM PUBLIC')
    _interrupted(database, folder, restored)
    database.cluster.query(f'ALTER DATABASE "{database.name}" RENAME TO "{aside}"')
    with pytest.raises(NeedsHuman, match="interrupted"):
        restore_backup(database.target, Path("no.zip"), folder)
    found = look_stuck(database.target, folder)
    assert found is not None
    told = " ".join(found[1].found)
    assert f"{aside}: the database as it was before the restore" in told
    assert f"{restored}: the database from the backup" in told
    assert [way.id for way in found[1].ways] == ["former", "restored"]
    take_way_out(database.target, folder, found[0].id, choice)
    assert not unsettled(database.target, folder)
    points = undo_points(database.target, folder)
    if choice == "former":
        assert database.fingerprint() == before
        assert points == []
        assert database.neighbours() == set()  # what was being restored goes
    else:
        assert database.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
        assert [point.location for point in points] == [aside]
        enters = "SELECT has_database_privilege('ops reader', current_database(), 'CONNECT')"
        assert database.rows(enters) == [(True,)]  # as before, though not while it was staged
        undo_restore(database.target, folder)
        assert database.fingerprint() == before


def test_a_former_database_under_a_name_of_somebody_elses_can_be_kept_and_dropped(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    """And one that somebody made under the name that was meant for it stays as it is."""
    restored, aside = f"{database.name}__restore_20260101_000000_0000", f"{database.name}_old"
    before = database.fingerprint()
    login = f"ops_restore_{secrets.token_hex(8)}"
    database.cluster.query(f'CREATE DATABASE "{restored}" OWNER "ops tester"')
    database.cluster.query(f"CREATE ROLE {login}")
    database.cluster.query(f'GRANT {login} TO "ops tester" WITH ADMIN OPTION')
    database.cluster.query('ALTER ROLE "ops tester" CREATEROLE')
    journal = _interrupted(database, folder, restored)
    journal.advance(Step.SWAPPING, guest=login)
    database.cluster.query(f'ALTER DATABASE "{database.name}" RENAME TO "{aside}"')
    taken = str(journal.facts["parked"])
    database.cluster.query(f'CREATE DATABASE "{taken}"')
    take_way_out(database.target, folder, journal.id, "restored")
    (point,) = undo_points(database.target, folder)
    assert point.location not in (aside, taken)
    assert database.neighbours() == {point.location, taken}
    undo_restore(database.target, folder)
    assert database.fingerprint() == before
    (point,) = undo_points(database.target, folder)
    delete_undo_point(database.target, folder, point.id)
    assert database.neighbours() == {taken}
    logins = "SELECT count(*) FROM pg_roles WHERE rolname = %s"
    assert database.cluster.query(logins, login) == [(0,)]
    database.cluster.query('ALTER ROLE "ops tester" NOCREATEROLE')


def test_an_undo_point_that_a_person_put_in_place_is_used_up(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    before = database.fingerprint()
    archive = create_backup(database.target, folder).archive
    database.drift()
    restore_backup(database.target, archive, folder)
    (source,) = undo_points(database.target, folder)
    aside = f"{database.name}__undone_20260101_000000_ffff"
    journal = Journal.begin(folder, "live", "postgresql", "undo", source.id)
    journal.advance(
        Step.SWAPPING,
        undo_days=7,
        live=database.name,
        live_oid=_oid(database, database.name),
        staged=source.location,
        staged_oid=_oid(database, source.location),
        parked=f"{database.name}__undone_20260101_000000_0000",
    )
    database.cluster.query(f'ALTER DATABASE "{database.name}" RENAME TO "{aside}"')
    found, ways = _stuck_ways(database, folder)
    assert ways == ["former", "restored"]
    take_way_out(database.target, folder, found.id, "restored")
    assert database.fingerprint() != before
    settle_target(database.target, folder)
    assert [point.location for point in undo_points(database.target, folder)] == [aside]
    undo_restore(database.target, folder)
    assert database.fingerprint() == before


def test_a_database_that_somebody_else_made_stays(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    restored = f"{database.name}__restore_20260101_000000_0000"
    aside = f"{database.name}__before_20260101_000000_ffff"
    before = database.fingerprint()
    database.cluster.query(f'CREATE DATABASE "{restored}" OWNER "ops tester"')
    _interrupted(database, folder, restored)
    database.cluster.query(f'ALTER DATABASE "{database.name}" RENAME TO "{aside}"')
    database.cluster.query(f'CREATE DATABASE "{database.name}" OWNER "ops tester"')
    journal, ways = _stuck_ways(database, folder)
    assert ways == ["keep"]
    with pytest.raises(Refused, match="no longer there"):
        take_way_out(database.target, folder, journal.id, "former")
    take_way_out(database.target, folder, journal.id, "keep")
    assert look_stuck(database.target, folder) is None
    undo_restore(database.target, folder)
    assert database.fingerprint() == before


def test_a_file_that_went_on_changing_stays(file: SQLiteDatabase, folder: DataFolder) -> None:
    archive = create_backup(file.target, folder).archive
    before = file.fingerprint()
    restore_backup(file.target, archive, folder)
    (done,) = journals_of(folder, "live")
    done.step, done.ended_at, done.undo, done.undo_until = Step.SWAPPING, None, None, None
    done.write()
    file.run("CREATE TABLE meanwhile (a)")
    with pytest.raises(NeedsHuman):
        restore_backup(file.target, archive, folder)
    journal, ways = _stuck_ways(file, folder)
    assert ways == ["keep"]
    take_way_out(file.target, folder, journal.id, "keep")
    assert file.rows("SELECT count(*) FROM meanwhile") == [(0,)]
    undo_restore(file.target, folder)
    assert file.fingerprint() == before
    assert_nothing_left(file, folder)


def test_what_a_rule_settles_asks_nobody(file: SQLiteDatabase, folder: DataFolder) -> None:
    Journal.begin(folder, "live", "sqlite", "restore", "x.zip")
    assert unsettled(file.target, folder)
    assert look_stuck(file.target, folder) is None
    assert not unsettled(file.target, folder)


def test_a_damaged_note_of_a_restore_is_told_by_name(
    file: SQLiteDatabase, folder: DataFolder
) -> None:
    (folder.journals / "x.json").write_text("{")
    with pytest.raises(NeedsHuman, match=r"x\.json"):
        journals_of(folder, "live")

"""What a restore beside the live database leaves behind, leaves out, and says about it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from ops import (
    DataFolder,
    OpsError,
    Target,
    create_backup,
    restore_backup,
    undo_points,
    undo_restore,
)
from ops.dialects.base import NoticeLevel
from ops.errors import PreflightRefused, ToolFailed
from ops.journal import journals_of
from ops.undo import expire_undo_points
from ops.verify import prove_archive
from tests.archives import assert_nothing_left, notice_about
from tests.databases import ROLE, PostgreSQLDatabase
from tests.services.postgres import RealPostgres


@pytest.fixture
def database(pg: RealPostgres) -> Iterator[PostgreSQLDatabase]:
    """A filled database on each version."""
    made = PostgreSQLDatabase(pg)
    made.fill()
    yield made
    made.close()


_SUBSCRIBE = (
    "CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 dbname=x' PUBLICATION p "
    "WITH (connect = false, slot_name = NONE)"
)


def test_a_subscription_is_neither_doubled_nor_lost(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    """A database that has one can neither be dropped nor, once renamed, be left to itself."""
    superuser = Target.parse("live", database.cluster.url(database.name))
    database.as_superuser(_SUBSCRIBE)
    archive = create_backup(superuser, folder).archive
    for target in (superuser, database.target):
        with pytest.raises(PreflightRefused, match=r"subscription \(sub\).*Nothing was changed"):
            restore_backup(target, archive, folder)
        assert prove_archive(target, archive, folder).ok
    database.as_superuser("DROP SUBSCRIPTION sub")
    done = restore_backup(superuser, archive, folder)
    assert any("Subscriptions" in note for note in done.notes)
    assert database.as_superuser("SELECT count(*) FROM pg_subscription") == [(0,)]
    database.as_superuser(_SUBSCRIBE)
    with pytest.raises(PreflightRefused, match=r"subscription \(sub\)"):
        undo_restore(superuser, folder)
    database.as_superuser("DROP SUBSCRIPTION sub")
    undo_restore(superuser, folder)
    assert_nothing_left(database, folder)


def test_an_undo_point_that_cannot_go_does_not_keep_the_others(
    database: PostgreSQLDatabase, folder: DataFolder
) -> None:
    superuser = Target.parse("live", database.cluster.url(database.name))
    archive = create_backup(superuser, folder).archive
    for _ in range(2):
        restore_backup(superuser, archive, folder, undo_days=1)
    newer, older = undo_points(superuser, folder)
    stuck = newer.location
    database.cluster.query(f'ALTER DATABASE "{stuck}" ALLOW_CONNECTIONS true')
    database.cluster.query(_SUBSCRIBE, db=stuck)
    for journal in journals_of(folder, "live"):
        journal.undo_until = journal.undo_over = "2020-01-01T00:00:00+00:00"
        journal.write()
    assert [point.id for point in expire_undo_points(superuser, folder)] == [older.id]
    with pytest.raises(OpsError, match=r"reported an error|Other programs"):
        expire_undo_points(superuser, folder)
    database.cluster.query("DROP SUBSCRIPTION sub", db=stuck)
    assert [point.id for point in expire_undo_points(superuser, folder)] == [newer.id]


def test_an_extension_for_administrators_is_left_out_where_nothing_needs_it(
    pg16: RealPostgres, folder: DataFolder
) -> None:
    database = PostgreSQLDatabase(pg16)
    database.run("CREATE TABLE plain AS SELECT 1 AS n")
    database.as_superuser("CREATE EXTENSION vector")
    archive = create_backup(database.target, folder).archive
    told = notice_about(database.target, archive, folder, "(vector)")
    assert told.level is NoticeLevel.WARN
    assert prove_archive(database.target, archive, folder).ok
    done = restore_backup(database.target, archive, folder)
    (note,) = [note for note in done.notes if "left out (vector)" in note]
    database.as_superuser(note.partition("run: ")[2])
    database.run("CREATE TABLE needs_it (v public.vector(3))")
    archive = create_backup(database.target, folder).archive
    with pytest.raises(ToolFailed, match=r"refused a part.*Nothing was changed") as failed:
        restore_backup(database.target, archive, folder)
    assert "vector" in failed.value.detail
    database.as_superuser(f'ALTER ROLE "{ROLE}" SUPERUSER')
    try:
        restore_backup(database.target, archive, folder)
    finally:
        database.as_superuser(f'ALTER ROLE "{ROLE}" NOSUPERUSER')
    assert database.as_superuser("SELECT extname FROM pg_extension WHERE extname = 'vector'")
    database.close()


def test_a_user_who_is_gone_locks_nobody_else_out(pg: RealPostgres, folder: DataFolder) -> None:
    """The app owns the database; who has gone was only allowed to read a table."""
    database = PostgreSQLDatabase(pg)
    app, reader = f"app {secrets.token_hex(3)}", f"reader_{secrets.token_hex(3)}"
    for statement in (
        f'CREATE ROLE "{app}"',
        f'GRANT "{app}" TO "{ROLE}"',
        f"CREATE ROLE {reader}",
        f'ALTER DATABASE "{database.name}" OWNER TO "{app}"',
        f'GRANT CREATE ON SCHEMA public TO "{app}"',
    ):
        database.as_superuser(statement)
    database.run(f'SET ROLE "{app}"; CREATE TABLE t (n int); GRANT SELECT ON t TO {reader}')
    archive = create_backup(database.target, folder).archive
    database.as_superuser(f"DROP OWNED BY {reader}")
    database.as_superuser(f"DROP ROLE {reader}")
    told = notice_about(database.target, archive, folder, reader)
    assert told.level is NoticeLevel.WARN
    done = restore_backup(database.target, archive, folder)
    assert any("all grants to others were left out" in note for note in done.notes)
    owner = database.rows("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 't'")
    assert owner == [(app,)]
    database.as_superuser(told.hint.partition("run: ")[2])
    undo_restore(database.target, folder)
    restore_backup(database.target, archive, folder)
    granted = f"SELECT has_table_privilege('{reader}', 't', 'SELECT')"
    assert database.rows(granted) == [(True,)]
    database.close()
    for role in (reader, app):
        pg.query(f'DROP OWNED BY "{role}"')
        pg.query(f'DROP ROLE "{role}"')


def test_an_extension_that_we_may_make_comes_back(
    contrib: RealPostgres, folder: DataFolder
) -> None:
    """Also where it makes a type of its own."""
    database = PostgreSQLDatabase(contrib)
    database.run("CREATE EXTENSION tablefunc; CREATE TABLE t AS SELECT 1 AS n")
    database.run(
        "CREATE FUNCTION needs_it() RETURNS SETOF tablefunc_crosstab_2 LANGUAGE sql AS "
        "'SELECT NULL::text, NULL::text, NULL::text'"
    )
    archive = create_backup(database.target, folder).archive
    done = restore_backup(database.target, archive, folder)
    assert not any("left out" in note for note in done.notes)
    assert database.rows("SELECT 1 FROM pg_extension WHERE extname = 'tablefunc'") == [(1,)]
    database.close()


def test_what_may_not_be_given_to_its_owner_is_ours_where_users_are_unknown(
    pg: RealPostgres, folder: DataFolder
) -> None:
    database = PostgreSQLDatabase(pg)
    reader = f"reader_{secrets.token_hex(3)}"
    database.as_superuser(f"CREATE ROLE {reader}")
    database.run(f"CREATE TABLE t AS SELECT 1 AS n; GRANT SELECT ON t TO {reader}")
    database.as_superuser("CREATE TABLE of_postgres AS SELECT 1 AS n")
    database.as_superuser(f'GRANT SELECT ON of_postgres TO "{ROLE}"')
    archive = create_backup(database.target, folder).archive
    database.as_superuser(f"DROP OWNED BY {reader}")
    database.as_superuser(f"DROP ROLE {reader}")
    restore_backup(database.target, archive, folder)
    assert database.rows("SELECT n FROM of_postgres") == [(1,)]
    database.close()

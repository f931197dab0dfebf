"""An interrupted restore that no rule covers: what there is, and what a person may choose."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, text

from ops.dialects.base import Stuck, WayOut
from ops.dialects.postgresql import guest
from ops.dialects.postgresql.connect import database_of, maintenance
from ops.dialects.postgresql.growth import size_of
from ops.dialects.postgresql.names import beside, is_ours, quoted, run_plain
from ops.dialects.postgresql.staging import drop
from ops.dialects.postgresql.swap import carry_over
from ops.errors import Refused
from ops.journal import Journal, Step

_OURS: Final = """
SELECT datname, oid::bigint AS oid,
       CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) END AS size
FROM pg_database
WHERE datname = :live OR oid = ANY (CAST(:oids AS oid[]))
ORDER BY datname
"""

_KEEP: Final = WayOut(
    "keep",
    "Leave everything as it is",
    "The database in use stays as it is now, whatever it is. The one from before the restore, "
    "if it is there, is kept as an undo point, so you can still go back to it. What was being "
    "restored, if it is not in use, is removed; the backup itself stays.",
)
_FORMER: Final = WayOut(
    "former",
    "Put back the database as it was before the restore",
    "It gets its former name back, with all that was in it. What was being restored is removed; "
    "the backup itself stays.",
)
_RESTORED: Final = WayOut(
    "restored",
    "Use the database from the backup",
    "The one that was being restored gets the name. The one from before is kept as an undo "
    "point, if it is there. Nothing is deleted.",
)


def look(engine: Engine, journal: Journal) -> Stuck:
    """The databases that the restore was about, known by their oids."""
    if "keep" in journal.facts:
        return _look_in_place(engine, journal)
    live, former, restored = database_of(engine), *_oids(journal)
    with maintenance(engine) as connection:
        rows = connection.execute(
            text(_OURS), {"live": live, "oids": [o for o in (former, restored) if o]}
        ).all()
    found, present = [], {oid: name for name, oid, _ in rows}
    for name, oid, size in rows:
        meaning = {
            former: "the database as it was before the restore",
            restored: "the database from the backup",
        }.get(oid, "a database that this restore does not know; somebody else made it")
        found.append(f"{name}: {meaning}" + (f", {size:,} bytes" if size is not None else ""))
    if live in present.values():
        return Stuck(tuple(found), (_KEEP,))
    found.append(f"There is no database named {live}, so programs cannot reach it.")
    ways = [way for way, oid in ((_FORMER, former), (_RESTORED, restored)) if oid in present]
    return Stuck(tuple(found), tuple(ways))


def _look_in_place(engine: Engine, journal: Journal) -> Stuck:
    """One database, which is either as before or as in the backup, and its safety dump."""
    found = [f"{database_of(engine)}: the database in use"]
    keep = Path(str(journal.facts["keep"]))
    if keep.exists():
        size = keep.stat().st_size
        found.append(f"{keep.name}: the database as it was before the restore, {size:,} bytes")
    return Stuck(tuple(found), (_KEEP,))


def take(engine: Engine, journal: Journal, way: str) -> None:
    """Do it, clean up, and close the journal. Nothing but our own staging database goes."""
    if way not in {offered.id for offered in look(engine, journal).ways}:
        raise Refused("This choice is no longer there.", "Look at the page anew.")
    keep = Path(str(journal.facts.get("keep", "")))
    if "keep" in journal.facts:
        if keep.exists():
            journal.keep_undo_file(keep)
        journal.advance(Step.CLOSED, way=way)
        return
    with maintenance(engine, autocommit=False) as connection:
        _give_name(connection, database_of(engine), journal, way)
        _keep_former(connection, database_of(engine), journal)
        connection.commit()
    is_used = _remove_staged(engine, journal)
    journal.advance(Step.CLOSED, way=way, source_is_live=int(is_used))


def _give_name(connection: Connection, live: str, journal: Journal, way: str) -> None:
    """The chosen database gets the live name, and is opened to whom the former one was."""
    former, restored = _oids(journal)
    chosen = {"former": former, "restored": restored}.get(way)
    name = _name_of(connection, chosen) if chosen else None
    if name is None:
        return
    if way == "restored" and journal.verb == "restore":
        is_there = _name_of(connection, former) is not None
        everybody = f"GRANT CONNECT, TEMPORARY ON DATABASE {quoted(name)} TO PUBLIC"
        for statement in carry_over(connection, former, name) if is_there else (everybody,):
            run_plain(connection, statement)
    run_plain(connection, f"ALTER DATABASE {quoted(name)} WITH ALLOW_CONNECTIONS true")
    run_plain(connection, f"ALTER DATABASE {quoted(name)} RENAME TO {quoted(live)}")


def _keep_former(connection: Connection, live: str, journal: Journal) -> None:
    """The former live database, where it is not live, becomes an undo point. If somebody has
    given it a name of their own it gets one of ours, by which alone it may be dropped later."""
    former, _ = _oids(journal)
    name = _name_of(connection, former)
    if name is None or name == live:
        return
    if not is_ours(name):
        parked = beside(live, "before")
        run_plain(connection, f"ALTER DATABASE {quoted(name)} RENAME TO {quoted(parked)}")
        name = parked
    days = int(journal.facts.get("undo_days", 7))
    journal.keep_undo(name, size_of(connection, name), days)


def _remove_staged(engine: Engine, journal: Journal) -> bool:
    """Drop what was staged, and its login; whether it is live, and was therefore left alone.

    What an undo had put in place is an undo point, and stays one.
    """
    live, (_, restored) = database_of(engine), _oids(journal)
    with maintenance(engine) as connection:
        name = _name_of(connection, restored)
    if name is not None and name != live and journal.verb != "undo" and is_ours(name):
        drop(engine, name)
    if journal.facts.get("guest"):
        guest.leave(engine, str(journal.facts["guest"]), live if name == live else None)
    return name == live


def _oids(journal: Journal) -> tuple[int, int]:
    """Of the former live database and of the restored one; 0 where not known."""
    return int(journal.facts.get("live_oid", 0)), int(journal.facts.get("staged_oid", 0))


def _name_of(connection: Connection, oid: int) -> str | None:
    query = text("SELECT datname FROM pg_database WHERE oid = CAST(:oid AS oid)")
    name = connection.execute(query, {"oid": oid}).scalar()
    return None if name is None else str(name)

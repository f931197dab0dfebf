"""An interrupted restore that no rule covers: what there is, and what a person may choose."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, text

from ops.dialects.base import Stuck, WayOut
from ops.dialects.postgresql.connect import database_of, maintenance
from ops.dialects.postgresql.names import oid_of, quoted, run_plain
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
    "if it is there, is kept as an undo point, so you can still go back to it.",
)
_FORMER: Final = WayOut(
    "former",
    "Put back the database as it was before the restore",
    "It gets its former name back, with all that was in it. Nothing is deleted.",
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
    """Renames at the most; then the journal is closed."""
    if way not in {offered.id for offered in look(engine, journal).ways}:
        raise Refused("This choice is no longer there.", "Look at the page anew.")
    keep = Path(str(journal.facts.get("keep", "")))
    if "keep" in journal.facts and keep.exists():
        journal.keep_undo_file(keep)
    elif "keep" not in journal.facts:
        _give_name(engine, journal, way)
    journal.advance(Step.CLOSED, way=way)


def _give_name(engine: Engine, journal: Journal, way: str) -> None:
    """The chosen database gets the live name; the former one, where it is not that, is kept."""
    live, former, restored = database_of(engine), *_oids(journal)
    with maintenance(engine) as connection:
        chosen = {"former": former, "restored": restored}.get(way)
        if chosen is not None:
            name = quoted(_name_of(connection, chosen) or "")
            run_plain(connection, f"ALTER DATABASE {name} RENAME TO {quoted(live)}")
            run_plain(connection, f"ALTER DATABASE {quoted(live)} WITH ALLOW_CONNECTIONS true")
        parked = _name_of(connection, former)
        if parked is not None and former != oid_of(connection, live):
            size = connection.execute(
                text("SELECT pg_database_size(CAST(:oid AS oid))"), {"oid": former}
            ).scalar()
            journal.keep_undo(parked, int(size or 0), int(journal.facts.get("undo_days", 7)))


def _oids(journal: Journal) -> tuple[int, int]:
    """Of the former live database and of the restored one; 0 where not known."""
    return int(journal.facts.get("live_oid", 0)), int(journal.facts.get("staged_oid", 0))


def _name_of(connection: Connection, oid: int) -> str | None:
    query = text("SELECT datname FROM pg_database WHERE oid = CAST(:oid AS oid)")
    name = connection.execute(query, {"oid": oid}).scalar()
    return None if name is None else str(name)

"""What is asked about a PostgreSQL database by a job, because it reads every index.

It is asked of the live database. In a copy that a test restore makes the indexes are built
anew, so there is nothing to be learnt from them about those of the live database; whether every
record could be read, and whether every rule holds, such a restore has then shown itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ops.checks.base import CannotCheck, Check, Context, Level, Reading
from ops.checks.words import listed, many

_AMCHECK: Final = """
SELECT quote_ident(n.nspname) AS place FROM pg_extension e
JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'
"""
_INDEXES: Final = """
SELECT i.indexrelid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am a ON a.oid = c.relam
WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence <> 't'
  AND i.indisvalid AND i.indisready ORDER BY c.relpages
"""
_DAMAGE: Final = ("XX001", "XX002")
_REFUSED: Final = "42501"


def _structure(context: Context, check: Check) -> Reading:
    places = context.ask(_AMCHECK)
    if context.facts["is_copy"] or not places or not context.is_deep:
        return _left_out(bool(places))
    ask = f"SELECT {places[0]['place']}.bt_index_check({{oid}}::regclass)"
    indexes = context.ask(_INDEXES)
    refused = {index["name"]: _refusal(context, ask.format(oid=index["oid"])) for index in indexes}
    told = {name: cannot for name, cannot in refused.items() if cannot is not None}
    broken = {name: one for name, one in told.items() if one.detail.startswith(_DAMAGE)}
    if broken:
        names = tuple(broken)
        detail = "\n".join(f"{name}: {cannot.detail}" for name, cannot in broken.items())
        words = {"indexes": listed(names), "is": "is" if len(names) == 1 else "are"}
        return Reading(check.judge(len(names)), words, len(names), detail, subjects=names)
    if told:
        raise _unasked(context, places[0]["place"], told)
    return Reading(Level.GOOD, {"indexes": many(len(indexes), "index", "indexes")}, 0)


def _refusal(context: Context, question: str) -> CannotCheck | None:
    try:
        context.ask(question)
    except CannotCheck as cannot:
        return cannot
    return None


def _unasked(context: Context, place: str, told: Mapping[str, CannotCheck]) -> CannotCheck:
    name, first = next(iter(told.items()))
    hint = first.hint
    if first.detail.startswith(_REFUSED):
        hint = (
            "As the server's administrator, run in this database: GRANT EXECUTE ON FUNCTION "
            f"{place}.bt_index_check(regclass) TO {context.facts['role']};"
        )
    reason = f"{many(len(told), 'index', 'indexes')} could not be looked at"
    return CannotCheck(reason, hint, f"{name}: {first.detail}")


def _left_out(is_installed: bool) -> Reading:
    if is_installed:
        why = "this reads every index, which a page does not wait for"
        fix = "Press “Take the deep look now” on the Health page."
    else:
        why = "the server's addition amcheck is not in this database"
        fix = "As the server's administrator, run in this database: CREATE EXTENSION amcheck;"
    return Reading(
        Level.INFO, sentence=f"Not looked at: {why}.", fix=fix, looked_at=False, remedy=()
    )


CHECKS: Final = (
    Check(
        id="postgresql.structure",
        title="Sound indexes",
        measure=_structure,
        finding="{indexes} {is} damaged: searches may miss records, and duplicates may slip in.",
        why="An index is a sorted list that makes searching fast, and this one is out of order; "
        "a failing disk or a change of the operating system may be behind it.",
        fix="Do not delete any backup. Build the index anew, run a test restore of the newest "
        "backup, and have the disk looked at.",
        good="All {indexes} are sound.",
        unit="indexes",
        critical=1,
        source="amcheck, bt_index_check: any error",
        remedy=("postgresql.reindex",),
        needs="the extension amcheck, and EXECUTE on its functions",
        deep=True,
    ),
)

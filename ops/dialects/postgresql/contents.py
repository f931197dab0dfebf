"""What is inside a dump, by pg_restore's table of contents: one line an entry, such as
`224; 1259 16443 TABLE public bulk owner`, where 1259 is the catalogue and 16443 the oid."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ops.archive.manifest import Manifest
from ops.dialects.postgresql.guest import IS_SUPERUSER
from ops.dialects.postgresql.names import quoted, run_plain
from ops.dialects.postgresql.reading import read_through
from ops.dialects.postgresql.tools import ClientTools

_ENTRY: Final = re.compile(r"\d+; (\d+) (\d+) (.*)")
_TABLE: Final = re.compile(r"TABLE (?!DATA |ATTACH )")
_EXTENSION: Final = re.compile(r"(COMMENT - )?EXTENSION ")
_MADE_EXTENSION: Final = re.compile(r"EXTENSION - (\S+)")
_NO_RIGHT: Final = "42501"
_TRIAL: Final = "ops_trial"
_SYSTEM_GRANT: Final = re.compile(r"ACL (pg_catalog|information_schema) ")
"""What somebody was allowed to do with the server's own functions and views. pg_dump saves it as
part of the database; only a superuser can bring it back."""

_FOR_ADMINISTRATORS: Final = re.compile(
    r"(EVENT TRIGGER|FOREIGN DATA WRAPPER|ACCESS METHOD|SUBSCRIPTION|OPERATOR CLASS"
    r"|OPERATOR FAMILY|TEXT SEARCH PARSER|TEXT SEARCH TEMPLATE|PROCEDURAL LANGUAGE"
    r"|TRANSFORM|SECURITY LABEL) "
)
"""What only a superuser may make (manual, CREATE … of each)."""


def archive_major(manifest: Manifest) -> int:
    """The major version of the pg_dump that made the archive; 0 where it does not say."""
    found = re.search(r"(\d+)", manifest.database.tool) if manifest.database else None
    return int(found[1]) if found else 0


def needs_zstd(manifest: Manifest) -> bool:
    """Whether only a pg_restore with zstd reads the dump."""
    told = manifest.database.details if manifest.database else {}
    return told.get("compression") == "zstd"


def entries_of(tools: ClientTools, dump: Path) -> list[str]:
    """The lines of the table of contents. Raises BadArchive when it cannot be read."""
    with tempfile.NamedTemporaryFile() as listing:
        read_through(tools, dump, "--list", f"--file={listing.name}")
        told = listing.read().decode(errors="surrogateescape")  # in the archive's encoding
    return [line for line in re.split(r"\r?\n", told) if _ENTRY.match(line)]


def for_administrators(entries: list[str]) -> list[str]:
    """The entries that only a superuser can bring back."""
    told = [line.split(" ", 3)[3] for line in entries if _ENTRY.match(line)]
    return [entry for entry in told if _FOR_ADMINISTRATORS.match(entry)]


def around_extensions(entries: list[str], kept_schemas: Collection[str] = ()) -> list[str]:
    """The entries without the extensions, their own tables' rows, grants on the server's own
    objects, and `kept_schemas`: for a database in which all those stay as they are.

    A table of an extension has rows in a dump, but no definition.
    """
    taken = [match for line in entries if (match := _ENTRY.fullmatch(line))]
    tables = {match[2] for match in taken if _TABLE.match(match[3])}
    schemas = tuple(f"SCHEMA - {name} " for name in kept_schemas)
    return [
        match[0]
        for match in taken
        if not _EXTENSION.match(match[3])
        and not _SYSTEM_GRANT.match(match[3])
        and not (match[3].startswith("TABLE DATA ") and match[2] not in tables)
        and not match[3].startswith(schemas)
    ]


def within_reach(connection: Connection, entries: list[str]) -> tuple[list[str], list[str]]:
    """The entries that whoever is signed in at the empty staging database may bring back, and notes
    about the rest. In the transaction of `connection`, which is rolled back.

    Whether an extension may be made is tried: managed servers allow more than PostgreSQL's own
    catalogue says.
    """
    if connection.execute(text(IS_SUPERUSER)).scalar():
        return entries, []
    told = {line: match[3] for line in entries if (match := _ENTRY.fullmatch(line))}
    reachable = [line for line, what in told.items() if not _SYSTEM_GRANT.match(what)]
    notes = [] if reachable == entries else [_SYSTEM_GRANTS_LEFT_OUT]
    named = [match[1] for what in told.values() if (match := _MADE_EXTENSION.match(what))]
    refused = [name for name in named if not _may_be_made(connection, name)]
    gone = {f"EXTENSION - {name}" for name in refused}
    gone |= {f"COMMENT - EXTENSION {way}" for name in refused for way in (name, quoted(name))}
    if refused:
        notes.append(
            f"Extensions that only the server's administrator may make were left out "
            f"({shown(refused)}). As such, run: "
            + " ".join(f"CREATE EXTENSION {quoted(name)};" for name in refused)
        )
    return [line for line in reachable if told[line].rstrip() not in gone], notes


def _may_be_made(connection: Connection, extension: str) -> bool:
    try:
        # Not in the schema of our own search path, where nobody may make tables or types.
        run_plain(connection, f"CREATE SCHEMA {_TRIAL}")
        run_plain(connection, f"CREATE EXTENSION {quoted(extension)} SCHEMA {_TRIAL} CASCADE")
    except DBAPIError as cause:
        return getattr(cause.orig, "pgcode", "") != _NO_RIGHT  # pg_restore tells of other errors
    finally:
        connection.rollback()
    return True


_SYSTEM_GRANTS_LEFT_OUT: Final = (
    "What users were allowed to do with the server's own functions was left out: only its "
    "administrator may give that. Where the console could not look at something afterwards, the "
    "Health page says which grant helps."
)


def write_listing(entries: list[str], path: Path) -> None:
    """Write `entries` as pg_restore's --use-list reads them, in the archive's own encoding."""
    path.write_bytes("".join(f"{line}\n" for line in entries).encode(errors="surrogateescape"))


def owner_options(
    connection: Connection,
    entries: list[str],
    manifest: Manifest,
    live: str,
    *,
    in_place: bool = False,
) -> tuple[list[str], list[str]]:
    """Options of pg_restore and notes, where users that the archive names are not known to
    this server; or, `in_place`, may not be given anything by the console's user.

    Where some are unknown, grants are left out; and with them owners go as well, unless all may
    create in any schema without a grant: the owner of the database `live`, for example.
    """
    known = list(connection.execute(text(_ROLES)).scalars())
    missing = shown(sorted(_owners_beside(entries, known) | (_named_roles(manifest) - set(known))))
    at_home = list(connection.execute(text(_AT_HOME), {"live": live}).scalars())
    if missing and _owners_beside(entries, at_home):
        note = (
            f"The backup names users unknown to this server ({missing}). Here "
            "everything belongs to the console's user, and grants to others were left out."
        )
        return ["--no-owner", "--no-privileges"], [note]
    options, notes = [], []
    if missing:
        options.append("--no-privileges")
        notes.append(
            f"The backup names users unknown to this server ({missing}). Everything belongs to "
            "whom it belonged, but all grants to others were left out."
        )
    others = in_place and _owners_beside(entries, list(connection.execute(text(_OURS)).scalars()))
    if others:
        options.append("--no-owner")
        notes.append(
            f"What belonged to {shown(sorted(others))} belongs to the console's user here, "
            "which may not give anything to others."
        )
    return options, notes


def unknown_roles(connection: Connection, manifest: Manifest) -> list[str]:
    """The roles that the manifest names and this server does not have."""
    return sorted(_named_roles(manifest) - set(connection.execute(text(_ROLES)).scalars()))


_ROLES: Final = "SELECT rolname FROM pg_roles"
_AT_HOME: Final = """
SELECT rolname FROM pg_roles r
WHERE rolname IN (current_user, 'pg_database_owner')
   OR pg_has_role(oid, 'MEMBER')
      AND (rolsuper OR EXISTS (SELECT 1 FROM pg_database WHERE datname = :live AND datdba = r.oid))
"""
_OURS: Final = "SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')"


def shown(names: list[str]) -> str:
    """Names for people; what is not valid in the dump's encoding shows as question marks."""
    return ", ".join(names).encode(errors="replace").decode()


def _owners_beside(entries: list[str], roles: list[str]) -> set[str]:
    """Owners other than `roles`. A line ends with its owner, whose name may hold spaces, or
    with none."""
    ends = (" ", *(f" {role}" for role in roles))
    return {line.rsplit(" ", 1)[1] for line in entries if not line.endswith(ends)}


def _named_roles(manifest: Manifest) -> set[str]:
    """The roles that the manifest names; none where it does not, or not in our way."""
    told = manifest.database.details.get("roles", "[]") if manifest.database else "[]"
    try:
        roles = json.loads(str(told))
    except (ValueError, RecursionError):
        return set()
    return {str(role) for role in roles} if isinstance(roles, list) else set()

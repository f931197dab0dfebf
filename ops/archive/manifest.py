"""The manifest: what an archive says of itself.

Version 2 is written here; version 1 (no hashes, no counts) is still read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from ops.errors import BadArchive, NotABackup

SCHEMA_VERSION: Final = 2
MANIFEST_NAME: Final = "manifest.json"
MANIFEST_LIMIT: Final = 16 << 20
"""Bytes; 5,000 tables with 20 columns each need about 3 MB."""

MOST_BLOCKS: Final = 250_000
"""Of an entry, a quarter of a TiB; where there are more, their lengths are left out, which would
need too much of the limit. All is then read as one stream."""

MOST_COLUMNS: Final = 100_000
"""Beyond so many, their names are left out: they would need more than the limit."""

_MOST_TABLES: Final = 50_000
_MOST_CONTENTS: Final = 8
MOST_COLUMNS_OF_ONE: Final = 2_100
"""PostgreSQL allows 1,600 columns, SQLite 2,000 unless built otherwise; the names of a table with
more are left out."""
_MOST_DETAILS: Final = 40
_LONGEST_NAME: Final = 1_000
"""Characters of a table's name; beyond 128 PostgreSQL cannot go, and nobody does."""
_YEARS: Final = range(1970, 2201)

Whole = Annotated[int, Field(ge=0, lt=1 << 63)]
"""A count or a size; larger ones no database has."""


def _plausible(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError("a year that cannot be")
    return moment


Moment = Annotated[datetime, AfterValidator(_plausible)]
"""A time that can be reckoned with in every time zone."""

Detail = Annotated[str, Field(max_length=1_000)]


class TableRows(BaseModel):
    """The exact rows of one table at the snapshot, the names of its columns, and where asked for
    a checksum of its content, `METHOD:VALUE`; only values of the same method can be compared."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(max_length=_LONGEST_NAME)
    rows: Whole
    checksum: str | None = Field(default=None, max_length=100)
    columns: tuple[Detail, ...] | None = Field(default=None, max_length=MOST_COLUMNS_OF_ONE)


class EntryProof(BaseModel):
    """Size in bytes and SHA-256 of one uncompressed entry.

    `blocks` tells how many bytes each MiB of it takes up in the ZIP, where they can be unpacked
    side by side. It is no promise, only a help in reading, and no part of the seal.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(max_length=200)
    size: Whole
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    blocks: str = Field(
        default="", max_length=8 * MOST_BLOCKS, pattern=r"^([0-9]{1,7}( [0-9]{1,7})*)?$"
    )

    @property
    def promise(self) -> tuple[int, str]:
        """What content must have to be the one that was saved."""
        return self.size, self.sha256

    @property
    def block_lengths(self) -> list[int]:
        """`blocks` in numbers."""
        return [int(length) for length in self.blocks.split()]


def blocks_of(lengths: Sequence[int]) -> str:
    """`EntryProof.blocks` of these lengths."""
    return " ".join(map(str, lengths)) if len(lengths) <= MOST_BLOCKS else ""


class DatabaseInfo(BaseModel):
    """The database of a snapshot. `details` holds encoding, locale, page size and the like."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(max_length=300)
    server_version: str = Field(max_length=100)
    tool: str = Field(max_length=100)
    snapshot_at: Moment
    details: dict[Annotated[str, Field(max_length=100)], Detail | Whole] = Field(
        default_factory=dict, max_length=_MOST_DETAILS
    )


class Manifest(BaseModel):
    """Everything an archive says of itself. `seal` is this console's HMAC over the rest."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    version: str = Field("", max_length=100)
    created_at: Moment
    db_backend: str = Field(max_length=40)
    contents: list[str] | None = None
    label: str = Field("", max_length=200)
    database: DatabaseInfo | None = None
    entries: tuple[EntryProof, ...] = Field(default=(), max_length=8)
    tables: tuple[TableRows, ...] | None = Field(default=None, max_length=_MOST_TABLES)
    seal: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @field_validator("contents", mode="before")
    @classmethod
    def _names_only(cls, told: Any) -> list[str] | None:
        """Version 1 put anything here; only names mean something."""
        names = isinstance(told, list) and all(isinstance(name, str) for name in told)
        return told if names and len(told) <= _MOST_CONTENTS else None

    @property
    def has_proof(self) -> bool:
        """Whether the archive can be compared with what it promises."""
        return bool(self.entries) and self.tables is not None

    @property
    def has_checksums(self) -> bool:
        """Whether the content of at least one table can be compared."""
        return any(table.checksum for table in self.tables or ())

    def to_json(self) -> bytes:
        """The text that goes into the ZIP."""
        return self.model_dump_json(indent=1).encode()

    def sealed_text(self) -> bytes:
        """What a seal covers: the manifest without the seal, in one canonical form."""
        data = self.model_dump(
            mode="json", exclude={"seal": True, "entries": {"__all__": {"blocks"}}}
        )
        return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def parse_manifest(text: bytes) -> Manifest:
    """Read a manifest from outside.

    Raises:
        BadArchive: not JSON, keys given twice, not a number, too deep, newer format,
            or not a manifest.
    """
    try:
        data = json.loads(
            text.decode("utf-8"), object_pairs_hook=_no_twins, parse_constant=_no_constants
        )
    except (ValueError, RecursionError) as cause:
        raise _damaged(cause) from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BadArchive(
            "This backup was made by a newer version of the console.",
            "Update the console, then try again.",
            detail=f"schema_version {version}; this console reads up to {SCHEMA_VERSION}",
        )
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as cause:
        problem = cause.errors(include_url=False, include_input=False)[0]
        raise NotABackup(
            "This ZIP is not a backup that the console knows.",
            "Choose a ZIP that was downloaded from the Backups page.",
            detail=f"manifest.json: {problem['loc']}: {problem['msg']}",
        ) from None
    _check_promises(manifest)
    try:
        manifest.sealed_text()
    except (ValueError, RecursionError) as cause:
        raise _damaged(cause) from None
    return manifest


def _check_promises(manifest: Manifest) -> None:
    """Version 2 promises hashes and counts; without them it was tampered with."""
    if manifest.schema_version not in (1, SCHEMA_VERSION):
        raise BadArchive(
            "This backup's format is not known to the console.",
            detail=f"schema_version {manifest.schema_version}",
        )
    if sum(len(table.columns or ()) for table in manifest.tables or ()) > MOST_COLUMNS:
        raise BadArchive("This backup's description names more columns than a backup's does.")
    names = [table.name for table in manifest.tables or ()]
    if len(names) != len(set(names)):
        raise BadArchive("This backup's description names a table twice.")
    complete = manifest.has_proof and manifest.database and manifest.contents is not None
    if manifest.schema_version == SCHEMA_VERSION and not complete:
        raise BadArchive(
            "This backup's description lacks the proof that its format promises.",
            "It was changed after it was made. Use another copy of the backup.",
        )


def _damaged(cause: Exception) -> BadArchive:
    return BadArchive(
        "This backup cannot be used: its description (manifest.json) is damaged.",
        "Use another copy of the backup.",
        detail=f"manifest.json: {cause}"[:500],
    )


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _no_constants(text: str) -> float:
    raise ValueError(f"{text} is not a number")

"""What proves a backup: its tables compared with its manifest, and the record of having tried."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ops.archive.manifest import Manifest, TableRows
from ops.checks.words import duration
from ops.errors import MismatchFound

_NAMED_IN_DETAIL = 50


class Prove(StrEnum):
    """How a backup is tried: not at all, read back from disk, or by a test restore."""

    NONE = "none"
    QUICK = "quick"
    FULL = "full"


class Proof(BaseModel):
    """One trial of an archive, kept in its note. `at` is when it ended.

    `tables` were compared, of which `exact` had exactly their rows and `contents` exactly
    their content as well; all None or 0 where there was nothing to compare with.
    """

    model_config = ConfigDict(frozen=True)

    kind: Prove
    passed: bool
    at: AwareDatetime
    seconds: float
    tables: int | None = None
    exact: int = 0
    contents: int = 0
    problem: str = ""
    detail: str = ""

    def in_words(self, when: str) -> str:
        """The record as one sentence without a full stop; `when` is `at` as the reader has it."""
        if self.kind is not Prove.FULL:
            found = "Read back whole" if self.passed else "Found damaged"
            counted = f", {self.exact:,} of {self.tables:,} tables exact" if self.tables else ""
            problem = f": {self.problem.rstrip('.')}" if self.problem else ""
            return f"{found} on {when}{counted}{problem}"
        if not self.passed:
            return f"Could not be brought back on {when}: {self.problem.rstrip('.')}"
        took = duration(self.seconds)
        if self.tables is None:
            return f"Brought back on {when} in {took}, with nothing to compare it with"
        every_value = ", every value compared" if self.contents == self.tables > 0 else ""
        exact = f"{self.exact:,} of {self.tables:,} tables exact"
        return f"Brought back on {when}, {exact}{every_value}, {took}"


@dataclass(frozen=True)
class ComparedTable:
    """One table as promised and as found; rows are None where it is not there.

    `content` tells whether the content checksums are equal, None where there is none, or
    where they were made by methods that cannot be compared.
    """

    name: str
    promised: int | None
    found: int | None
    content: bool | None

    @property
    def is_exact(self) -> bool:
        """Whether nothing speaks against it."""
        return self.promised == self.found and self.content is not False

    def as_dict(self) -> dict[str, Any]:
        """One row of the comparison in `ops-console verify --full --json`."""
        return {
            "name": self.name,
            "promised": self.promised,
            "found": self.found,
            "content": self.content,
            "exact": self.is_exact,
        }

    def __str__(self) -> str:
        if self.promised == self.found:
            return f"{self.name}: {self.found} rows, but their content differs"
        return f"{self.name}: promised {self.promised}, found {self.found}"


class TablesDiffer(MismatchFound):
    """Not every table is as the manifest promises; `compared` has them all."""

    def __init__(self, compared: tuple[ComparedTable, ...]) -> None:
        wrong = [table for table in compared if not table.is_exact]
        super().__init__(
            f"The backup does not hold what it promises: {len(wrong)} of {len(compared)} "
            "tables differ.",
            "Use another backup.",
            detail="\n".join(map(str, wrong[:_NAMED_IN_DETAIL])),
        )
        self.compared = compared


def compare_tables(
    tables: tuple[TableRows, ...], manifest: Manifest
) -> tuple[ComparedTable, ...] | None:
    """Every table of the manifest with exactly its rows and content, and no other.

    None where the manifest promises nothing (version 1).

    Raises:
        TablesDiffer: with all that was compared.
    """
    if manifest.tables is None:
        return None
    now = {table.name: table for table in tables}
    promised = {table.name: table for table in manifest.tables}
    compared = tuple(
        _compared(name, promised.get(name), now.get(name))
        for name in sorted(now.keys() | promised.keys())
    )
    if not all(table.is_exact for table in compared):
        raise TablesDiffer(compared)
    return compared


def _compared(name: str, promised: TableRows | None, found: TableRows | None) -> ComparedTable:
    content = None
    if promised and found and _method(promised) == _method(found) != "":
        content = promised.checksum == found.checksum
    return ComparedTable(
        name, promised.rows if promised else None, found.rows if found else None, content
    )


def _method(table: TableRows) -> str:
    """How a table's checksum was made, which stands before its colon."""
    return (table.checksum or "").partition(":")[0]

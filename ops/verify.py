"""Verifying an archive: that it is whole, is what its manifest says, and can be brought back."""

from __future__ import annotations

import errno
import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.archive.unpack import verify_entry
from ops.catalog import Catalog, CatalogEntry, read_archive
from ops.checks.base import Finding
from ops.datafolder import DataFolder, file_sha256
from ops.dialects import dialect_of
from ops.errors import (
    BadArchive,
    Cancelled,
    MismatchFound,
    OfAnotherKind,
    OpsError,
    Refused,
    ToolFailed,
)
from ops.health_deep import look_deep
from ops.progress import SILENT, Progress
from ops.proof import ComparedTable, Proof, Prove, TablesDiffer
from ops.staging import Staged, is_foreign, staged_archive
from ops.target import Target

log = logging.getLogger(__name__)

TEST = "test"
"""The verb of a test restore's journal."""


@dataclass(frozen=True)
class VerifyResult:
    """`ok` tells that every byte is as it was saved; `has_proof` is False for archives of
    version 1, of which only the ZIP's own checksums could be looked at.

    `full` tells of a test restore, which took `seconds`; `compared` is what it found, None
    where the archive promises nothing to compare with; `deep` is what the deep checks of
    health found in the copy, if it is of this console's own making.
    """

    archive: Path
    ok: bool
    has_proof: bool
    db_backend: str
    tables: int
    problem: str = ""
    detail: str = ""
    full: bool = False
    compared: tuple[ComparedTable, ...] | None = None
    seconds: float = 0.0
    deep: tuple[Finding, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The document of `ops-console verify --json`."""
        return {
            "archive": str(self.archive),
            "ok": self.ok,
            "has_proof": self.has_proof,
            "db_backend": self.db_backend or None,
            "tables": self.tables,
            "problem": self.problem or None,
            "detail": self.detail or None,
            "full": self.full,
            "comparison": [table.as_dict() for table in self.compared or ()],
            "seconds": round(self.seconds, 2),
        }


def verify_archive(path: Path, *, progress: Progress = SILENT) -> VerifyResult:
    """Check the structure, then read everything and compare it with the manifest."""
    try:
        archive = read_archive(path)
        verify_entry(archive, progress)
    except BadArchive as bad:
        return _failed(path, bad)
    manifest = archive.manifest
    return VerifyResult(
        path, True, manifest.has_proof, manifest.db_backend, len(manifest.tables or ())
    )


def prove_archive(
    target: Target,
    path: Path,
    folder: DataFolder,
    *,
    trust_foreign: bool = False,
    progress: Progress = SILENT,
) -> VerifyResult:
    """A test restore: bring the archive to life beside the live database, compare every
    table, throw it away again. What came of it is kept with the archive, if that is kept.

    Where nothing can be staged, the archive is read in full and its rows counted; `full` is
    False then, for it was not brought back.

    Raises:
        NotConfirmed, PreflightRefused, OfAnotherKind, Busy, Unavailable, Cancelled,
        NeedsHuman, DiskFull: it could not be tried, which says nothing about the archive; what
        was known of it stays.
    """
    began = time.monotonic()
    try:
        result = _brought_back(target, path, folder, trust_foreign, progress)
    except OfAnotherKind:
        raise
    except (BadArchive, MismatchFound, ToolFailed) as failed:
        _blame_the_archive(target, folder, failed)
        result = _failed(path, failed)
    full = dialect_of(target.engine).stages_beside(target.engine)
    result = replace(result, full=full, seconds=time.monotonic() - began)
    Catalog(folder, target.name).note_proof(path, _proof_of(result))
    return result


_SPARE_BYTES = 64 << 20


def _blame_the_archive(target: Target, folder: DataFolder, failed: OpsError) -> None:
    """Return if what failed is the archive's own fault, as far as can be told.

    Raises:
        Unavailable: the server has gone while it was tried.
        OpsError: the disk is full.
    """
    if isinstance(failed, ToolFailed):
        dialect_of(target.engine).facts(target.engine)  # raises Unavailable where it is gone
    if not isinstance(failed, MismatchFound) and folder.free_bytes() < _SPARE_BYTES:
        raise OpsError(
            "The disk is full, so the backup could not be tried.",
            "Make room on the disk of the data folder, then try again.",
            failed.detail,
        ) from failed


def _brought_back(
    target: Target, path: Path, folder: DataFolder, trust_foreign: bool, progress: Progress
) -> VerifyResult:
    with staged_archive(
        target, path, folder, TEST, trust_foreign=trust_foreign, progress=progress
    ) as staged:
        manifest, deep = staged.manifest, _looked_into(target, folder, staged)
    return VerifyResult(
        path,
        True,
        manifest.has_proof,
        manifest.db_backend,
        len(staged.tables),
        compared=staged.compared,
        deep=deep,
    )


def _looked_into(target: Target, folder: DataFolder, staged: Staged) -> tuple[Finding, ...]:
    """What deep checks find in the copy. They help nobody where they cannot look, and the test
    of the backup is not theirs to fail."""
    stages = dialect_of(target.engine).stages_beside(target.engine)
    if not stages or is_foreign(staged.manifest, folder):
        return ()
    try:
        return look_deep(target, staged=staged.replacement)
    except Cancelled:
        raise
    except OpsError:
        log.warning("the deep checks of %s could not look into its copy", target.name)
        return ()


def _failed(path: Path, error: OpsError) -> VerifyResult:
    problem = error.message.removesuffix(" Nothing was changed.").strip()
    compared = error.compared if isinstance(error, TablesDiffer) else None
    tables = len(compared or ())
    return VerifyResult(path, False, False, "", tables, problem, error.detail, compared=compared)


def _proof_of(result: VerifyResult) -> Proof:
    compared = result.compared
    return Proof(
        kind=Prove.FULL if result.full else Prove.QUICK,
        passed=result.ok,
        at=datetime.now(UTC),
        seconds=result.seconds,
        tables=None if compared is None else len(compared),
        exact=sum(table.is_exact for table in compared or ()),
        contents=sum(table.content is True for table in compared or ()),
        problem=result.problem,
        detail=result.detail,
    )


def recheck_kept(
    target: Target, folder: DataFolder, name: str, *, progress: Progress = SILENT
) -> Proof | None:
    """Read a kept archive's file and compare it with the SHA-256 in its note, where the
    outcome is kept as well. None where the note has no SHA-256: it could not be checked.

    Raises:
        Refused: there is no such archive.
    """
    catalog, began = Catalog(folder, target.name), time.monotonic()
    entry = catalog.entry(name)
    if not entry.sha256:
        return None
    problem, detail = _fault_of(entry, progress)
    proof = Proof(
        kind=Prove.QUICK,
        passed=not problem,
        at=datetime.now(UTC),
        seconds=time.monotonic() - began,
        problem=problem,
        detail=detail,
    )
    catalog.note_proof(entry.path, proof)
    return proof


def _fault_of(entry: CatalogEntry, progress: Progress) -> tuple[str, str]:
    """What is wrong with a kept archive's file, in words and in detail; nothing where it is as it
    was written. Raises FileNotFoundError."""
    try:
        found = file_sha256(entry.path, progress)
    except OSError as cause:
        if cause.errno != errno.EIO:
            raise
        return "The disk cannot read the file to its end.", str(cause)
    if found == entry.sha256:
        return "", ""
    told = f"sha256 {found}; when written: {entry.sha256}"
    return "The file is not as it was written.", told


def recheck_all(
    target: Target, folder: DataFolder, *, progress: Progress = SILENT
) -> dict[str, Any]:
    """Read every kept archive again: how many were `whole`, which are `changed`, and which
    are `unknown` because nobody noted a SHA-256 when they came."""
    whole, changed, unknown = 0, [], []
    entries = Catalog(folder, target.name).entries()
    for number, entry in enumerate(entries):
        part = progress.within(number / len(entries), (number + 1) / len(entries))
        try:
            proof = recheck_kept(target, folder, entry.name, progress=part)
        except (Refused, FileNotFoundError):
            continue  # somebody deleted it meanwhile
        if proof is None:
            unknown.append(entry.name)
        elif proof.passed:
            whole += 1
        else:
            changed.append(entry.name)
    return {"whole": whole, "changed": changed, "unknown": unknown}

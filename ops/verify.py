"""Verifying an archive: that it is whole, and is what its manifest says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.archive.reader import verify_entry
from ops.catalog import read_archive
from ops.errors import BadArchive
from ops.progress import SILENT, Progress


@dataclass(frozen=True)
class VerifyResult:
    """`ok` tells that every byte is as it was saved; `has_proof` is False for archives of
    version 1, of which only the ZIP's own checksums could be looked at."""

    archive: Path
    ok: bool
    has_proof: bool
    db_backend: str
    tables: int
    problem: str = ""
    detail: str = ""

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
        }


def verify_archive(path: Path, *, progress: Progress = SILENT) -> VerifyResult:
    """Check the structure, then read everything and compare it with the manifest."""
    try:
        archive = read_archive(path)
        verify_entry(archive, progress)
    except BadArchive as bad:
        problem = bad.message.removesuffix(" Nothing was changed.")
        return VerifyResult(path, False, False, "", 0, problem, bad.detail)
    manifest = archive.manifest
    return VerifyResult(
        path, True, manifest.has_proof, manifest.db_backend, len(manifest.tables or ())
    )

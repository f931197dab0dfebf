"""Making a backup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ops.archive.manifest import DatabaseInfo, Manifest, TableRows
from ops.archive.seal import seal_key, sealed
from ops.archive.writer import ArchiveWriter
from ops.catalog import LABEL_LIMIT, Catalog
from ops.datafolder import DataFolder, safe_name
from ops.dialects import dialect_of
from ops.dialects.base import Dialect, Notice, NoticeLevel, Snapshot
from ops.errors import PreflightRefused
from ops.locks import target_lock
from ops.progress import SILENT, Progress
from ops.target import Target


@dataclass(frozen=True)
class BackupResult:
    """A committed archive; sizes in bytes, `sha256` is the ZIP's as read back from disk."""

    archive: Path
    size_bytes: int
    sha256: str
    db_backend: str
    tables: tuple[TableRows, ...]

    def as_dict(self) -> dict[str, Any]:
        """The document of `ops-console backup --json`."""
        return {
            "archive": str(self.archive),
            "size": self.size_bytes,
            "sha256": self.sha256,
            "db_backend": self.db_backend,
            "tables": [{"name": table.name, "rows": table.rows} for table in self.tables],
        }


def refuse_if_told(notices: list[Notice]) -> None:
    """Raise PreflightRefused with all that speaks against the work, if anything does."""
    refusals = [notice for notice in notices if notice.level is NoticeLevel.REFUSE]
    if refusals:
        raise PreflightRefused(
            " ".join(notice.message for notice in refusals),
            " ".join(notice.hint for notice in refusals if notice.hint),
        )


def create_backup(
    target: Target, folder: DataFolder, *, label: str = "", progress: Progress = SILENT
) -> BackupResult:
    """Back up `target` into the catalog of `folder`.

    Raises:
        PreflightRefused, Busy, Unavailable, ToolFailed, Cancelled: nothing is listed then,
            and nothing half-made stays.
    """
    engine = target.engine
    dialect = dialect_of(engine)
    catalog = Catalog(folder, target.name)
    with target_lock(folder, target), folder.workspace(target.name, "backup") as workspace:
        catalog.remove_drafts()
        refuse_if_told(dialect.backup_notices(engine, workspace))
        name = dialect.database_name(engine)
        dump = workspace / f"{safe_name(name)}{dialect.entry_suffix}"
        snapshot = dialect.dump(engine, dump, progress.within(0, 0.6))
        with catalog.draft(name) as draft:
            with ArchiveWriter(draft.path) as writer:
                proof = writer.add_file(
                    dump.name,
                    dump,
                    compressed=snapshot.compressed,
                    progress=progress.within(0.6, 0.95),
                )
                dump.unlink()
                manifest = _manifest(dialect, name, label, snapshot)
                manifest = manifest.model_copy(
                    update={"contents": [proof.name], "entries": (proof,)}
                )
                writer.add_manifest(sealed(manifest, seal_key(folder.seal_key_path)))
            progress.report(0.97, 1, "Writing to disk")
            archive = draft.commit()
        digest = catalog.note_hash(archive)
    return BackupResult(archive, archive.stat().st_size, digest, dialect.backend, snapshot.tables)


def _manifest(dialect: Dialect, name: str, label: str, snapshot: Snapshot) -> Manifest:
    return Manifest(
        version=version("ops-console"),
        created_at=datetime.now(UTC),
        db_backend=dialect.backend,
        label=label[:LABEL_LIMIT],
        database=DatabaseInfo(
            name=name,
            server_version=snapshot.server_version,
            tool=snapshot.tool,
            snapshot_at=snapshot.taken_at,
            details=snapshot.details,
        ),
        tables=snapshot.tables,
    )

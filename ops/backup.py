"""Making a backup."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ops.archive.manifest import DatabaseInfo, EntryProof, Manifest, TableRows
from ops.archive.seal import seal_key, sealed
from ops.archive.unpack import extract_entry
from ops.archive.writer import ArchiveWriter
from ops.catalog import LABEL_LIMIT, Catalog, read_archive
from ops.datafolder import DataFolder, file_sha256, flush, forget_cached, safe_name
from ops.dialects import dialect_of
from ops.dialects.base import Dialect, Notice, NoticeLevel, Snapshot, SupportsReadInto
from ops.errors import BadArchive, NoRoom, OpsError, PreflightRefused
from ops.helper_thread import HelperThread, awaited
from ops.locks import target_lock
from ops.progress import SILENT, Progress
from ops.proof import Proof, Prove
from ops.target import Target


@dataclass(frozen=True)
class BackupResult:
    """A committed archive; sizes in bytes, `sha256` is the ZIP's as it was written."""

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
    """Raise PreflightRefused with all that speaks against the work, if anything does; NoRoom where
    that is room alone."""
    refusals = [notice for notice in notices if notice.level is NoticeLevel.REFUSE]
    if refusals:
        is_room = all(notice.is_about_room for notice in refusals)
        raise (NoRoom if is_room else PreflightRefused)(
            " ".join(notice.message for notice in refusals),
            " ".join(notice.hint for notice in refusals if notice.hint),
        )


def create_backup(
    target: Target,
    folder: DataFolder,
    *,
    label: str = "",
    checksums: bool = False,
    read_back: bool = True,
    progress: Progress = SILENT,
) -> BackupResult:
    """Back up `target` into the catalog of `folder`.

    `checksums` asks for those of every table's content, so that a restore can be compared
    value by value. `read_back` reads the finished archive from disk and lets the database's
    own program read what is in it, before the archive is listed.

    Raises:
        NoRoom,
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
        with catalog.draft(name) as draft:
            with ArchiveWriter(draft.path) as writer:
                entry = Entry(writer, f"{safe_name(name)}{dialect.entry_suffix}")
                dumping = progress.within(0, 0.8)
                snapshot = dialect.dump(engine, workspace, entry, dumping, checksums=checksums)
                manifest = _manifest(dialect, name, label, snapshot, entry.proof)
                writer.add_manifest(sealed(manifest, seal_key(folder.seal_key_path)))
            with HelperThread() as helper:
                # Of what was written; whether the disk has kept it, reading back tells.
                hashing = helper.begin(partial(file_sha256, draft.path, cached=True))
                report = partial(progress.report, 0.8, 1, "Writing to disk")
                report()
                flush(draft.path)
                digest = awaited(hashing, report)
            proof = None
            if read_back:
                forget_cached(draft.path)
                proof = _read_back(dialect, draft.path, workspace, progress.within(0.8, 1))
            archive = draft.commit()
        catalog.note_hash(archive, digest)
        if proof is not None:
            catalog.note_proof(archive, proof)
    return BackupResult(archive, archive.stat().st_size, digest, dialect.backend, snapshot.tables)


class Entry:
    """The database's entry in an archive: the sink of a dump."""

    def __init__(self, writer: ArchiveWriter, name: str) -> None:
        self._writer = writer
        self._name = name
        self._proof: EntryProof | None = None

    def __call__(
        self, source: SupportsReadInto, size: int, *, compressed: bool, progress: Progress
    ) -> None:
        self._proof = self._writer.add(
            self._name, source.readinto, size, compressed=compressed, progress=progress
        )
        if self._proof.size != size:
            raise OpsError(
                "The database's content ended too soon, so no backup was made.",
                "Try again; if it happens again, look at the disk of the database.",
                f"{size:,} bytes were to come, {self._proof.size:,} came",
            )

    @property
    def proof(self) -> EntryProof:
        """Size and hash, once the content was given."""
        assert self._proof is not None
        return self._proof


def _read_back(dialect: Dialect, path: Path, workspace: Path, progress: Progress) -> Proof:
    """The quick proof. Raises OpsError where the archive is not what was written."""
    began = time.monotonic()
    copy = workspace / f"read-back{dialect.entry_suffix}"
    try:
        archive = read_archive(path)
        extract_entry(archive, copy, progress.within(0, 0.6))
        dialect.check_dump(copy, archive.manifest, progress.within(0.6, 1))
    except BadArchive as bad:
        raise OpsError(
            "The backup that was just made cannot be read back as it was written, so it was not "
            "kept. Your database was not touched.",
            "Look at the disk of this machine, then back up again.",
            f"{bad.message} {bad.detail}",
        ) from bad
    finally:
        copy.unlink(missing_ok=True)
    seconds = time.monotonic() - began
    return Proof(kind=Prove.QUICK, passed=True, at=datetime.now(UTC), seconds=seconds)


def _manifest(
    dialect: Dialect, name: str, label: str, snapshot: Snapshot, entry: EntryProof
) -> Manifest:
    return Manifest(
        version=version("ops-console"),
        created_at=datetime.now(UTC),
        db_backend=dialect.backend,
        contents=[entry.name],
        entries=(entry,),
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

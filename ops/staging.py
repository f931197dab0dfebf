"""Bringing an archive to life beside the live database, which stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.archive.manifest import Manifest, TableRows
from ops.archive.reader import Archive
from ops.archive.seal import is_sealed, seal_key
from ops.archive.unpack import extract_entry
from ops.backup import refuse_if_told
from ops.catalog import read_archive
from ops.datafolder import DataFolder
from ops.dialects import dialect_of
from ops.dialects.base import Dialect, Replacement
from ops.errors import NotConfirmed, OfAnotherKind, OpsError
from ops.journal import Journal, Step
from ops.locks import target_lock
from ops.progress import Progress
from ops.proof import ComparedTable, compare_tables
from ops.recovery import roll_back, settle_target
from ops.target import Target


@dataclass(frozen=True)
class Staged:
    """An archive that lives beside the live database and holds what its manifest promises."""

    replacement: Replacement
    manifest: Manifest
    tables: tuple[TableRows, ...]
    compared: tuple[ComparedTable, ...] | None
    journal: Journal


def check_kind(dialect: Dialect, archive: Archive) -> None:
    """Refuse the archive of another kind of database."""
    if archive.manifest.db_backend != dialect.backend:
        raise OfAnotherKind(
            f"This is a backup of a {archive.manifest.db_backend} database; "
            f"this one is {dialect.title}.",
            "Choose the database that the backup was made of, or another backup.",
        )


def admit(
    target: Target,
    archive_path: Path,
    folder: DataFolder,
    workspace: Path,
    *,
    trust_foreign: bool,
    verb: str = "restore",
) -> Archive:
    """The archive, once nothing speaks against bringing it to life here, for what `verb` says.

    Raises BadArchive, NotConfirmed, PreflightRefused, Unavailable.
    """
    dialect = dialect_of(target.engine)
    archive = read_archive(archive_path)
    check_kind(dialect, archive)
    foreign = is_foreign(archive.manifest, folder)
    if foreign and not trust_foreign:
        raise NotConfirmed(
            "This backup was not made by this console, so it may contain commands of "
            "somebody else's.",
            "Go on only if you trust where it comes from, and say so explicitly.",
        )
    refuse_if_told(
        dialect.restore_notices(target.engine, archive.manifest, workspace, foreign=foreign)
    )
    if verb == "restore":
        refuse_if_told(dialect.swap_notices(target.engine))
    if foreign:
        refuse_if_told(dialect.foreign_notices(target.engine, verb))
    return archive


def is_foreign(manifest: Manifest, folder: DataFolder) -> bool:
    """Whether an archive lacks the seal of this console."""
    return not is_sealed(manifest, seal_key(folder.seal_key_path))


def bring_to_life(
    target: Target,
    archive: Archive,
    folder: DataFolder,
    workspace: Path,
    journal: Journal,
    progress: Progress,
) -> Replacement:
    """Unpack into `workspace`, whose hash check comes with it, and stage."""
    dialect = dialect_of(target.engine)
    dump = workspace / f"staged{dialect.entry_suffix}"
    extract_entry(archive, dump, progress.within(0, 0.3))
    journal.advance(Step.STAGING)
    return dialect.stage(
        target.engine,
        dump,
        archive.manifest,
        journal,
        progress.within(0.3, 1),
        foreign=is_foreign(archive.manifest, folder),
    )


def compare_counted(
    staged: Replacement, manifest: Manifest, progress: Progress
) -> tuple[tuple[TableRows, ...], tuple[ComparedTable, ...] | None]:
    """What was counted while it was staged, and how it compares with what was saved. Raises
    MismatchFound."""
    progress.report(0, 1, "Comparing with what was saved")
    assert staged.tables is not None  # `Dialect.stage` has counted them, and could be stopped
    return staged.tables, compare_tables(staged.tables, manifest)


@contextmanager
def staged_archive(
    target: Target,
    archive_path: Path,
    folder: DataFolder,
    verb: str,
    *,
    trust_foreign: bool,
    progress: Progress,
) -> Iterator[Staged]:
    """The archive in staging for as long as the `with` block runs; then nothing of it is left,
    unless the block has brought the journal to its end.

    Raises:
        BadArchive, PreflightRefused, NotConfirmed, MismatchFound, Busy, ToolFailed,
        Unavailable, Cancelled: the live database was not touched.
        NeedsHuman: an earlier restore must be looked at first.
    """
    backend = dialect_of(target.engine).backend
    with target_lock(folder, target), folder.workspace(target.name, verb) as workspace:
        settle_target(target, folder)
        archive = admit(
            target, archive_path, folder, workspace, trust_foreign=trust_foreign, verb=verb
        )
        journal = Journal.begin(folder, target.name, backend, verb, archive_path.name)
        replacement: Replacement | None = None
        try:
            replacement = bring_to_life(
                target, archive, folder, workspace, journal, progress.within(0, 0.9)
            )
            journal.advance(Step.STAGED)
            tables, compared = compare_counted(
                replacement, archive.manifest, progress.within(0.9, 1)
            )
            journal.advance(Step.VERIFIED)
            yield Staged(replacement, archive.manifest, tables, compared, journal)
        except OpsError as error:
            error.say_nothing_changed()
            raise
        finally:
            if not journal.is_settled:
                roll_back(target, journal, replacement)

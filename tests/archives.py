"""Making archives that no honest console would make, and looking into those it made."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ops import DataFolder, Target, preview_restore
from ops.archive.manifest import MANIFEST_NAME, Manifest, TableRows
from ops.archive.seal import seal_key, sealed
from ops.catalog import Catalog
from ops.dialects.base import Notice
from ops.journal import journals_of
from tests.databases import LiveDatabase

Described = dict[str, Any]


def opened(archive: Path) -> tuple[Described, str, bytes]:
    """Manifest, name and content of the database's entry."""
    with zipfile.ZipFile(archive) as file:
        (name,) = set(file.namelist()) - {MANIFEST_NAME}
        return json.loads(file.read(MANIFEST_NAME)), name, file.read(name)


def packed(into: Path, entries: Mapping[str, bytes]) -> Path:
    """A ZIP with these entries."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return into


def described(name: str, content: bytes, **values: Any) -> Described:
    """A complete manifest of version 2 for one entry, without a seal."""
    backend = "sqlite" if name.endswith(".db") else "postgresql"
    proof = {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    database = {"name": "x", "server_version": "1", "tool": "pg_dump 16.1"}
    return {
        "schema_version": 2,
        "version": "0.1.0",
        "created_at": "2026-01-02T03:04:05Z",
        "db_backend": backend,
        "contents": [name],
        "database": {**database, "snapshot_at": "2026-01-02T03:04:00Z", "details": {}},
        "entries": [proof],
        "tables": [],
        **values,
    }


def forged(archive: Path, into: Path, change: Callable[[Described], object]) -> Path:
    """A copy of `archive` whose manifest was changed, and whose hashes are right."""
    manifest, name, content = opened(archive)
    change(manifest)
    return packed(into, {name: content, MANIFEST_NAME: json.dumps(manifest).encode()})


def sealed_again(archive: Path, folder: DataFolder) -> Path:
    """The same archive with the seal of a console that made it so."""
    manifest, name, content = opened(archive)
    whole = sealed(Manifest.model_validate(manifest), seal_key(folder.seal_key_path))
    return packed(archive, {name: content, MANIFEST_NAME: whole.to_json()})


def of_version_1(archive: Path, into: Path) -> Path:
    """The same backup as the console's ancestor wrote it: no hashes, no counts."""
    manifest, name, content = opened(archive)
    old = {
        "version": "0.0.9",
        "created_at": "2025-01-02T03:04:05",
        "schema_version": 1,
        "contents": {"database": True, "config": True},
        "db_backend": manifest["db_backend"],
    }
    entry = f"anything{Path(name).suffix}"
    config = json.dumps({"theme": "dark"}).encode()
    return packed(
        into, {MANIFEST_NAME: json.dumps(old).encode(), entry: content, "config.json": config}
    )


def counts(tables: Iterable[TableRows]) -> dict[str, int]:
    """The rows of every table by its name."""
    return {table.name: table.rows for table in tables}


def unpacked_into(archive: Path, folder: Path) -> Path:
    """The database's entry as a file."""
    _, name, content = opened(archive)
    path = folder / name
    path.write_bytes(content)
    return path


def assert_nothing_left(live: LiveDatabase, folder: DataFolder) -> None:
    """Beside the live database and in the data folder lies only what is listed."""
    assert [path for path in (folder.root / "work").rglob("*") if path.is_file()] == []
    listed = {entry.name for entry in Catalog(folder, "live").entries()}
    notes = {f"{name}.note.json" for name in listed}
    assert {path.name for path in folder.backups("live").iterdir()} <= listed | notes
    journals = journals_of(folder, "live")
    assert all(journal.is_settled for journal in journals)
    kept = {str(journal.undo["location"]) for journal in journals if journal.undo}
    copies = {str(path) for path in folder.undo("live").iterdir()}
    assert live.neighbours() | copies == kept


def notice_about(target: Target, archive: Path, folder: DataFolder, words: str) -> Notice:
    """The one notice with these words that is given before the archive is restored."""
    notices = preview_restore(target, archive, folder).notices
    (told,) = [notice for notice in notices if words in notice.message]
    return told

"""The way of the console's ancestor, written again to compare with: a temporary copy, the ZIP
in memory by the standard library's deflate at level 6, then written once more; a restore reads
everything into memory and copies over the live file. It checks nothing and flushes nothing.

    python seed.py backup DATABASE ZIP
    python seed.py restore ZIP DATABASE SAFETY
    python seed.py checked-restore ZIP DATABASE SAFETY
    python seed.py pg-backup URL PG_DUMP ZIP
    python seed.py pg-restore ZIP URL PG_RESTORE
"""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path


def _zipped(copy: Path, name: str, into: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", json.dumps({"schema_version": 1}))
        file.write(copy, name)
    Path(into).write_bytes(buffer.getvalue())


def backup(database: str, into: str) -> None:
    """SQLite."""
    with tempfile.TemporaryDirectory(dir=Path(into).parent) as folder:
        copy = Path(folder) / "copy.db"
        shutil.copy2(database, copy)
        _zipped(copy, "database.db", into)


def restore(archive: str, database: str, safety: str) -> None:
    """SQLite; programs that use the file lose what they write meanwhile."""
    content = _unzipped(archive, "database.db")
    shutil.copy2(database, safety)
    staged = Path(database).with_suffix(".staged")
    staged.write_bytes(content)
    shutil.copy2(staged, database)
    staged.unlink()


def checked_restore(archive: str, database: str, safety: str) -> None:
    """SQLite, and integrity_check of what is then live: the least that tells a good copy."""
    restore(archive, database, safety)
    with closing(sqlite3.connect(database)) as connection:
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise SystemExit("damaged")


def pg_backup(url: str, pg_dump: str, into: str) -> None:
    """PostgreSQL."""
    with tempfile.TemporaryDirectory(dir=Path(into).parent) as folder:
        dump = Path(folder) / "copy.pgdump"
        subprocess.run([pg_dump, "-Fc", f"--file={dump}", url], check=True)
        _zipped(dump, "database.pgdump", into)


def pg_restore(archive: str, url: str, program: str) -> None:
    """PostgreSQL, in place."""
    with tempfile.NamedTemporaryFile(dir=Path(archive).parent) as dump:
        dump.write(_unzipped(archive, "database.pgdump"))
        dump.flush()
        command = [program, "--clean", "--if-exists", "--no-owner", f"--dbname={url}", dump.name]
        subprocess.run(command, check=True)


def _unzipped(archive: str, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(Path(archive).read_bytes())) as file:
        return file.read(name)


WAYS = {
    "backup": backup,
    "restore": restore,
    "checked-restore": checked_restore,
    "pg-backup": pg_backup,
    "pg-restore": pg_restore,
}

if __name__ == "__main__":
    WAYS[sys.argv[1]](*sys.argv[2:])

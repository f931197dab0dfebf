"""How a PostgreSQL dump is compressed: once, and so that the tools that read it can."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from ops import DataFolder, Target, create_backup, restore_backup
from ops.dialects.postgresql import tools
from ops.dialects.postgresql.tools import ClientTools, installed_tools, tools_for, tools_that_read
from ops.errors import PreflightRefused
from tests.archives import forged, opened, unpacked_into
from tests.services.postgres import RealPostgres

PLAIN = ClientTools(Path("/plain"), 16, "16.1")
NEWER = ClientTools(Path("/newer"), 17, "17.1")
ABLE = ClientTools(Path("/able"), 16, "16.1", zstd=True)


def test_a_dump_is_compressed_once(
    pg_database: str, pg: RealPostgres, folder: DataFolder, tmp_path: Path
) -> None:
    target = Target.parse("live", pg_database)
    name = target.engine.url.database
    pg.query("CREATE TABLE a AS SELECT g, md5(g::text) FROM generate_series(1, 9999) g", db=name)
    archive = create_backup(target, folder).archive
    described, entry, _ = opened(archive)
    compression = described["database"]["details"]["compression"]
    with zipfile.ZipFile(archive) as file:
        method = file.getinfo(entry).compress_type
    assert (compression, method) in [("zstd", zipfile.ZIP_STORED), ("none", zipfile.ZIP_DEFLATED)]
    reader, dump = tools_for(pg.major).pg_restore, unpacked_into(archive, tmp_path)
    told = subprocess.run([reader, "--list", dump], capture_output=True, text=True, check=True)
    assert f"Compression: {compression}" in told.stdout


def test_whether_the_tools_know_zstd_is_found_out(pg16: RealPostgres, tmp_path: Path) -> None:
    url = pg16.url().replace("postgresql+psycopg2", "postgresql")
    asked = [tools for tools in installed_tools(None) if tools.major >= pg16.major]
    assert asked
    for number, found in enumerate(asked):
        into = tmp_path / f"{number}.pgdump"
        command = [found.pg_dump, "-Fc", "--compress=zstd:1", "-s", f"--file={into}", url]
        done = subprocess.run(command, capture_output=True, check=False)
        assert found.zstd == (done.returncode == 0)


def test_tools_that_know_zstd_are_taken_first_and_alone_where_they_must(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tools, "installed_tools", lambda _: (NEWER, PLAIN, ABLE))
    assert tools_for(16) == ABLE
    assert tools_that_read(17) == NEWER
    assert tools_for(16, 16, zstd=True) == ABLE
    with pytest.raises(PreflightRefused, match="zstd"):
        tools_that_read(17, zstd=True)


def test_an_archive_that_nobody_here_can_read_is_refused_before_anything(
    pg_database: str, folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target.parse("live", pg_database)
    archive = create_backup(target, folder).archive
    with_zstd = forged(
        archive,
        tmp_path / "zstd.zip",
        lambda told: told["database"]["details"].update(compression="zstd"),
    )
    plain = tuple(found for found in installed_tools(None) if not found.zstd)
    monkeypatch.setattr(tools, "installed_tools", lambda _: plain)
    with pytest.raises(PreflightRefused, match=r"zstd, which .* cannot read.*Nothing was changed"):
        restore_backup(target, with_zstd, folder, trust_foreign=True)

"""The report to hand to someone, in its three forms, and what it makes of hostile names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops import create_backup
from ops.checks.base import Aside, Finding, Level
from ops.checkup import score_of
from ops.installation import Installation
from ops.report import Format, make_report, rendered
from tests.databases import SQLiteDatabase

pytestmark = pytest.mark.parametrize("live", ["sqlite-wal"], indirect=True)

HOSTILE = '<script>alert("1")</script> & Жöß 表'


@pytest.fixture
def hostile(home: Installation, live: SQLiteDatabase) -> Installation:
    """A database with a table whose name would be markup, and that has a finding."""
    quoted = HOSTILE.replace('"', '""')
    live.run(f'CREATE TABLE "{quoted}" (id INTEGER PRIMARY KEY, n)')
    live.run(f'CREATE INDEX a ON "{quoted}" (n)')
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)"
    live.run(f'INSERT INTO "{quoted}" {numbers} SELECT i, i FROM n')
    return home


def test_the_page_is_whole_by_itself_and_escapes_what_it_tells(hostile: Installation) -> None:
    page = rendered(make_report(hostile), Format.HTML).decode()
    assert "There is no backup yet." in page
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; Жöß 表" in page
    assert "<script" not in page
    assert not re.search(r"(src|href|url|@import)\s*[=(]", page), "it fetches nothing"
    assert "default-src 'none'" in page
    assert page.index("Act now") < page.index("Look at this soon") < page.index("and fine")


@pytest.mark.parametrize("fonts", ["the machine's", "none"])
def test_the_pdf_is_one(hostile: Installation, monkeypatch: pytest.MonkeyPatch, fonts: str) -> None:
    if fonts == "none":
        monkeypatch.setattr("ops.report.pdf._FONTS", ())
    pdf = rendered(make_report(hostile), Format.PDF)
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert len(pdf) < 200_000


def test_the_json_is_the_checkup(hostile: Installation) -> None:
    create_backup(hostile.target("live"), hostile.folder)
    document = json.loads(rendered(make_report(hostile), Format.JSON))
    assert document["database"] == "live 100% odd"
    assert document["status"] == "degraded"
    assert [report["backend"] for report in document["reports"]] == ["sqlite", "backups"]
    assert 0 < document["score"] < 100


def test_the_command_writes_it(hostile: Installation, tmp_path: Path) -> None:
    for name in ("a.html", "a.pdf", "a.json"):
        path = tmp_path / name
        assert _health("--report", str(path)).returncode == 1, "as bad as without a report"
        assert path.stat().st_size > 1000
    said = _health("--report", str(tmp_path / "a.doc"))
    assert "does not end like a report" in said.stderr
    said = _health("--report", str(tmp_path / "no folder" / "a.pdf"))
    assert "could not be written" in said.stderr


def _health(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("ops-console"))
    return subprocess.run([program, "health", *arguments], capture_output=True, text=True)


def test_what_was_put_aside_costs_no_points(live: SQLiteDatabase) -> None:
    now, soon = (Finding("a", "A", level, "A.") for level in (Level.NOW, Level.SOON))
    aside = Finding("b", "B", Level.NOW, "B.", aside=Aside(0, "why", "who"))
    unknown = [Finding("c", "C", Level.UNKNOWN, "C.")] * 9
    assert score_of([]) == 100
    assert score_of([now, soon, aside]) == 52
    assert score_of(unknown) == 85
    assert score_of([now] * 9) == 0

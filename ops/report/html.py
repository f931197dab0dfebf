"""The report as one HTML file: no scripts, nothing fetched, and it prints well."""

from __future__ import annotations

from html import escape
from string import Template
from typing import Final

from ops.checks.base import Finding
from ops.report import Report, lines_of, urgency_of

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Health of $database</title>
<style>
:root { color-scheme: light dark; --ink: #1b2733; --soft: #4d5b69; --ground: #ffffff;
  --line: #c3ccd5; --now: #a3281f; --soon: #8a4b08; --unknown: #4d5b69; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --soft: #aab6c2;
  --ground: #12181e; --line: #3d4a57; --now: #ffb4ab; --soon: #f2b878; --unknown: #aab6c2; } }
@media print { :root { --ink: #000; --soft: #333; --ground: #fff; --line: #999; --now: #8a1a12;
  --soon: #6b3a05; --unknown: #333; } details { display: none; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 46rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { line-height: 1.2; } h2 { margin-top: 2rem; } p { margin: .4rem 0; }
.soft { color: var(--soft); } .headline { font-size: 1.25rem; font-weight: 600; }
article { border: 1px solid var(--line); border-left: .35rem solid var(--unknown);
  border-radius: .4rem; padding: .8rem 1rem; margin: .8rem 0; break-inside: avoid; }
article.now { border-left-color: var(--now); } article.soon { border-left-color: var(--soon); }
.now .level { color: var(--now); } .soon .level { color: var(--soon); }
article h3 { margin: .2rem 0; font-size: 1.05rem; }
pre { white-space: pre-wrap; font-size: .85rem; } li { margin: .25rem 0; }
</style>
</head>
<body>
<h1>Health of $database</h1>
<p class="soft">$kind, looked at on $made</p>
<p class="headline">$headline</p>
<p class="soft">Score $score of 100</p>
$loud
$quiet
</body>
</html>
""")


def as_html(report: Report) -> str:
    """One file; everything in it that came from the database is escaped."""
    loud = "\n".join(_article(part, finding) for part, finding in report.findings)
    quiet = "\n".join(
        f"<li><b>{escape(one.title)}:</b> {escape(one.sentence)}</li>" for one in report.quiet
    )
    return _PAGE.substitute(
        database=escape(report.database),
        kind=escape(report.kind),
        made=f"{report.made_at:%d %B %Y at %H:%M} UTC",
        headline=escape(report.checkup.whole.headline),
        score=report.checkup.score,
        loud=f"<h2>What needs somebody</h2>\n{loud}" if loud else "",
        quiet=f"<h2>Looked at and fine</h2>\n<ul>\n{quiet}\n</ul>" if quiet else "",
    )


def _article(part: str, finding: Finding) -> str:
    told = "".join(
        f"<p><b>{escape(name)}:</b> {escape(text)}</p>\n" for name, text in lines_of(finding)
    )
    technical = (
        f"<details><summary>Technical details</summary><pre>{escape(finding.technical)}</pre>"
        "</details>\n"
        if finding.technical
        else ""
    )
    return (
        f'<article class="{finding.level.value}">\n'
        f'<p><b class="level">{urgency_of(finding)}</b> · {part} · {escape(finding.title)}</p>\n'
        f"<h3>{escape(finding.sentence)}</h3>\n{told}{technical}</article>"
    )

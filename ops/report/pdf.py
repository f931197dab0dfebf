"""The report as a PDF, in A4."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fpdf import FPDF

from ops.checks.base import Level
from ops.report import Report, lines_of, urgency_of

_FONTS: Final = (
    Path("/usr/share/fonts/truetype/dejavu"),
    Path("/usr/share/fonts/dejavu-sans-fonts"),
    Path("/usr/share/fonts/TTF"),
)
"""Where Debian, Fedora and Arch keep DejaVu, which has the letters of most alphabets."""

_INK: Final = (27, 39, 51)
_SOFT: Final = (77, 91, 105)
_COLOURS: Final = {Level.NOW: (163, 40, 31), Level.SOON: (138, 75, 8)}
_MARGIN_MM: Final = 20


def as_pdf(report: Report) -> bytes:
    """Letters that the machine has no font for become question marks."""
    page = _Page(report)
    page.paragraph(f"Health of {report.database}", size=20, bold=True)
    page.paragraph(
        f"{report.kind}, looked at on {report.made_at:%d %B %Y at %H:%M} UTC", colour=_SOFT
    )
    page.ln(3)
    page.paragraph(report.checkup.whole.headline, size=13, bold=True)
    page.paragraph(f"Score {report.checkup.score} of 100", colour=_SOFT)
    if report.findings:
        page.heading("What needs somebody")
    for part, finding in report.findings:
        page.paragraph(
            f"{urgency_of(finding)} · {part} · {finding.title}",
            bold=True,
            colour=_COLOURS.get(finding.level, _SOFT),
        )
        page.paragraph(finding.sentence, bold=True)
        for name, text in lines_of(finding):
            page.paragraph(f"{name}: {text}")
        page.ln(4)
    if report.quiet:
        page.heading("Looked at and fine")
    for finding in report.quiet:
        page.paragraph(f"{finding.title}: {finding.sentence}", size=9)
    return bytes(page.output())


class _Page(FPDF):
    """A document that knows how our lines look."""

    def __init__(self, report: Report) -> None:
        super().__init__(format="A4")
        self._family, self._is_full = "helvetica", False
        for folder in _FONTS:
            plain, bold = folder / "DejaVuSans.ttf", folder / "DejaVuSans-Bold.ttf"
            if plain.is_file() and bold.is_file():
                self.add_font("dejavu", "", plain)
                self.add_font("dejavu", "B", bold)
                self._family, self._is_full = "dejavu", True
                break
        self.set_title(self._writable(f"Health of {report.database}"))
        self.set_creation_date(report.made_at)
        self.set_margin(_MARGIN_MM)
        self.set_auto_page_break(True, margin=_MARGIN_MM)
        self.add_page()

    def heading(self, text: str) -> None:
        """A heading between two parts."""
        self.ln(4)
        self.paragraph(text, size=14, bold=True)
        self.ln(1)

    def paragraph(
        self,
        text: str,
        *,
        size: float = 10.5,
        bold: bool = False,
        colour: tuple[int, int, int] = _INK,
    ) -> None:
        """Text over the whole width."""
        self.set_font(self._family, "B" if bold else "", size)
        self.set_text_color(*colour)
        height = size * 0.5
        self.multi_cell(0, height, self._writable(text), align="L", new_x="LMARGIN", new_y="NEXT")

    def footer(self) -> None:
        """The page's number at its foot; fpdf calls it."""
        self.set_y(-15)
        self.set_font(self._family, "", 8)
        self.set_text_color(*_SOFT)
        self.cell(0, 5, f"{self.page_no()}", align="C")

    def _writable(self, text: str) -> str:
        if self._is_full:
            return text.encode(errors="replace").decode()
        plain = text.translate({ord("“"): '"', ord("”"): '"', ord("…"): "...", ord("–"): "-"})
        return plain.encode("latin-1", "replace").decode("latin-1")

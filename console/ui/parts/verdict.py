"""Whether a backup is undamaged: read in full as soon as it is chosen, once for each file."""

from __future__ import annotations

import time
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from console.ui.parts.errors import show_error
from console.ui.parts.words import size
from ops import verify_archive
from ops.progress import Progress
from ops.verify import VerifyResult

_LARGE_BYTES = 1_000_000_000
_DRAW_EVERY_SECONDS = 0.25
_KEPT = 256

_verdicts: dict[tuple[Path, int, int], VerifyResult] = {}


class _Bar(Progress):
    """Draws how much is read. Streamlit ends the reading here when the person goes elsewhere."""

    def __init__(self, place: DeltaGenerator) -> None:
        self._place = place
        self._drawn = 0.0

    def report(self, done: float, total: float, note: str = "") -> None:
        if time.monotonic() - self._drawn < _DRAW_EVERY_SECONDS:
            return
        self._drawn = time.monotonic()
        share = min(1.0, done / total) if total else 0.0
        text = f"Reading the whole backup to see whether it is undamaged · {share:.0%}"
        self._place.progress(share, text=text)


def is_undamaged(path: Path) -> bool:
    """Read the backup, or remember what reading it said; draw what is wrong with it."""
    about = path.stat()
    key = (path, about.st_mtime_ns, about.st_size)
    told = st.empty()  # in every run, so that what stands below keeps its place
    if key not in _verdicts:
        with told.container():
            _remember(key, _read(path, about.st_size))
        told.empty()
    verdict = _verdicts[key]
    if not verdict.ok:
        hint = "Choose another backup. The database is not touched."
        show_error({"error": verdict.problem, "hint": hint, "detail": verdict.detail})
    return verdict.ok


def _read(path: Path, bytes_: int) -> VerifyResult:
    if bytes_ > _LARGE_BYTES:
        st.caption(
            f"This backup is large ({size(bytes_)}), so this can take some minutes. "
            "Nothing is changed meanwhile, and you may leave the page."
        )
    return verify_archive(path, progress=_Bar(st.empty()))


def _remember(key: tuple[Path, int, int], verdict: VerifyResult) -> None:
    while len(_verdicts) >= _KEPT:
        _verdicts.pop(next(iter(_verdicts)), None)
    _verdicts[key] = verdict

"""Backups that broke on their way, or that were never honest: cut, flipped, lying.

What is spoilt inside the database's own format is in `spoilt_sqlite` and `spoilt_postgresql`;
there hash and seal are right, as if the backup had been broken before they were made.
"""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.archive.manifest import MANIFEST_NAME, Manifest
from ops.archive.seal import sealed
from tests.archives import Described, opened

INCOMPLETE: Final = "incomplete: its end is missing|not a ZIP made by a backup"
DAMAGED: Final = "This backup is damaged|This backup cannot be used: its description"
CONTRADICTS: Final = "This backup contradicts itself"
OTHER_ROWS: Final = "does not hold what it promises: \\d+ of \\d+ tables differ"


@dataclass(frozen=True)
class Spoilt:
    """A ZIP, what was done to it, and what the refusal must say (a regular expression)."""

    what: str
    content: bytes
    reason: str


def cut(good: bytes) -> Iterator[Spoilt]:
    """The ZIP ends at, right after, or shortly before each of its structures."""
    with zipfile.ZipFile(io.BytesIO(good)) as file:
        infos, directory = file.infolist(), file.start_dir
    places = {0, 3, directory, directory + 20, len(good) - 22, len(good) - 18, len(good) - 1}
    for info in infos:
        data = info.header_offset + 30 + len(info.filename.encode())
        places |= {info.header_offset + 4, info.header_offset + 30, data}
        places |= {data + info.compress_size // 2, data + info.compress_size}
    places |= {directory + 46 + len(infos[0].filename.encode())}
    for place in sorted(places - {len(good)}):
        yield Spoilt(f"ZIP cut at {place}", good[:place], INCOMPLETE)


def flipped(good: bytes, chance: random.Random, many: int) -> Iterator[Spoilt]:
    """One bit of the packed database or of the packed manifest is another one."""
    with zipfile.ZipFile(io.BytesIO(good)) as file:
        infos = file.infolist()
    for number in range(many):
        info = infos[number % len(infos)]
        # Local headers of ours carry 20 bytes of ZIP64 sizes where they are streamed.
        start = info.header_offset + 30 + len(info.filename.encode()) + 20
        place = chance.randrange(start, info.header_offset + 30 + info.compress_size)
        content = bytearray(good)
        content[place] ^= 1 << chance.randrange(8)
        yield Spoilt(f"bit flipped at {place}", bytes(content), DAMAGED)


def lying(good: Path, key: bytes) -> Iterator[Spoilt]:
    """The manifest promises what the content is not."""
    for what, (change, reason) in _LIES.items():
        manifest, name, content = opened(good)
        change(manifest)
        yield Spoilt(what, _zipped(manifest, name, content, key), reason)


def with_content(good: Path, content: bytes, key: bytes) -> bytes:
    """The archive with another database in it, and the right hash of that."""
    manifest, name, _ = opened(good)
    digest = hashlib.sha256(content).hexdigest()
    manifest["entries"] = [{"name": name, "size": len(content), "sha256": digest}]
    return _zipped(manifest, name, content, key)


def _zipped(manifest: Described, name: str, content: bytes, key: bytes) -> bytes:
    """A ZIP under the console's own seal: nothing else may stand before the damage."""
    whole = sealed(Manifest.model_validate(manifest), key)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr(name, content)
        file.writestr(MANIFEST_NAME, whole.to_json())
    return buffer.getvalue()


def _rows(change: Callable[[list[Described]], object]) -> Callable[[Described], object]:
    return lambda manifest: change(manifest["tables"])


def _proof(**values: object) -> Callable[[Described], object]:
    return lambda manifest: manifest["entries"][0].update(values)


_LIES: Final[dict[str, tuple[Callable[[Described], object], str]]] = {
    "a row more": (_rows(lambda tables: tables[0].update(rows=tables[0]["rows"] + 1)), OTHER_ROWS),
    "a row less": (_rows(lambda tables: tables[0].update(rows=tables[0]["rows"] - 1)), OTHER_ROWS),
    "a table less": (_rows(lambda tables: tables.pop()), OTHER_ROWS),
    "no tables": (_rows(lambda tables: tables.clear()), OTHER_ROWS),
    "a table more": (_rows(lambda tables: tables.append({"name": "x", "rows": 0})), OTHER_ROWS),
    "another table": (_rows(lambda tables: tables[0].update(name="another")), OTHER_ROWS),
    "rows without end": (_rows(lambda tables: tables[0].update(rows=(1 << 63) - 1)), OTHER_ROWS),
    "another hash": (_proof(sha256="0" * 64), DAMAGED),
    "another size": (_proof(size=1), DAMAGED),
    "another entry": (_proof(name="other"), CONTRADICTS),
    "another kind": (
        lambda manifest: manifest.update(
            db_backend="sqlite" if manifest["db_backend"] == "postgresql" else "postgresql"
        ),
        CONTRADICTS,
    ),
    "a newer format": (
        lambda manifest: manifest.update(schema_version=3),
        "newer version of the console",
    ),
}

"""Every bad archive is refused with its reason, and the live database never notices."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import DataFolder, create_backup, restore_backup, undo_points
from ops.archive.manifest import MANIFEST_NAME
from ops.archive.seal import seal_key
from ops.errors import NOTHING_CHANGED, OpsError
from tests import spoilt_postgresql, spoilt_sqlite
from tests.archives import assert_nothing_left, described, packed, unpacked_into
from tests.databases import LiveDatabase, PostgreSQLDatabase, with_staging
from tests.figures import SEED, recorded
from tests.hostile import HOSTILE, reason_of
from tests.spoilt import Spoilt, cut, flipped, lying, with_content

FEW = 12
"""How many of the spoilt backups every run of the tests tries; a soak tries all of them."""


def _spoilt(live: LiveDatabase, good: Path, folder: DataFolder, work: Path) -> list[Spoilt]:
    """More than a hundred, made of one good backup; hash and seal are right where the damage is
    inside, so that only bringing it to life can find it."""
    chance, key, whole = random.Random(SEED), seal_key(folder.seal_key_path), good.read_bytes()
    dump = unpacked_into(good, work)
    inside: Iterator[tuple[str, bytes, str]]
    if isinstance(live, PostgreSQLDatabase):
        inside = spoilt_postgresql.broken(live, dump, chance)
    else:
        inside = spoilt_sqlite.broken(dump.read_bytes(), work, chance)
    return [
        *cut(whole),
        *flipped(whole, chance, 16),
        *lying(good, key),
        *(Spoilt(what, with_content(good, content, key), why) for what, content, why in inside),
    ]


def _refusal(live: LiveDatabase, archive: Path, folder: DataFolder) -> str:
    """The sentence with which a restore is refused, leaving nothing behind."""
    with pytest.raises(OpsError) as refused:
        restore_backup(live.target, archive, folder, trust_foreign=True)
    assert NOTHING_CHANGED in refused.value.message
    assert undo_points(live.target, folder) == []
    assert_nothing_left(live, folder)
    return refused.value.message


def _refuse_all(live: LiveDatabase, folder: DataFolder, what: str, cases: list[Spoilt]) -> None:
    live.drift()
    before, archive = live.fingerprint(), folder.root.parent / "bad.zip"
    with recorded(f"{live}: {what}", len(cases)) as outcomes:
        for case in cases:
            archive.write_bytes(case.content)
            said = _refusal(live, archive, folder)
            assert re.search(case.reason, said), f"{case.what}: {said}"
            outcomes["refused with their reason"] += 1
        assert live.fingerprint() == before
        outcomes["live changed"] += 0


@with_staging
@pytest.mark.parametrize(
    "is_soak", [pytest.param(False, id="few"), pytest.param(True, id="all", marks=pytest.mark.soak)]
)
def test_a_spoilt_backup_is_refused(
    live: LiveDatabase, folder: DataFolder, tmp_path: Path, is_soak: bool
) -> None:
    # A dump that zstd has compressed has no checksum of its own.
    good = create_backup(live.target, folder, checksums=True).archive
    cases = _spoilt(live, good, folder, tmp_path)
    assert len(cases) >= 100
    _refuse_all(live, folder, "spoilt backups", cases if is_soak else cases[:: len(cases) // FEW])


@pytest.mark.figure
def test_a_hostile_zip_is_not_restored(
    live: LiveDatabase, folder: DataFolder, tmp_path: Path
) -> None:
    entry = "shop.db", b"content"
    manifest = json.dumps(described(*entry)).encode()
    good = packed(tmp_path / "good.zip", dict([entry, (MANIFEST_NAME, manifest)])).read_bytes()
    other = "" if live.suffix == ".db" else "|This is a backup of a"
    cases = [Spoilt(name, spoil(good), reason_of(name) + other) for name, spoil in HOSTILE.items()]
    _refuse_all(live, folder, "hostile ZIPs", cases)

"""Uploads as files in the data folder: names, crashes, age."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from console.uploads import (
    STALE_SECONDS,
    Upload,
    appending,
    clean_name,
    create_upload,
    expire_stale_uploads,
    find_upload,
    list_uploads,
)
from ops.datafolder import DataFolder


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """An empty data folder."""
    return DataFolder(tmp_path / "data")


def _upload(folder: DataFolder, data: bytes) -> Upload:
    """An upload of ten bytes, of which some have arrived."""
    upload = create_upload(folder, "admin", "shop.zip", 10, 100)
    with appending(folder, upload, 0) as file:
        file.write(data)
    found = find_upload(folder, "admin", upload.id)
    assert found is not None
    return found


def _make_older(folder: DataFolder, seconds: float, but: Path | None = None) -> None:
    then = time.time() - seconds
    for path in folder.uploads.iterdir():
        if path != but:
            os.utime(path, (then, then))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("shop.zip", "shop.zip"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ann\\shop.zip", "shop.zip"),
        ("a\nb\x00c\u202e.zip", "abc.zip"),
        ("", "upload.zip"),
        ("/", "upload.zip"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_file_name_is_only_shown(given: str, kept: str) -> None:
    assert clean_name(given) == kept


def test_the_newest_upload_comes_first(folder: DataFolder) -> None:
    first = _upload(folder, b"0123")
    _make_older(folder, 60)
    second = _upload(folder, b"0123")
    assert [upload.id for upload in list_uploads(folder, "admin")] == [second.id, first.id]


def test_what_nobody_goes_on_with_expires(folder: DataFolder) -> None:
    _upload(folder, b"stale")
    fresh, whole = _upload(folder, b"fresh"), _upload(folder, b"0123456789")
    _make_older(folder, STALE_SECONDS + 60, but=fresh.path)
    expire_stale_uploads(folder)
    assert {upload.id for upload in list_uploads(folder, "admin")} == {fresh.id, whole.id}
    assert len(os.listdir(folder.uploads)) == 4


def test_what_somebody_is_writing_does_not_expire(folder: DataFolder) -> None:
    upload = _upload(folder, b"01234")
    with appending(folder, upload, 5) as file:
        _make_older(folder, STALE_SECONDS + 60)
        expire_stale_uploads(folder)
        file.write(b"56789")
    found = find_upload(folder, "admin", upload.id)
    assert found is not None
    assert found.is_complete


@pytest.mark.parametrize("about", [b"", b"{", b"[]", b"{}", b"\xff", b"null"])
def test_a_damaged_description_is_no_upload(folder: DataFolder, about: bytes) -> None:
    upload = _upload(folder, b"01234")
    upload.path.with_suffix(".json").write_bytes(about)
    assert find_upload(folder, "admin", upload.id) is None
    assert list_uploads(folder, "admin") == []
    create_upload(folder, "admin", "other.zip", 10, 100)

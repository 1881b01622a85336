"""Tests of the thumbnail cache: one thumbnail per file and size, changed files, unused thumbnails."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from imgret_assets.domain.images import contact_sheets, thumbnail_cache
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.images.thumbnail_cache import cached_thumbnail, thumbnails_folder, unused_thumbnails
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import manifest


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def test_a_thumbnail_is_made_once_and_again_for_a_changed_file(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def counting(path: Path, *, size: int = 96) -> bytes:
        made.append(path)
        return contact_sheets.thumbnail(path, size=size)

    monkeypatch.setattr(thumbnail_cache, "thumbnail", counting)
    file = images / "a.png"
    file.write_bytes(picture_bytes(1))
    first = cached_thumbnail(thumbnails_folder(home), file, 20)
    assert max(size_of(first)) == 20
    assert cached_thumbnail(thumbnails_folder(home), file, 20) == first
    assert len(made) == 1
    assert max(size_of(cached_thumbnail(thumbnails_folder(home), file, 10))) == 10
    file.write_bytes(picture_bytes(2))
    os.utime(file, ns=(5, 5))
    assert cached_thumbnail(thumbnails_folder(home), file, 20) != first
    assert len(made) == 3


def test_an_unreadable_file_or_cache_still_gives_a_thumbnail(home: Home, images: Path) -> None:
    folder = thumbnails_folder(home)
    assert max(size_of(cached_thumbnail(folder, images / "none.png", 20))) == 20
    assert not folder.exists()
    folder.write_text("in the way")
    (images / "a.png").write_bytes(picture_bytes(1))
    assert max(size_of(cached_thumbnail(folder, images / "a.png", 20))) == 20


def test_a_thumbnail_of_a_file_with_a_time_beyond_64_bits_is_in_use(home: Home, images: Path) -> None:
    (images / "far.png").write_bytes(picture_bytes(1))
    os.utime(images / "far.png", ns=(0, 12_000_000_000 * 10**9))
    cached_thumbnail(thumbnails_folder(home), images / "far.png", 20)
    refresh_manifest(home)
    known = [(row["path"], row["mtime_ns"], row["bytes"]) for row in manifest(home).values()]
    assert list(unused_thumbnails(home, known)) == []


def test_thumbnails_of_removed_or_changed_files_are_unused(home: Home, images: Path) -> None:
    for name in ("kept.png", "gone.png", "changed.png"):
        (images / name).write_bytes(picture_bytes(1))
        os.utime(images / name, ns=(7, 7))
        cached_thumbnail(thumbnails_folder(home), images / name, 20)
    length = len(picture_bytes(1))
    known = [("kept.png", 7, length), ("changed.png", 8, length)]
    assert len(list(thumbnails_folder(home).rglob("*.jpg"))) == 3
    assert len(list(unused_thumbnails(home, known))) == 2
    assert len(list(unused_thumbnails(home, [*known, ("gone.png", 7, length)]))) == 1

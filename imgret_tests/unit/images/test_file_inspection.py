"""Tests of the inspection of one file: its facts, or the status that says why there are none."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from imgret_assets.domain.images.file_inspection import inspect_file
from imgret_tests.support.odd_files import MAX_PIXELS, OddFile, odd_files
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import put


def listed(images: Path, name: str) -> dict[str, Any]:
    columns = dict.fromkeys(("sha256", "width", "height", "format", "status", "error"))
    return {**columns, "path": name, "location": os.fsencode(images / name)}


def test_an_image_has_hash_size_and_format(images: Path) -> None:
    data = picture_bytes(1)
    put(images, "a.png", data)
    row = inspect_file(listed(images, "a.png"), MAX_PIXELS)
    assert (row["status"], row["error"]) == ("ok", None)
    assert (row["width"], row["height"], row["format"]) == (40, 30, "PNG")
    assert row["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("odd", odd_files(), ids=lambda odd: odd.name)
def test_an_odd_file_has_its_status_and_always_its_hash(images: Path, odd: OddFile) -> None:
    put(images, "odd", odd.data)
    row = inspect_file(listed(images, "odd"), MAX_PIXELS)
    assert (row["status"], row["sha256"]) == (odd.listed, hashlib.sha256(odd.data).hexdigest())
    assert (row["error"] is None) == (row["status"] == "ok")


def test_a_file_that_is_gone_or_no_file_has_a_status_and_no_hash(images: Path) -> None:
    (images / "folder.png").mkdir()
    vanished = inspect_file(listed(images, "gone.png"), MAX_PIXELS)
    assert (vanished["status"], vanished["sha256"]) == ("vanished", None)
    unreadable = inspect_file(listed(images, "folder.png"), MAX_PIXELS)
    assert (unreadable["status"], unreadable["error"]) == ("unreadable", "Is a directory")


def test_an_image_above_the_pixel_limit_is_too_large(images: Path) -> None:
    put(images, "a.png", picture_bytes(1))
    assert inspect_file(listed(images, "a.png"), 1_199)["status"] == "too_large"
    assert inspect_file(listed(images, "a.png"), 1_200)["status"] == "ok"

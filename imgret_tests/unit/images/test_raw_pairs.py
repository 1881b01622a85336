"""Tests of camera raw files beside a JPEG: which of the two counts, whatever happens to the JPEG."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.images import optional_decoders, raw_pairs
from imgret_assets.domain.images.change_detection import Cursor, detect_changes
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.odd_files import saved
from imgret_tests.support.pictures import picture
from imgret_tests.support.raw_files import dng
from imgret_tests.support.tree import manifest, put, statuses

pytestmark = pytest.mark.usefixtures("settled")
JPEG = saved(picture(1, size=(64, 48)), "JPEG")


@pytest.fixture(params=[True, False], ids=["with rawpy", "without rawpy"])
def raw_status(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The status of a raw file that counts."""
    if request.param and not optional_decoders.is_installed("RAW"):
        pytest.skip("the extra imgret[raw] is missing")
    if not request.param:
        monkeypatch.setattr(optional_decoders, "is_installed", lambda form: form != "RAW")
    return "ok" if request.param else "unsupported"


def test_the_jpeg_counts_and_the_raw_file_belongs_to_it(home: Home, images: Path, raw_status: str) -> None:
    put(images, "trip/DSC_1.NEF", dng())
    put(images, "trip/DSC_1.JPG", JPEG)
    put(images, "trip/alone.dng", dng(32, 32))
    put(images, "other/DSC_1.nef", dng(48, 32))
    report = refresh_manifest(home)
    assert statuses(home) == {
        "trip/DSC_1.NEF": "raw_of_image",
        "trip/DSC_1.JPG": "ok",
        "trip/alone.dng": raw_status,
        "other/DSC_1.nef": raw_status,
    }
    row = manifest(home)["trip/DSC_1.NEF"]
    assert (row["raw_of"], row["width"], row["sha256"] is None) == ("trip/DSC_1.JPG", None, False)
    assert row["error"] == "the raw file of trip/DSC_1.JPG, which counts as the image"
    unusable = [path for shard in report.shards for path, _, _ in shard.unusable]
    assert sorted(unusable) == ([] if raw_status == "ok" else ["other/DSC_1.nef", "trip/alone.dng"])
    again = refresh_manifest(home)
    assert sum(shard.opened + shard.written for shard in again.shards) == 0


def remove(images: Path) -> None:
    (images / "a.jpg").unlink()


def rename(images: Path) -> None:
    (images / "a.jpg").rename(images / "b.jpg")


def cut(images: Path) -> None:
    put(images, "a.jpg", JPEG[: len(JPEG) // 2])


def empty(images: Path) -> None:
    put(images, "a.jpg", b"")


@pytest.mark.parametrize("harm", [remove, rename, cut, empty])
def test_the_raw_file_counts_as_long_as_the_jpeg_can_not_be_used(
    home: Home, images: Path, raw_status: str, harm: Callable[[Path], None]
) -> None:
    put(images, "a.dng", dng())
    put(images, "a.jpg", JPEG)
    refresh_manifest(home)
    assert statuses(home)["a.dng"] == "raw_of_image"
    harm(images)
    # The shard of the raw file alone: that of the JPEG may be another.
    refresh_manifest(home, [shard_of("a.dng", len(home.shards))])
    assert statuses(home)["a.dng"] == raw_status
    assert manifest(home)["a.dng"]["raw_of"] is None
    refresh_manifest(home)
    put(images, "a.jpg", JPEG)
    refresh_manifest(home)
    assert statuses(home)["a.dng"] == "raw_of_image"


def test_of_several_jpegs_the_first_that_can_be_used_counts(home: Home, images: Path) -> None:
    put(images, "a.dng", dng())
    put(images, "a.JPG", JPEG[:100])
    put(images, "a.jpeg", JPEG)
    refresh_manifest(home)
    assert manifest(home)["a.dng"]["raw_of"] == "a.jpeg"


def test_the_sensor_notices_that_the_jpeg_of_a_raw_file_has_changed(home: Home, images: Path) -> None:
    put(images, "a.dng", dng())
    put(images, "a.jpg", JPEG)
    refresh_manifest(home)
    (images / "a.jpg").unlink()
    changes, _ = detect_changes(home, Cursor.load(None, home.images, len(home.shards)), max_files=99, max_seconds=60)
    assert changes is not None
    assert shard_of("a.dng", len(home.shards)) in changes.shards


@pytest.mark.parametrize("limit", [{"max_pixels": 2000}, {"max_bytes": len(JPEG) - 1}])
def test_a_greater_limit_admits_the_jpeg(home: Home, images: Path, limit: dict[str, int]) -> None:
    put(images, "a.nef", b"")
    put(images, "b.nef", b"FUJIFILMCCD-RAW")
    for name in "ab":
        put(images, f"{name}.jpg", JPEG)
    strict = replace(home, settings=replace(home.settings, **limit))
    refresh_manifest(strict)
    assert statuses(home)["b.nef"] != "raw_of_image"
    assert statuses(home)["b.jpg"] == "too_large"
    refresh_manifest(home)
    assert statuses(home) == {"a.nef": "empty", "a.jpg": "ok", "b.nef": "raw_of_image", "b.jpg": "ok"}
    assert sum(shard.opened + shard.written for shard in refresh_manifest(home).shards) == 0


def test_a_jpeg_that_could_not_be_read_is_tried_again(
    home: Home, images: Path, raw_status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(images, "a.dng", dng())
    put(images, "a.jpg", JPEG)

    def refuse(*_args: object, **_options: object) -> bytes:
        raise PermissionError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(raw_pairs, "read_image_file", refuse)
        refresh_manifest(home)
        assert statuses(home)["a.dng"] == raw_status
    refresh_manifest(home)
    assert statuses(home)["a.dng"] == "raw_of_image"
    monkeypatch.setattr(raw_pairs, "read_image_file", refuse)
    refresh_manifest(home)
    assert statuses(home)["a.dng"] == "raw_of_image"


def test_a_jpeg_is_decoded_as_one_that_may_end_the_process(
    home: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    decoding = raw_pairs.decoding

    def noting(name: str, data: bytes | None = None, *, max_pixels: int) -> AbstractContextManager[None]:
        noted.append(name)
        return decoding(name, data, max_pixels=max_pixels)

    monkeypatch.setattr(raw_pairs, "decoding", noting)
    put(images, "a.dng", dng())
    put(images, "a.jpg", JPEG)
    refresh_manifest(home)
    assert noted == [manifest(home)["a.jpg"]["sha256"]]

"""The manifest of a home with several image roots: adding one, leaving one out, and one that is not mounted."""

from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.images.change_detection import Cursor, detect_changes
from imgret_assets.domain.images.library import read_library
from imgret_assets.domain.images.manifest import ScanReport, refresh_manifest
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import RootError, VanishedFilesError
from imgret_assets.image_roots import ImageRoots
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import put


def with_roots(home: Home, folder: Path, *names: str) -> Home:
    text = ";".join(f"{name}={folder / name}" for name in names)
    return open_home(replace(home.settings, images=ImageRoots.parse(text)))


def opened(report: ScanReport) -> int:
    return sum(shard.opened for shard in report.shards)


@pytest.fixture
def two(home: Home, tmp_path: Path) -> Home:
    """Photos has 60 files and archive 4; both are listed."""
    two = with_roots(home, tmp_path, "photos", "archive")
    for number in range(60):
        put(two.images, f"photos/{number % 3}/{number}.png", picture_bytes(number))
    for number in range(4):
        put(two.images, f"archive/{number}.png", picture_bytes(100 + number))
    refresh_manifest(two)
    return two


def names_of(home: Home) -> dict[str, int]:
    paths = list(read_library(home).paths)
    return {name: sum(path.startswith(f"{name}/") for path in paths) for name in ("photos", "archive", "third")}


def test_the_report_counts_the_files_of_each_root_and_labels_are_parent_folders(two: Home) -> None:
    assert refresh_manifest(two).summary.startswith(
        "archive: 4 files. photos: 60 files. 64 files listed under archive="
    )
    assert names_of(two) == {"photos": 60, "archive": 4, "third": 0}
    assert read_library(two).labels == ("archive", "photos/0", "photos/1", "photos/2")


@pytest.mark.parametrize("is_emptied", [False, True], ids=["missing", "empty mount point"])
def test_a_root_that_is_not_mounted_deletes_nothing(two: Home, tmp_path: Path, is_emptied: bool) -> None:
    (tmp_path / "archive").rename(tmp_path / "unmounted")
    if is_emptied:
        (tmp_path / "archive").mkdir()
    error, message = (
        (VanishedFilesError, "4 of 4 known files have vanished from the image root archive")
        if is_emptied
        else (RootError, "The image root archive, .* does not exist")
    )
    with pytest.raises(error, match=f"{message}.*nothing was deleted"):
        refresh_manifest(two)
    assert names_of(two) == {"photos": 60, "archive": 4, "third": 0}
    if is_emptied:
        refresh_manifest(two, allow_deletes=True)
        assert names_of(two) == {"photos": 60, "archive": 0, "third": 0}


def test_most_files_of_one_root_may_not_vanish_although_they_are_few_of_all(two: Home, tmp_path: Path) -> None:
    for number in range(100):
        put(two.images, f"archive/more/{number}.png", picture_bytes(0))
    refresh_manifest(two)
    for file in (tmp_path / "photos" / "0").iterdir():
        file.unlink()
    refresh_manifest(two)
    for folder in ("1", "2"):
        for file in sorted((tmp_path / "photos" / folder).iterdir())[:12]:
            file.unlink()
    with pytest.raises(VanishedFilesError, match="24 of 40 known files have vanished from the image root photos"):
        refresh_manifest(two)


def test_a_root_that_is_added_is_listed_and_the_others_are_not_read_again(
    two: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgret_assets.domain.images.manifest.RACY_NS", -(10**15))
    put(ImageRoots.plain(tmp_path), "third/new.png", picture_bytes(200))
    report = refresh_manifest(with_roots(two, tmp_path, "photos", "archive", "third"))
    assert opened(report) == 1
    assert report.replaced_root == str(two.images)


def test_the_images_of_a_root_that_is_left_out_leave(two: Home, tmp_path: Path) -> None:
    fewer = with_roots(two, tmp_path, "photos")
    assert sum(shard.removed for shard in refresh_manifest(fewer).shards) == 4
    assert names_of(fewer) == {"photos": 60, "archive": 0, "third": 0}
    back = with_roots(two, tmp_path, "photos", "archive")
    refresh_manifest(back)
    with pytest.raises(VanishedFilesError, match="60 of 64 known files"):
        refresh_manifest(with_roots(two, tmp_path, "archive"))
    assert names_of(back)["photos"] == 60


def test_a_plain_root_that_gets_a_name_has_the_same_contents_under_longer_paths(home: Home, tmp_path: Path) -> None:
    plain = open_home(replace(home.settings, images=ImageRoots.plain(tmp_path / "photos")))
    for number in range(30):
        put(plain.images, f"{number}.png", picture_bytes(number))
    refresh_manifest(plain)
    named = with_roots(home, tmp_path, "photos")
    refresh_manifest(named)
    assert sorted(read_library(named).paths) == sorted(f"photos/{number}.png" for number in range(30))


def test_the_sensor_lists_every_root_and_names_a_missing_one(two: Home, tmp_path: Path) -> None:
    cursor = Cursor.load(None, two.images, two.record.shards)
    changes, cursor = detect_changes(two, cursor, max_files=10**6, max_seconds=60)
    assert changes is not None
    assert (changes.shards, changes.files) == ([], 64)
    put(two.images, "archive/new.png", picture_bytes(300))
    changes, cursor = detect_changes(two, cursor, max_files=10**6, max_seconds=60)
    assert changes is not None
    assert len(changes.shards) == 1
    (tmp_path / "archive").rename(tmp_path / "unmounted")
    with pytest.raises(RootError, match="image root archive"):
        detect_changes(two, cursor, max_files=10**6, max_seconds=60)

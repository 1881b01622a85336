"""Tests of change detection: which shards differ, the key of a difference, walks in several parts."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.images.change_detection import Changes, Cursor, detect_changes
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import RootError
from imgret_assets.image_roots import ImageRoots
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import lock_folder, path_in, put, put_pictures

pytestmark = pytest.mark.usefixtures("settled")


def fresh(home: Home) -> Cursor:
    return Cursor.load(None, home.images, home.record.shards)


def detect_all(home: Home) -> Changes:
    found, _ = detect_changes(home, fresh(home), max_files=10**6, max_seconds=60)
    assert found is not None
    return found


@pytest.fixture
def listed(home: Home, images: Path) -> Home:
    """A home whose manifests match its files: two in each shard, some of them in folders."""
    for shard in home.shards:
        put(images, path_in(shard), picture_bytes(1))
        put(images, path_in(shard, stem="cars/"), picture_bytes(2))
    put(images, "broken.jpg", b"no picture")
    put(images, "notes.txt", b"nothing of ours")
    refresh_manifest(home)
    return home


def test_an_unchanged_tree_has_no_changed_shard(listed: Home) -> None:
    found = detect_all(listed)
    assert found.shards == []
    assert found.files == 9


def test_a_home_without_tables_has_all_shards_changed(home: Home, images: Path) -> None:
    put_pictures(images, range(3))
    assert detect_all(home).shards == home.shards


@pytest.mark.parametrize(
    "touch",
    [
        lambda file: put(file.parent, file.name, picture_bytes(9)),
        lambda file: file.unlink(),
        lambda file: file.touch(),
        lambda file: file.chmod(0o600),
    ],
    ids=["change", "delete", "touch", "chmod"],
)
def test_a_changed_or_removed_file_changes_its_shard(listed: Home, images: Path, touch: Callable[[Path], None]) -> None:
    touch(images / path_in("02"))
    found = detect_all(listed)
    assert found.shards == ["02"]
    assert found.span == ("02", "02")
    refresh_manifest(listed, ["02"])
    assert detect_all(listed).shards == []


def test_an_added_file_changes_its_shard(listed: Home, images: Path) -> None:
    put(images, path_in("01", stem="new"), picture_bytes(9))
    assert detect_all(listed).shards == ["01"]


def test_a_renamed_file_changes_both_shards_and_the_span_includes_both(listed: Home, images: Path) -> None:
    (images / path_in("03")).rename(images / path_in("01", stem="new"))
    found = detect_all(listed)
    assert found.shards == ["01", "03"]
    assert found.span == ("01", "03")


def test_a_file_that_is_no_candidate_changes_no_shard(listed: Home, images: Path) -> None:
    put(images, "more notes.txt", b"nothing")
    put(images, ".hidden.png", b"nothing")
    assert detect_all(listed).shards == []


def test_a_removed_folder_changes_the_shards_of_its_files(listed: Home, images: Path) -> None:
    (images / "cars").rename(images.parent / "elsewhere")
    assert detect_all(listed).shards == listed.shards


def test_a_folder_that_can_not_be_listed_is_reported_once(
    listed: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_folder(monkeypatch, images / "cars")
    assert detect_all(listed).shards
    refresh_manifest(listed)
    assert detect_all(listed).shards == []


def test_the_key_names_the_difference(listed: Home, images: Path) -> None:
    """A sensor requests one run for each difference: the same difference has the same key, the next another."""
    keys = [detect_all(listed).key]
    put(images, path_in("01", stem="new"), picture_bytes(9))
    keys.append(detect_all(listed).key)
    assert detect_all(listed).key == keys[1]
    put(images, path_in("01", stem="newer"), picture_bytes(9))
    keys.append(detect_all(listed).key)
    refresh_manifest(listed)
    (images / path_in("01", stem="new")).unlink()
    keys.append(detect_all(listed).key)
    assert len(set(keys)) == 4


def walk_in_parts(home: Home, max_files: int) -> tuple[Changes, int]:
    """Walk with a cursor that is stored as text, as a sensor does; return the changes and the number of parts."""
    text = fresh(home).dump()
    for turn in range(1, 100):
        found, cursor = detect_changes(home, Cursor.load(text, home.images, 4), max_files=max_files, max_seconds=60)
        text = cursor.dump()
        if found is not None:
            assert cursor.pending == [""]
            assert cursor.fingerprints == {}
            return found, turn
    raise AssertionError("the walk does not end")


def test_a_walk_in_parts_finds_the_same_changes(home: Home, images: Path) -> None:
    for seed in range(30):
        put(images, f"folder{seed % 6}/deep/{seed}.png", picture_bytes(1))
    refresh_manifest(home)
    put(images, "folder3/deep/new.png", picture_bytes(1))
    whole = detect_all(home)
    assert whole.shards == [shard_of("folder3/deep/new.png", 4)]
    found, turns = walk_in_parts(home, 10)
    assert found == whole
    assert 3 <= turns <= 5


def test_each_part_of_a_walk_stops_after_max_files(home: Home, images: Path) -> None:
    for seed in range(8):
        put(images, f"folder{seed}/a.png", picture_bytes(1))
    found, cursor = detect_changes(home, fresh(home), max_files=3, max_seconds=60)
    assert found is None
    assert cursor.files == 3
    assert len(cursor.pending) == 5


def test_a_walk_without_time_lists_nothing(home: Home, images: Path) -> None:
    put_pictures(images, [1])
    found, cursor = detect_changes(home, fresh(home), max_files=100, max_seconds=0)
    assert found is None
    assert cursor == fresh(home)


def test_a_folder_removed_during_a_walk_counts_as_empty(home: Home, images: Path) -> None:
    put(images, "a/1.png", picture_bytes(1))
    put(images, "b/1.png", picture_bytes(1))
    _, cursor = detect_changes(home, fresh(home), max_files=1, max_seconds=60)
    assert cursor.pending == ["b"]
    (images / "b/1.png").unlink()
    (images / "b").rmdir()
    found, _ = detect_changes(home, cursor, max_files=100, max_seconds=60)
    assert found is not None


@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", '{"unknown": 1}', '{"root": "/other", "shards": 4}'])
def test_an_unusable_cursor_starts_a_new_walk(home: Home, text: str | None) -> None:
    assert Cursor.load(text, home.images, 4) == Cursor(root=str(home.images), shards=4)


def test_a_cursor_of_another_number_of_shards_starts_a_new_walk(home: Home) -> None:
    begun = Cursor(str(home.images), 8, ["a"], {"00": "1:0000000000000001"}, 1).dump()
    assert Cursor.load(begun, home.images, 4).pending == [""]
    assert Cursor.load(begun, home.images, 8).pending == ["a"]


def test_a_cursor_is_small_text(home: Home, images: Path) -> None:
    put_pictures(images, range(20))
    _, cursor = detect_changes(home, fresh(home), max_files=10**6, max_seconds=60)
    assert json.loads(cursor.dump())["root"] == str(images)
    assert len(cursor.dump()) < 500


def test_another_root_changes_every_shard(listed: Home, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = open_home(replace(listed.settings, images=ImageRoots.plain(tmp_path / "other")))
    assert detect_all(other).shards == listed.shards


def test_a_missing_root_is_an_error(listed: Home, images: Path) -> None:
    images.rename(images.with_name("unmounted"))
    with pytest.raises(RootError, match="does not exist"):
        detect_all(listed)


def test_detection_opens_no_file_and_writes_nothing(
    listed: Home, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(images, path_in("01", stem="new"), picture_bytes(9))
    before = sorted((file, file.stat().st_mtime_ns) for file in listed.path.rglob("*"))
    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", lambda *_, **__: pytest.fail("a file was opened"))
        patched.setattr("io.open", lambda *_, **__: pytest.fail("a file was opened"))
        detect_all(listed)
    assert sorted((file, file.stat().st_mtime_ns) for file in listed.path.rglob("*")) == before

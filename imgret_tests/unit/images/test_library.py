"""Tests of the library: usable paths, labels, the stamp that changes with them."""

from collections.abc import Sequence

import pyarrow as pa
import pytest

from imgret_assets.domain.images.files import label_of, shard_of
from imgret_assets.domain.images.library import Library, cached_library, library_stamp, read_library
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


def list_images(home: Home, paths: Sequence[str], *, unusable: Sequence[str] = ()) -> None:
    """Write a manifest of these paths."""
    for shard in home.shards:
        rows = [
            {"path": path, "label": label_of(path), "status": "not_an_image" if path in unusable else "ok"}
            for path in (*paths, *unusable)
            if shard_of(path, len(home.shards)) == shard
        ]
        table = pa.Table.from_pylist(rows, tables.MANIFEST_SCHEMA)
        tables.write(tables.manifest_path(home.warehouse, shard), table, {})


def test_a_home_without_a_run_has_an_empty_library(home: Home) -> None:
    assert read_library(home) == Library()
    assert library_stamp(home) == ()


def test_usable_paths_of_all_shards_and_their_labels_are_sorted(home: Home) -> None:
    list_images(home, ["b/2.png", "a/1.png", "top.png"], unusable=["c/broken.png"])
    assert read_library(home) == Library(("a/1.png", "b/2.png", "top.png"), ("a", "b"))


def test_the_stamp_differs_after_another_run(home: Home) -> None:
    list_images(home, ["a/1.png"])
    stamp = library_stamp(home)
    assert library_stamp(home) == stamp
    list_images(home, ["a/1.png", "b/2.png"])
    assert library_stamp(home) != stamp


def test_a_library_is_read_again_when_it_changed(home: Home) -> None:
    list_images(home, ["b/2.png", "a/1.png", "top.png"])
    first = cached_library(home)
    assert first.labels == ("a", "b")
    assert cached_library(home) is first
    list_images(home, ["b/2.png", "c/with a longer name.png"])
    assert cached_library(home).labels == ("b", "c")


def test_a_library_knows_its_paths() -> None:
    library = Library(("a/1.png", "b/2.png"))
    assert ["a/1.png" in library, "a/2.png" in library, "c.png" in library, 3 in library] == [True, False, False, False]


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (3, 3), (8, 8), (500, 8)])
def test_a_few_paths_are_spread_over_the_library(count: int, shown: int) -> None:
    paths = tuple(f"{number:04}.png" for number in range(count))
    spread = Library(paths).spread(8)
    assert len(spread) == len(set(spread)) == shown
    assert set(spread) <= set(paths)

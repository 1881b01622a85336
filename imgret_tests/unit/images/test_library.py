"""Tests of the library: usable paths, labels, the stamp that changes with them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow as pa
import pytest

from imgret_assets.domain.images.files import label_of, shard_of
from imgret_assets.domain.images.library import Library, cached_library, library_stamp, read_library
from imgret_assets.domain.search.query import Query
from imgret_assets.domain.search.shot_filters import paths_of_shots
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


def list_images(
    home: Home,
    paths: Sequence[str],
    *,
    unusable: Sequence[str] = (),
    shots: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Write a manifest of these paths; `shots` are date and camera by path."""
    found = shots or {}
    for shard in home.shards:
        rows = [
            {
                "path": path,
                "label": label_of(path),
                "status": "not_an_image" if path in unusable else "ok",
                "taken": datetime.fromisoformat(found[path][0]) if path in found else None,
                "camera": found[path][1] if path in found else None,
            }
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


SHOTS = {
    "a/1.png": ("2024-05-31T10:20:30", "NIKON D90"),
    "b/2.png": ("2020-01-01T00:00:00", "Canon EOS 5D"),
    "top.png": ("2022-01-01T00:00:00", "NIKON D90"),
    "c/broken.png": ("1999-01-01T00:00:00", "Broken"),
}


def test_cameras_are_sorted_and_the_first_and_last_date_are_known(home: Home) -> None:
    list_images(home, ["b/2.png", "a/1.png", "top.png", "none.png"], unusable=["c/broken.png"], shots=SHOTS)
    library = read_library(home)
    assert library.cameras == ("Canon EOS 5D", "NIKON D90")
    assert library.taken == tuple(datetime.fromisoformat(SHOTS[path][0]) for path in ("b/2.png", "a/1.png"))


def test_a_manifest_of_an_earlier_version_has_no_dates_and_cameras(home: Home) -> None:
    list_images(home, ["b/2.png", "a/1.png"], shots=SHOTS)
    for shard in home.shards:
        file = tables.manifest_path(home.warehouse, shard)
        tables.write(file, tables.read(file).drop_columns(["taken", "camera"]), {})
    assert read_library(home) == Library(("a/1.png", "b/2.png"), ("a", "b"))
    assert paths_of_shots(home, Query(since="2000")) == paths_of_shots(home, Query(camera="NIKON D90")) == set()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(since="2022"), {"a/1.png", "top.png"}),
        (Query(since="2024-05-31 10:20:30", until="2024-05-31 10:20:30"), {"a/1.png"}),
        (Query(until="2021"), {"b/2.png"}),
        (Query(camera="nikon d90", until="2023"), {"top.png"}),
        (Query(camera="nikon"), set()),
    ],
)
def test_images_by_date_and_camera(home: Home, query: Query, expected: set[str]) -> None:
    list_images(home, ["b/2.png", "a/1.png", "top.png", "none.png"], shots=SHOTS)
    assert paths_of_shots(home, query) == expected


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

"""Tests of reading labels from the manifests."""

from pathlib import Path

import pytest

from imgret_assets.domain.images.labels import labels_of, shard_labels
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import put


def test_a_label_is_the_folder_and_paths_that_are_not_usable_have_none(home: Home, images: Path) -> None:
    put(images, "cars/red/a.png", picture_bytes(1))
    put(images, "b.png", picture_bytes(2))
    put(images, "cars/no.png", b"no picture")
    refresh_manifest(home)
    assert labels_of(home, ["b.png", "cars/red/a.png", "cars/no.png", "gone.png"]) == [None, "cars/red", None, None]


def test_a_shard_s_labels_are_by_path_and_content(home: Home, images: Path) -> None:
    put(images, "cars/a.png", picture_bytes(1))
    refresh_manifest(home)
    found = {key: label for shard in home.shards for key, label in shard_labels(home, shard).items()}
    [((path, sha), label)] = found.items()
    assert (path, len(sha), label) == ("cars/a.png", 64, "cars")


def test_a_missing_manifest_is_named(home: Home) -> None:
    refresh_manifest(home)
    tables.manifest_path(home.warehouse, "02").unlink()
    with pytest.raises(TableError, match=r"manifest of shard 02 is missing .*materialise `raw_images`"):
        labels_of(home, [])

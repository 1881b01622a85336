"""Tests of a shard's plan: which contents are missing, when a table is current, which manifests are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.shard_plan import count_missing, plan_shard
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import StaleTableError, TableError
from imgret_assets.image_roots import ImageRoots
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import manifest, path_in, put

pytestmark = pytest.mark.usefixtures("settled")
SPACE = FakeEmbedder().space.id
FIRST, SECOND = path_in("01", stem="first"), path_in("01", stem="second")


@pytest.fixture
def listed(home: Home, images: Path) -> Home:
    """A home whose shard 01 has two files with one content, a file with another, and a file that is no image."""
    put(images, FIRST, picture_bytes(1))
    put(images, SECOND, picture_bytes(1))
    put(images, path_in("01", stem="third"), picture_bytes(2))
    put(images, path_in("01", stem="text"), b"no image")
    refresh_manifest(home)
    return home


def test_without_a_table_every_content_is_missing_with_all_its_paths(listed: Home) -> None:
    plan = plan_shard(listed, SPACE, "01")
    content = manifest(listed)[FIRST]["sha256"]
    assert plan.images.num_rows == 3
    assert len(plan.missing) == count_missing(listed, SPACE, "01") == 2
    assert plan.missing[content] == sorted([FIRST, SECOND])
    assert not plan.is_current


def test_a_refreshed_table_is_current(listed: Home) -> None:
    refresh_embeddings(listed, FakeEmbedder())
    plan = plan_shard(listed, SPACE, "01")
    assert (plan.missing, plan.is_current, count_missing(listed, SPACE, "01")) == ({}, True, 0)


def test_a_renamed_file_lacks_no_content_but_its_table_is_not_current(listed: Home, images: Path) -> None:
    refresh_embeddings(listed, FakeEmbedder())
    (images / FIRST).rename(images / path_in("01", stem="renamed"))
    refresh_manifest(listed)
    plan = plan_shard(listed, SPACE, "01")
    assert (plan.missing, plan.is_current) == ({}, False)


def test_another_space_has_a_plan_of_its_own(listed: Home) -> None:
    refresh_embeddings(listed, FakeEmbedder())
    assert len(plan_shard(listed, FakeEmbedder("other").space.id, "01").missing) == 2


def test_a_missing_manifest_is_named_but_counts_nothing(home: Home) -> None:
    assert count_missing(home, SPACE, "01") == 0
    with pytest.raises(TableError, match=r"The manifest of shard 01 is missing .*materialise `raw_images`"):
        plan_shard(home, SPACE, "01")


def test_a_manifest_of_another_root_is_refused(listed: Home, images: Path) -> None:
    elsewhere = open_home(replace(listed.settings, images=ImageRoots.plain(images.parent)))
    with pytest.raises(StaleTableError, match=f"The manifest of shard 01 lists {images}.*files of {images.parent}"):
        plan_shard(elsewhere, SPACE, "01")

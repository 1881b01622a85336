"""Tests of the checks of stored embeddings: what passes, what fails, and the numbers of each finding."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.table_checks import check_one_space, check_unusable_share, check_vectors
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import path_in, put, put_pictures

pytestmark = pytest.mark.usefixtures("settled")
SPACE = FakeEmbedder().space.id


@pytest.fixture
def embedded(home: Home, images: Path) -> Home:
    """A home with twelve usable images and one truncated one, all of them embedded."""
    put_pictures(images, range(12))
    put(images, path_in("01", stem="torn"), picture_bytes(99)[:-40])
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    return home


def replace_vector(home: Home, shard: str, value: float) -> str:
    """Give the first usable image of a shard a vector of equal numbers; return its path."""
    file = tables.embeddings_path(home.warehouse, SPACE, shard)
    rows = tables.read(file).to_pylist()
    row = next(row for row in rows if row["status"] == "ok")
    row["embedding"] = [value] * len(row["embedding"])
    tables.write(file, pa.Table.from_pylist(rows, tables.embeddings_schema(48)), tables.read_metadata(file))
    return row["path"]


def test_embeddings_of_one_space_pass(embedded: Home) -> None:
    finding = check_one_space(embedded, SPACE)
    assert (finding.passed, finding.summary) == (True, f"all 4 shards are of {SPACE}")
    assert finding.facts == {"space": SPACE, "shards": 4, "wrong_shards": 0}


def test_missing_shards_and_shards_of_another_space_are_named(embedded: Home) -> None:
    tables.embeddings_path(embedded.warehouse, SPACE, "03").unlink()
    other = tables.embeddings_path(embedded.warehouse, SPACE, "00")
    tables.write(other, tables.read(other), tables.read_metadata(other) | {"space": "other-00000000"})
    finding = check_one_space(embedded, SPACE)
    assert not finding.passed
    assert finding.summary == "shards 00, 03 are missing or of another space"


def test_usable_vectors_pass_and_the_truncated_image_is_not_counted(embedded: Home) -> None:
    finding = check_vectors(embedded, SPACE)
    assert (finding.passed, finding.facts) == (True, {"vectors": 12, "bad": 0, "examples": []})


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_vector_without_a_direction_is_named(embedded: Home, value: float) -> None:
    path = replace_vector(embedded, "02", value)
    finding = check_vectors(embedded, SPACE)
    assert (finding.passed, finding.facts) == (False, {"vectors": 12, "bad": 1, "examples": [path]})


def test_a_space_without_vectors_fails(home: Home) -> None:
    finding = check_vectors(home, SPACE)
    assert (finding.passed, finding.summary) == (False, "there are no vectors")


def test_a_space_without_vectors_fails_if_images_are_listed(home: Home, images: Path) -> None:
    put_pictures(images, range(1))
    refresh_manifest(home)
    assert not check_vectors(home, SPACE).passed


@pytest.mark.parametrize("files", [{}, {"text.png": b"no image"}], ids=["no file", "no usable file"])
def test_a_collection_without_usable_images_needs_no_vectors(home: Home, images: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        put(images, name, data)
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    finding = check_vectors(home, SPACE)
    assert (finding.passed, finding.summary) == (True, "there are no usable images, so no vectors")


def test_the_share_counts_unusable_files_of_manifest_and_embeddings(embedded: Home, images: Path) -> None:
    put(images, path_in("02", stem="text"), b"no image")
    refresh_manifest(embedded)
    listed = check_unusable_share(embedded, None, limit=0.1)
    assert (listed.facts["files"], listed.facts["unusable"]) == (14, 1)
    finding = check_unusable_share(embedded, SPACE, limit=2 / 14)
    assert (finding.facts["unusable"], finding.facts["status_truncated"]) == (2, 1)
    assert not finding.passed, "the share has to be below the limit"
    assert check_unusable_share(embedded, SPACE, limit=0.15).passed


def test_a_collection_without_files_passes(home: Home) -> None:
    refresh_manifest(home)
    assert check_unusable_share(home, None, limit=0.1).passed


def test_a_missing_manifest_is_an_error(home: Home) -> None:
    with pytest.raises(TableError, match="The manifest of shard 00 is missing"):
        check_unusable_share(home, None, limit=0.1)

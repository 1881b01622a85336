"""Tests of the reader of stored embeddings: rows, vectors, coverage, labels, and tables that don't belong together."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.embeddings.table_reader import (
    StoredContents,
    coverage_of,
    embedding_matrix,
    find_embedding,
    labelled_vectors,
    list_embeddings,
    load_embeddings,
    read_current_shard,
    read_shard,
    shard_metadata,
    stored_size,
    stored_vector_keys,
    usable_batches,
    usable_rows,
    usable_vectors,
    vector_keys_of,
    vectors_of_paths,
)
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError, TableError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture, picture_bytes
from imgret_tests.support.tree import manifest, path_in, put, put_pictures

pytestmark = pytest.mark.usefixtures("settled")
SPACE = FakeEmbedder().space.id
COUNT = 20
TORN = path_in("01", stem="torn")


def refresh(home: Home, embedder: FakeEmbedder | None = None) -> None:
    refresh_manifest(home)
    refresh_embeddings(home, embedder or FakeEmbedder())


def expected_vector(seed: int) -> np.ndarray:
    model = FakeEmbedder()
    return model.embed(model.prepare(picture(seed))[np.newaxis])[0]


@pytest.fixture
def embedded(home: Home, images: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with embeddings in row groups of three: the images of 20 seeds, and a truncated one in shard 01."""
    monkeypatch.setattr(tables, "EMBEDDING_GROUP_ROWS", 3)
    put_pictures(images, range(COUNT))
    put(images, TORN, picture_bytes(99)[:-40])
    refresh(home)
    return home


def test_all_embeddings_are_sorted_by_path_with_their_vectors(embedded: Home) -> None:
    embeddings = load_embeddings(embedded, SPACE)
    assert embeddings.paths == [f"{seed:03d}.png" for seed in range(COUNT)]
    for seed, vector in enumerate(embeddings.vectors):
        np.testing.assert_array_equal(vector, expected_vector(seed))
    assert embeddings.vectors.dtype == np.float32
    rows = manifest(embedded)
    assert embeddings.vector_keys == [f"{rows[path]['sha256']} fake" for path in embeddings.paths]
    assert embeddings.coverage == coverage_of(embeddings.paths, embeddings.vector_keys)
    assert list_embeddings(embedded, SPACE).key_of == stored_vector_keys(embedded, SPACE)


def test_an_empty_collection_has_vectors_of_the_space_s_dimension(home: Home) -> None:
    refresh(home)
    embeddings = load_embeddings(home, SPACE)
    assert (embeddings.paths, embeddings.vectors.shape) == ([], (0, 48))
    assert stored_size(home, SPACE) == (0, 48)


def test_batches_and_whole_shards_have_the_same_usable_rows(embedded: Home) -> None:
    for shard in embedded.shards:
        batches = list(usable_batches(embedded, SPACE, shard, ["path"]))
        assert all(0 < len(rows) == len(vectors) <= 3 for rows, vectors in batches)
        paths = [path for rows, _ in batches for path in rows["path"].to_pylist()]
        rows, vectors = usable_vectors(embedded, SPACE, shard, ["path"])
        assert paths == rows["path"].to_pylist() == usable_rows(embedded, SPACE, shard)["path"].to_pylist()
        assert TORN not in paths
        np.testing.assert_array_equal(vectors, np.concatenate([vectors for _, vectors in batches]))


def test_usable_rows_have_the_columns_of_the_manifest_the_engine_and_on_request_the_vectors(embedded: Home) -> None:
    rows = usable_rows(embedded, SPACE, "01", with_vectors=True)
    listed = manifest(embedded)
    for row in rows.to_pylist():
        assert row.pop("engine") == "fake"
        assert row.pop("embedding") == expected_vector(int(row["path"][:3])).tolist()
        assert row == {name: value for name, value in listed[row["path"]].items() if name not in ("status", "error")}
    assert "embedding" not in usable_rows(embedded, SPACE, "01").column_names
    assert vector_keys_of(rows) == [f"{sha256} fake" for sha256 in rows["sha256"].to_pylist()]


def test_the_vectors_of_some_paths(embedded: Home) -> None:
    vectors = vectors_of_paths(embedded, SPACE, ["003.png", "017.png"])
    assert sorted(vectors) == ["003.png", "017.png"]
    np.testing.assert_array_equal(vectors["017.png"], expected_vector(17))
    assert vectors_of_paths(embedded, SPACE, []) == {}


def test_the_embedding_of_one_image(embedded: Home) -> None:
    stored = find_embedding(embedded, SPACE, "005.png")
    assert stored is not None
    assert (stored.status, stored.sha256) == ("ok", manifest(embedded)["005.png"]["sha256"])
    np.testing.assert_array_equal(stored.vector, expected_vector(5))
    torn = find_embedding(embedded, SPACE, TORN)
    assert torn is not None
    assert (torn.status, torn.vector) == ("truncated", None)
    assert find_embedding(embedded, SPACE, "unknown.png") is None


def test_the_size_counts_all_rows(embedded: Home) -> None:
    assert stored_size(embedded, SPACE) == (COUNT + 1, 48)
    assert stored_size(embedded, "other-00000000") == (0, 0)


def test_the_contents_of_a_shard_are_read_at_random(embedded: Home) -> None:
    stored = StoredContents(embedded, SPACE, "01")
    rows = manifest(embedded, ["01"])
    assert stored.exists
    assert [row[:2] for row in stored.rows] == [(path, row["sha256"]) for path, row in sorted(rows.items())]
    assert stored.row_of.keys() == {row["sha256"] for row in rows.values()}
    assert stored.engines == {"fake"}
    for path in sorted(rows, reverse=True):
        result = stored.get(rows[path]["sha256"])
        if path == TORN:
            assert (result.status, result.vector) == ("truncated", None)
        else:
            np.testing.assert_array_equal(result.vector, expected_vector(int(path[:3])))


def test_contents_that_are_tried_again_are_left_out(embedded: Home, images: Path) -> None:
    path = put(images, path_in("02", stem="away"), picture_bytes(50))
    refresh_manifest(embedded)
    (images / path).unlink()
    refresh_embeddings(embedded, FakeEmbedder())
    stored = StoredContents(embedded, SPACE, "02")
    content = manifest(embedded)[path]["sha256"]
    assert (path, content, "vanished") in stored.rows
    assert content not in stored.row_of


def test_a_shard_without_a_table_of_the_space_has_no_contents(embedded: Home) -> None:
    missing = StoredContents(embedded, "other-00000000", "01")
    assert (missing.exists, missing.rows, missing.row_of, missing.engines) == (False, [], {}, set())
    assert shard_metadata(embedded, "other-00000000", "01") is None


def test_metadata_names_space_dimension_and_shard(embedded: Home) -> None:
    metadata = shard_metadata(embedded, SPACE, "02")
    assert metadata is not None
    assert (metadata.space, metadata.dim, metadata.shard, metadata.shards) == (SPACE, 48, "02", 4)


def test_a_changed_manifest_makes_the_embeddings_stale_but_readable(embedded: Home, images: Path) -> None:
    put(images, path_in("02", stem="new"), picture_bytes(50))
    before = stored_vector_keys(embedded, SPACE)
    refresh_manifest(embedded)
    with pytest.raises(StaleTableError, match=r"embeddings of shard 02 are older than its manifest.*for shard 02"):
        read_current_shard(embedded, SPACE, "02", ["path"])
    with pytest.raises(StaleTableError, match="older than its manifest"):
        list_embeddings(embedded, SPACE)
    assert "path" in read_shard(embedded, SPACE, "02", ["path"]).column_names
    assert stored_vector_keys(embedded, SPACE) == before


def test_a_changed_content_makes_the_embeddings_stale(embedded: Home, images: Path) -> None:
    put(images, "003.png", picture_bytes(88))
    refresh_manifest(embedded)
    with pytest.raises(StaleTableError, match="older than its manifest"):
        list_embeddings(embedded, SPACE)


def test_a_table_of_another_space_is_refused(embedded: Home) -> None:
    refresh(embedded, FakeEmbedder("other"))
    other = tables.embeddings_path(embedded.warehouse, FakeEmbedder("other").space.id, "01")
    tables.embeddings_path(embedded.warehouse, SPACE, "01").write_bytes(other.read_bytes())
    with pytest.raises(TableError, match=rf"shard=01\.parquet is of space other-.*Expected: space {SPACE} in 4 shards"):
        list_embeddings(embedded, SPACE)


def test_a_vector_without_a_direction_is_named_with_its_path(embedded: Home) -> None:
    file = tables.embeddings_path(embedded.warehouse, SPACE, "00")
    rows = tables.read(file).to_pylist()
    rows[-1]["embedding"] = [0.0] * 48
    tables.write(file, pa.Table.from_pylist(rows, tables.embeddings_schema(48)), tables.read_metadata(file))
    with pytest.raises(TableError, match=f"The embedding of {rows[-1]['path']} is zero or not finite"):
        load_embeddings(embedded, SPACE)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param((["a", "c"], ["1", "2"]), id="path"),
        pytest.param((["a", "b"], ["1", "3"]), id="vector key"),
        pytest.param((["a"], ["1"]), id="number"),
    ],
)
def test_coverage_depends_on_paths_and_keys_not_on_their_order(change: tuple[list[str], list[str]]) -> None:
    assert coverage_of(["a", "b"], ["1", "2"]) == coverage_of(["b", "a"], ["2", "1"])
    assert coverage_of(*change) != coverage_of(["a", "b"], ["1", "2"])


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_column_becomes_a_matrix_with_its_numbers_unchanged(chunks: int) -> None:
    """A fault in a table must not be hidden while it is read."""
    kind = pa.list_(pa.float32(), 2)
    rows = [[1.0, 2.0], None, [np.nan, 1.0], [np.inf, 0.0]]
    column = pa.chunked_array([pa.array(rows, kind)] * chunks)
    expected = np.array([[1, 2], [0, 0], [np.nan, 1], [np.inf, 0]] * chunks, dtype=np.float32)
    np.testing.assert_array_equal(embedding_matrix(column), expected)
    np.testing.assert_array_equal(embedding_matrix(column.slice(1, 2)), expected[1:3])
    assert embedding_matrix(column.slice(0, 0)).shape == (0, 2)
    assert embedding_matrix(pa.chunked_array([], kind)).shape == (0, 2)


def test_vectors_come_with_the_labels_of_the_manifest(embedded: Home, images: Path) -> None:
    put(images, "cars/red/a.png", picture_bytes(60))
    refresh(embedded)
    labelled = labelled_vectors(embedded, SPACE)
    label_of = dict(zip(labelled.paths, labelled.labels, strict=True))
    assert len(labelled.paths) == COUNT + 1
    assert (label_of["000.png"], label_of["cars/red/a.png"]) == (None, "cars/red")
    rows = manifest(embedded)
    assert labelled.contents == [rows[path]["sha256"] for path in labelled.paths]
    assert (labelled.vectors.shape, labelled.vectors.dtype, labelled.stale) == ((COUNT + 1, 48), np.float32, 0)


def test_vectors_of_files_that_have_changed_are_left_out_and_counted(embedded: Home, images: Path) -> None:
    """A space that is not in use is not refreshed; only images that are unchanged can be compared."""
    (images / "000.png").unlink()
    put(images, "001.png", picture_bytes(77))
    os.utime(images / "001.png", (1, 1))
    refresh(embedded, FakeEmbedder("other", 3))
    labelled = labelled_vectors(embedded, SPACE)
    assert (len(labelled.paths), labelled.stale, len(labelled.vectors)) == (COUNT - 2, 2, COUNT - 2)
    assert not {"000.png", "001.png"} & set(labelled.paths)


def test_a_missing_shard_is_named(embedded: Home) -> None:
    tables.embeddings_path(embedded.warehouse, SPACE, "02").unlink()
    for read in (labelled_vectors, stored_vector_keys, list_embeddings):
        with pytest.raises(TableError, match=f"The embeddings of shard 02 in {SPACE} is missing"):
            read(embedded, SPACE)

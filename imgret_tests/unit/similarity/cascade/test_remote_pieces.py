"""A piece in another process: cut into tiles, and refused where it would differ."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.cluster.workers import versions
from imgret_assets.domain.similarity.cascade import CascadeOptions
from imgret_assets.domain.similarity.cascade.on_cluster import nearest_chunk_rows, pair_chunk_rows, write_vectors
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.cascade.preparation import PreparedVectors, Selection
from imgret_assets.domain.similarity.cascade.remote_pieces import RemoteSearch, check_node, compare_chunks, load_chunk
from imgret_assets.errors import UnfitWorkerError
from imgret_tests.support.vector_sets import clusters, expected_pairs

PROJECTED = Plan((15, 48), plain=False)


@pytest.fixture
def prepared(rng: np.random.Generator) -> PreparedVectors:
    vectors = clusters(rng, 150, 70).astype(np.float32)
    return PreparedVectors(vectors, Selection(75), lambda *_: 0.7, 64, "float32", CascadeOptions(plan=PROJECTED))


@pytest.fixture
def search(prepared: PreparedVectors, tmp_path: Path) -> RemoteSearch:
    return RemoteSearch(write_vectors(prepared, tmp_path), prepared.bounds, versions(), None)


@pytest.mark.parametrize("tile_rows", [16, 32, 100])
def test_tiles_have_the_pairs_of_their_chunks(prepared: PreparedVectors, search: RemoteSearch, tile_rows: int) -> None:
    search = replace(search, tile_rows=tile_rows)
    left, right = (load_chunk(chunk, search) for chunk in prepared.chunks)
    found = set()
    for sides, starts in (((left, None), (0, 0)), ((left, right), (0, 75)), ((right, None), (75, 75))):
        answer = compare_chunks(*sides, (0.7, 0.7), search)
        assert (answer.left.dtype, answer.right.dtype, answer.scores.dtype) == (np.int32, np.int32, np.float64)
        rows = zip(answer.left + starts[0], answer.right + starts[1], answer.scores, strict=True)
        found |= {(min(int(a), int(b)), max(int(a), int(b)), float(score)) for a, b, score in rows}
    expected = expected_pairs(prepared.vectors, 0.7)
    assert found == set(zip(expected.a.tolist(), expected.b.tolist(), expected.scores.tolist(), strict=True))


def test_a_worker_with_other_vectors_or_versions_refuses(prepared: PreparedVectors, search: RemoteSearch) -> None:
    first, second = prepared.chunks
    with pytest.raises(UnfitWorkerError, match="holds other vectors there"):
        load_chunk(replace(first, start=second.start, stop=second.stop), search)
    with pytest.raises(UnfitWorkerError, match="it has numpy"):
        load_chunk(first, replace(search, versions={"numpy": "1.0"}))
    with pytest.raises(UnfitWorkerError, match="it can't read"):
        load_chunk(first, replace(search, vectors=search.vectors.with_name("gone.npy")))
    search.vectors.write_bytes(search.vectors.read_bytes()[:5000])
    with pytest.raises(UnfitWorkerError, match="it can't read"):
        load_chunk(first, search)


def test_a_node_that_does_not_see_the_home_is_told_so(search: RemoteSearch) -> None:
    size = search.vectors.stat().st_size
    check_node(search.vectors, size, "float32")
    with pytest.raises(UnfitWorkerError, match="IMGRET_HOME has to be a folder that all nodes share"):
        check_node(search.vectors.with_name("gone.npy"), size, "float32")
    with pytest.raises(UnfitWorkerError, match="does not see"):
        check_node(search.vectors, size + 1, "float32")


def test_the_vectors_are_written_once(prepared: PreparedVectors, tmp_path: Path) -> None:
    path = write_vectors(prepared, tmp_path)
    np.testing.assert_array_equal(np.load(path), prepared.vectors[prepared.order])
    inode = path.stat().st_ino
    assert write_vectors(prepared, tmp_path) == path
    assert path.stat().st_ino == inode


def test_chunks_grow_with_the_collection() -> None:
    assert [pair_chunk_rows(count, 3856) for count in (1000, 640_000, 10**7)] == [3856, 10_000, 32_768]
    assert [nearest_chunk_rows(count, 512) for count in (1000, 5_120_000, 10**8)] == [2048, 10_000, 32_768]

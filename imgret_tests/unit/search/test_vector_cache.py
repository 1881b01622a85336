from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.search.vector_cache import CachedVectors, cached_vectors
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.errors import SettingError, StaleTableError
from imgret_assets.settings import Settings
from imgret_tests.support.chain import Chain, cosine
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.tree import put


def without_neighbours(vectors: np.ndarray) -> CachedVectors:
    """Images p00, p01 …, without known neighbours."""
    count = len(vectors)
    paths = [f"p{number:02d}" for number in range(count)]
    neighbours, weights = np.zeros((count, 0), np.int32), np.zeros((count, 0))
    return CachedVectors(paths, unit_rows(vectors), neighbours, weights, np.ones(count))


@pytest.mark.parametrize("count", [1, 2, 50])
def test_nearest_among_some_images_are_those_of_all_cosines(rng: np.random.Generator, count: int) -> None:
    vectors = rng.normal(size=(12, 6)).astype(np.float32)
    rows = [7, 2, 11, 3, 5]
    pairs = without_neighbours(vectors).nearest_among([f"p{row:02d}" for row in rows], count)
    expected = set()
    for row in rows:
        others = sorted(set(rows) - {row}, key=lambda other: -cosine(vectors[row], vectors[other]))
        expected |= {frozenset((f"p{row:02d}", f"p{other:02d}")) for other in others[:count]}
    assert {frozenset(pair[:2]) for pair in pairs} == expected
    assert len(pairs) == len(expected)
    for a, b, score in pairs:
        assert score == pytest.approx(cosine(vectors[int(a[1:])], vectors[int(b[1:])]), abs=1e-6)


class Watched(np.ndarray):
    """Vectors that note how many threads BLAS has when they are multiplied.

    Other tests may have loaded the BLAS of SciPy, too. It multiplies nothing here, and keeps its threads.
    """

    threads: ClassVar[list[int]] = []

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc is np.matmul:
            libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
            self.threads.append(min(library["num_threads"] for library in libraries))
        plain = [np.asarray(array) if isinstance(array, Watched) else array for array in inputs]
        return getattr(ufunc, method)(*plain, **options)


def test_no_product_for_a_query_starts_threads_of_blas(rng: np.random.Generator) -> None:
    plain = without_neighbours(rng.normal(size=(40, 8)).astype(np.float32))
    watched = replace(plain, unit=plain.unit.view(Watched))
    query = rng.normal(size=8)
    Watched.threads.clear()
    with threadpool_limits(3, user_api="blas"):
        assert watched.rerank(query, limit=5) == plain.rerank(query, limit=5)
        assert (watched.approximate_cosines(query) == plain.approximate_cosines(query)).all()
        assert watched.nearest_among(plain.paths, 2) == plain.nearest_among(plain.paths, 2)
    assert len(Watched.threads) >= 4
    assert set(Watched.threads) == {1}


@pytest.mark.parametrize("paths", [[], ["p03"], ["p03", "gone.png"], ["p03", "p03"]])
def test_one_image_has_no_neighbour_among_itself(rng: np.random.Generator, paths: list[str]) -> None:
    assert without_neighbours(rng.normal(size=(5, 4)).astype(np.float32)).nearest_among(paths, 3) == []


@pytest.fixture
def built(settings: Settings) -> Chain:
    """Twenty images in five folders, with pairs and neighbours."""
    chain = Chain(settings)
    write_pictures(chain.root, 20)
    refresh(chain)
    return chain


def refresh(chain: Chain) -> None:
    chain.refresh_tables()
    refresh_neighbours(chain.home, chain.space.id)


def test_vectors_and_neighbours_are_those_of_the_tables(built: Chain) -> None:
    cached = cached_vectors(built.home, built.space.id)
    vectors = built.vectors()
    assert cached.paths == sorted(vectors)
    query = vectors[cached.paths[3]]
    expected = [cosine(query, vectors[path]) for path in cached.paths]
    np.testing.assert_allclose(cached.approximate_cosines(query), expected, rtol=0, atol=1e-6)
    path, score = cached.nearest_of(cached.paths[3], 1)[0]
    best = max((value, other) for value, other in zip(expected, cached.paths, strict=True) if other != cached.paths[3])
    assert (path, score) == (best[1], pytest.approx(best[0], abs=1e-6))
    assert len(cached.nearest_of(cached.paths[3], 4)) == 4
    assert cached.nearest_of("nowhere.png", 4) == []


def test_only_images_of_the_label_that_are_not_excluded_are_allowed(built: Chain) -> None:
    cached = cached_vectors(built.home, built.space.id)
    excluded = [cached.paths[0], "nowhere.png"]
    allowed = cached.allowed_rows(label="family0", excluded_paths=excluded)
    assert [path for path, is_allowed in zip(cached.paths, allowed, strict=True) if is_allowed] == [
        path for path in cached.paths if path.startswith("family0/") and path != cached.paths[0]
    ]
    assert cached.allowed_rows(excluded_paths=excluded).sum() == 19


def test_only_images_whose_path_starts_with_a_folder_are_allowed(built: Chain) -> None:
    cached = cached_vectors(built.home, built.space.id)
    allowed = cached.allowed_rows(start="family1/", excluded_paths=[])
    assert [path for path, is_allowed in zip(cached.paths, allowed, strict=True) if is_allowed] == [
        path for path in cached.paths if path.startswith("family1/")
    ]
    assert not cached.allowed_rows(start="family/", excluded_paths=[]).any()
    assert not cached.allowed_rows(label="family0", start="family1/", excluded_paths=[]).any()


def test_tables_are_read_once_and_again_after_a_change(built: Chain) -> None:
    first = cached_vectors(built.home, built.space.id)
    assert cached_vectors(built.home, built.space.id) is first
    put(built.root, "new.png", picture_bytes(99))
    refresh(built)
    assert "new.png" in cached_vectors(built.home, built.space.id).paths


def test_neighbours_of_other_embeddings_are_an_error(built: Chain) -> None:
    put(built.root, "new.png", picture_bytes(99))
    built.refresh_tables()
    with pytest.raises(StaleTableError, match=r"was made from other embeddings.*use mode index or exact"):
        cached_vectors(built.home, built.space.id)


def test_vectors_that_exceed_the_memory_limit_are_an_error(built: Chain) -> None:
    small = Chain(replace(built.settings, memory_gb=1e-9))
    with pytest.raises(SettingError, match=r"vectors of all 20 images in memory.*raise IMGRET_MEMORY_GB"):
        cached_vectors(small.home, built.space.id)

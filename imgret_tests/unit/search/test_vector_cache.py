"""Neighbours out of a loaded collection."""

import numpy as np
import pytest

from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.search.vector_cache import Collection
from imgret_tests.support.chain import cosine


def collection(vectors: np.ndarray) -> Collection:
    """Images p00, p01 …, with nothing known of their neighbours."""
    count = len(vectors)
    paths = [f"p{number:02d}" for number in range(count)]
    return Collection(paths, unit_rows(vectors), np.zeros((count, 0), np.int32), np.zeros((count, 0)), np.ones(count))


@pytest.mark.parametrize("count", [1, 2, 50])
def test_nearest_among_some_images_are_those_of_all_cosines(rng: np.random.Generator, count: int) -> None:
    vectors = rng.normal(size=(12, 6)).astype(np.float32)
    asked = [7, 2, 11, 3, 5]
    found = collection(vectors).nearest_among([f"p{row:02d}" for row in asked], count)
    expected = set()
    for row in asked:
        others = sorted(
            (other for other in asked if other != row), key=lambda other: -cosine(vectors[row], vectors[other])
        )
        expected |= {frozenset((f"p{row:02d}", f"p{other:02d}")) for other in others[:count]}
    assert {frozenset(pair[:2]) for pair in found} == expected
    assert len(found) == len(expected)
    for one, other, score in found:
        assert score == pytest.approx(cosine(vectors[int(one[1:])], vectors[int(other[1:])]), abs=1e-6)


@pytest.mark.parametrize("asked", [[], ["p03"], ["p03", "gone.png"], ["p03", "p03"]])
def test_one_image_has_nothing_near_among_itself(rng: np.random.Generator, asked: list[str]) -> None:
    assert collection(rng.normal(size=(5, 4)).astype(np.float32)).nearest_among(asked, 3) == []

"""Random pairs and the background score."""

import numpy as np
import pytest

from imgret_assets.domain.analysis import sampling
from imgret_assets.domain.analysis.sampling import background_score, pair_dots, random_pairs
from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_tests.unit.analysis.sample_collections import cosines


def test_all_pairs_of_few_images_are_used() -> None:
    a, b = random_pairs(20, 190)
    assert sorted(zip(a.tolist(), b.tolist(), strict=True)) == [(i, j) for i in range(20) for j in range(i + 1, 20)]
    assert [len(side) for side in random_pairs(1)] == [0, 0]


def test_pairs_of_many_images_are_a_fixed_sample() -> None:
    a, b = random_pairs(400, 20_000)
    assert len(a) == 20_000
    assert (a != b).all()
    assert {*a.tolist(), *b.tolist()} == set(range(400))
    again = random_pairs(400, 20_000)
    assert (again[0].tolist(), again[1].tolist()) == (a.tolist(), b.tolist())


@pytest.mark.parametrize("pairs", [0, 5, 3000])
def test_dots_are_those_of_each_pair(rng: np.random.Generator, pairs: int) -> None:
    """Many pairs are computed by several threads."""
    left, right = rng.normal(size=(40, 7)).astype(np.float32), rng.normal(size=(50, 7)).astype(np.float32)
    a, b = rng.integers(0, 40, pairs), rng.integers(0, 50, pairs)
    dots = pair_dots(left, right, a, b)
    assert dots.dtype == np.float64
    np.testing.assert_allclose(dots, (left.astype(np.float64) @ right.T.astype(np.float64))[a, b], atol=1e-12)


def test_the_background_score_is_the_median_of_all_pairs(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(30, 5)).astype(np.float32)
    median = float(np.median(cosines(vectors)[np.triu_indices(30, 1)]))
    assert background_score(unit_rows(vectors)) == pytest.approx(median, abs=1e-6)
    assert background_score(unit_rows(vectors[:1])) == 0.0


def test_the_background_score_of_many_images_is_sampled_well(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = (rng.normal(size=(400, 5)) + 0.5).astype(np.float32)
    exact = background_score(unit_rows(vectors))
    monkeypatch.setattr(sampling, "random_pairs", lambda count: random_pairs(count, 20_000))
    assert background_score(unit_rows(vectors)) == pytest.approx(exact, abs=0.02)

"""The recall of approximate results: the figures of a sample, and the limit that the true recall seldom falls below."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgret_assets.domain.similarity.approximate import recall
from imgret_assets.domain.similarity.approximate.recall import (
    Recall,
    lower_limit,
    recall_of_neighbours,
    recall_of_pairs,
    sampled_rows,
)
from imgret_assets.domain.similarity.neighbour_lists import NeighbourLists
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs
from imgret_tests.support.vector_sets import expected_neighbours, expected_pairs


@pytest.fixture
def vectors(rng: np.random.Generator) -> np.ndarray:
    centres = rng.standard_normal((30, 24))
    return (centres[rng.integers(0, 30, 400)] + 0.5 * rng.standard_normal((400, 24))).astype(np.float32)


def limit_of(result: Recall) -> float:
    assert result.at_least is not None
    return result.at_least


def mean_share(pairs: ScoredPairs, is_found: np.ndarray, count: int) -> float:
    """Return the recall of all images, from which of the true pairs were found."""
    true, found = np.zeros(count), np.zeros(count)
    for side in (pairs.a, pairs.b):
        np.add.at(true, side, 1)
        np.add.at(found, side, is_found)
    return float((found[true > 0] / true[true > 0]).mean())


def test_the_sample_of_all_images_gives_the_recall(vectors: np.ndarray, rng: np.random.Generator) -> None:
    pairs = expected_pairs(vectors, 0.6)
    is_found = rng.random(len(pairs)) < 0.8
    result = recall_of_pairs(vectors, pairs.where(is_found), 0.6, sampled=400)
    assert result.mean == pytest.approx(mean_share(pairs, is_found, 400), abs=1e-12)
    assert result.images == len(np.unique(np.concatenate([pairs.a, pairs.b])))
    assert result.mean is not None
    assert 0.6 < limit_of(result) < result.mean


def test_nothing_missing_and_nothing_found(vectors: np.ndarray) -> None:
    pairs = expected_pairs(vectors, 0.6)
    whole = recall_of_pairs(vectors, pairs, 0.6, sampled=100)
    assert whole.mean == 1.0
    assert whole.at_least == pytest.approx(0.05 ** (1 / whole.images))
    none = recall_of_pairs(vectors, pairs.where(slice(0)), 0.6, sampled=100)
    assert (none.mean, none.at_least) == (0.0, 0.0)


def test_images_without_pairs_do_not_count(vectors: np.ndarray) -> None:
    assert recall_of_pairs(vectors, expected_pairs(vectors, 1.0), 1.0) == Recall(None, None, 0)


def test_with_a_cap_the_best_pairs_of_an_image_count(vectors: np.ndarray) -> None:
    pairs = expected_pairs(vectors, 0.6)
    lists = expected_neighbours(vectors, 2)
    kept = np.zeros((400, 400), bool)
    kept[np.arange(400)[:, None], lists.rows] = True
    is_best = (kept | kept.T)[pairs.a, pairs.b]
    assert recall_of_pairs(vectors, pairs.where(is_best), 0.6, max_neighbours=2, sampled=400).mean == 1.0
    assert (recall_of_pairs(vectors, pairs.where(is_best), 0.6, max_neighbours=3, sampled=400).mean or 1.0) < 1.0
    without_one = np.flatnonzero(is_best)[1:]
    assert (recall_of_pairs(vectors, pairs.where(without_one), 0.6, max_neighbours=2, sampled=400).mean or 1.0) < 1.0


def test_the_recall_of_neighbours_is_the_share_of_the_true_ones(vectors: np.ndarray, rng: np.random.Generator) -> None:
    lists = expected_neighbours(vectors, 12)
    assert recall_of_neighbours(vectors, lists, 10).mean == 1.0
    # In place of some of the 10 nearest, the list has later ones.
    keep = np.sort(np.argsort(rng.random((400, 12)), axis=1)[:, :10], axis=1)
    rows, scores = (np.take_along_axis(column, keep, axis=1) for column in lists)
    result = recall_of_neighbours(vectors, NeighbourLists(rows, scores), 10, sampled=400)
    assert result.mean == pytest.approx((keep < 10).mean(), abs=1e-12)
    assert result.images == 400


def test_one_image_has_no_neighbours() -> None:
    alone = np.ones((1, 4), np.float32)
    assert recall_of_neighbours(alone, expected_neighbours(alone, 3), 3) == Recall(None, None, 0)


def test_the_sample_is_the_same_for_the_same_number() -> None:
    rows = sampled_rows(1000, 100)
    np.testing.assert_array_equal(rows, sampled_rows(1000, 100))
    assert len(np.unique(rows)) == 100
    np.testing.assert_array_equal(sampled_rows(50, 100), np.arange(50))


@given(st.floats(0, 1), st.integers(1, 5000))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_limit_is_where_the_bound_is_five_percent(mean: float, count: int) -> None:
    limit = lower_limit(mean, count)
    assert 0 <= limit <= mean
    if 1e-6 < limit < mean - 1e-6 and mean < 1:
        kl = mean * np.log(mean / limit) + (1 - mean) * np.log((1 - mean) / (1 - limit))
        assert np.exp(-count * kl) == pytest.approx(0.05, rel=1e-3)
    assert lower_limit(mean, 4 * count) >= limit


@pytest.mark.parametrize("true_recall", [0.5, 0.95, 0.998])
def test_the_true_recall_is_seldom_below_the_limit(true_recall: float) -> None:
    """Images whose rows are all found or all missing spread most; 95 % of the limits must be right."""
    rng = np.random.default_rng(7)
    population = (np.arange(20_000) >= 20_000 * (1 - true_recall)).astype(float)
    limits = [limit_of(Recall.of(rng.choice(population, 500, replace=False))) for _ in range(400)]
    assert np.mean(np.array(limits) <= true_recall) >= 0.95
    assert min(limits) > true_recall - 0.15


def test_the_limit_covers_the_recall_of_pairs(vectors: np.ndarray, rng: np.random.Generator) -> None:
    """Missing pairs are those of a few images, as where cells are cut badly, so the rows of an image go together."""
    pairs = expected_pairs(vectors, 0.6)
    is_lost = rng.random(400) < 0.1
    is_found = ~(is_lost[pairs.a] | is_lost[pairs.b])
    true_recall = mean_share(pairs, is_found, 400)
    covered = []
    for seed in range(40):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(recall, "_SEED", seed)
            covered.append(limit_of(recall_of_pairs(vectors, pairs.where(is_found), 0.6, sampled=80)) <= true_recall)
    assert np.mean(covered) >= 0.95

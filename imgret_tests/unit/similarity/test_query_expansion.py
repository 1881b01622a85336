"""Averages with neighbours, and rankings by them, against averaged vectors that are written out."""

import numpy as np
import pytest

from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.similarity.brute_force import nearest_neighbours
from imgret_assets.domain.similarity.query_expansion import (
    RANKING_NEIGHBOURS,
    averaged_norms,
    averaged_rows,
    averaging_weights,
    rerank,
)
from imgret_tests.support.vector_sets import all_scores


def families(rng: np.random.Generator, count: int) -> np.ndarray:
    centres = rng.normal(size=(6, 16))
    return (centres[rng.integers(0, 6, count)] + 0.8 * rng.normal(size=(count, 16))).astype(np.float32)


@pytest.mark.parametrize("count", [3, 15, 120])
def test_rank_scores_are_cosines_of_averaged_vectors(rng: np.random.Generator, count: int) -> None:
    vectors = families(rng, count)
    rows, scores = nearest_neighbours(vectors, 20)
    unit, query = unit_rows(vectors), rng.normal(size=16) * 7
    weights = averaging_weights(rows, scores)
    order, plain_scores, rank_scores = rerank(unit, query, rows, weights, averaged_norms(unit, rows, weights))
    exact = unit.astype(np.float64)
    direction = query / np.linalg.norm(query)
    truth = exact @ direction
    nearest = np.argsort(-truth, kind="stable")[:RANKING_NEIGHBOURS]
    averaged_query = direction + sum(max(0.0, truth[row]) * exact[row] for row in nearest)
    for row in range(count):
        neighbours = zip(rows[row, :RANKING_NEIGHBOURS], scores[row, :RANKING_NEIGHBOURS], strict=True)
        mean = exact[row] + sum(max(0.0, score) * exact[neighbour] for neighbour, score in neighbours)
        expected = mean @ averaged_query / np.linalg.norm(mean) / np.linalg.norm(averaged_query)
        assert rank_scores[row] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(plain_scores, truth, atol=1e-5)
    assert order[0] == np.argmax(truth)
    assert sorted(order.tolist()) == list(range(count))
    assert (np.diff(rank_scores[order[1:]]) <= 0).all()


def test_the_first_hit_of_the_plain_ranking_stays_first() -> None:
    """One image points at the query; the average of a family next to it ranks the members of the family higher."""
    unit = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.8, 0.59, 0.1], [0.8, 0.59, -0.1]], np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    rows = np.array([[-1, -1], [2, 3], [1, 3], [1, 2]])
    weights = averaging_weights(rows, np.where(rows < 0, -np.inf, 0.98))
    norms = averaged_norms(unit, rows, weights)
    order, _, rank_scores = rerank(unit, np.array([0.951, 0.309, 0.0]), rows, weights, norms)
    assert order[0] == 0
    assert np.argmax(rank_scores) != 0


def test_only_allowed_rows_are_ranked_and_no_more_than_the_limit(rng: np.random.Generator) -> None:
    vectors = families(rng, 60)
    rows, scores = nearest_neighbours(vectors, 20)
    unit, query = unit_rows(vectors), rng.normal(size=16)
    weights = averaging_weights(rows, scores)
    norms = averaged_norms(unit, rows, weights)
    allowed = rng.random(60) < 0.5
    whole, _, _ = rerank(unit, query, rows, weights, norms, allowed=allowed)
    assert sorted(whole.tolist()) == np.flatnonzero(allowed).tolist()
    for limit in (1, 5, 100):
        part, _, _ = rerank(unit, query, rows, weights, norms, allowed=allowed, limit=limit)
        assert part.tolist() == whole[:limit].tolist()


def test_missing_neighbours_have_no_weight() -> None:
    unit = np.eye(3, dtype=np.float32)
    rows = np.array([[1, -1], [0, -1], [-1, -1]])
    weights = averaging_weights(rows, np.where(rows < 0, -np.inf, 0.5))
    assert weights.tolist() == [[0.5, 0.0], [0.5, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(averaged_norms(unit, rows, weights), [np.sqrt(1.25), np.sqrt(1.25), 1.0])


@pytest.mark.parametrize("count", [6, 40])
def test_averaged_rows_are_weighted_means(rng: np.random.Generator, count: int) -> None:
    """Of six rows, some of the five nearest point the other way: they have no weight."""
    vectors = rng.normal(size=(count, 9)).astype(np.float32)
    rows, scores = nearest_neighbours(vectors, 8)
    unit, every_score = unit_rows(vectors), all_scores(vectors)
    averaged = averaged_rows(unit, rows, scores, 5)
    assert averaged.dtype == np.float32
    for row in range(count):
        best = sorted(set(range(count)) - {row}, key=lambda other: (-every_score[row, other], other))[:5]
        mean = unit[row] + sum(max(0.0, every_score[row, other]) * unit[other] for other in best)
        np.testing.assert_allclose(averaged[row], mean / np.linalg.norm(mean), atol=1e-5)


def test_norms_are_those_of_the_averaged_rows(rng: np.random.Generator) -> None:
    """Over several blocks; both uses average alike."""
    vectors = families(rng, 9000)
    unit = unit_rows(vectors)
    rows = rng.integers(0, 9000, (9000, 3))
    scores = rng.uniform(0.1, 1, (9000, 3))
    weights = averaging_weights(rows, scores, 3)
    sums = unit.astype(np.float64) + np.einsum("ij,ijk->ik", weights, unit[rows])
    np.testing.assert_allclose(averaged_norms(unit, rows, weights), np.linalg.norm(sums, axis=1), rtol=1e-12)
    np.testing.assert_allclose(averaged_rows(unit, rows, scores, 3), unit_rows(sums), atol=1e-6)

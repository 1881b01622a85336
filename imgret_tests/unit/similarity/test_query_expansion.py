"""Ranking again against the averaged vectors written out."""

import numpy as np
import pytest

from imgret_assets.domain.similarity.brute_force import plain_nearest
from imgret_assets.domain.similarity.query_expansion import OVER, averaged, averaged_norms, averaging_weights, rerank


def prepared(rng: np.random.Generator, count: int, k: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centres = rng.normal(size=(6, 16))
    vectors = (centres[rng.integers(0, 6, count)] + 0.8 * rng.normal(size=(count, 16))).astype(np.float32)
    rows, scores = plain_nearest(vectors, k)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), rows, scores


@pytest.mark.parametrize("count", [3, 15, 120])
def test_scores_are_the_cosines_of_averaged_vectors(rng: np.random.Generator, count: int) -> None:
    unit, rows, scores = prepared(rng, count)
    query = rng.normal(size=16) * 7
    weights = averaging_weights(rows, scores)
    order, plain, found = rerank(unit, query, rows, weights, averaged_norms(unit, rows, weights))
    wide = unit.astype(np.float64)
    wanted = query / np.linalg.norm(query)
    truth = wide @ wanted
    nearest = np.argsort(-truth, kind="stable")[:OVER]
    averaged_query = wanted + sum(max(0.0, truth[row]) * wide[row] for row in nearest)
    for row in range(count):
        mean = wide[row] + sum(max(0.0, s) * wide[o] for o, s in zip(rows[row, :OVER], scores[row, :OVER], strict=True))
        expected = mean @ averaged_query / np.linalg.norm(mean) / np.linalg.norm(averaged_query)
        assert found[row] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(plain, truth, atol=1e-5)
    assert order[0] == np.argmax(truth)
    assert sorted(order.tolist()) == list(range(count))
    assert (np.diff(found[order[1:]]) <= 0).all()


def test_the_plain_first_hit_stays_first_where_averaging_would_not_keep_it() -> None:
    """One image points at the query; a family beside it lifts its own members above."""
    unit = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.8, 0.59, 0.1], [0.8, 0.59, -0.1]], np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    rows = np.array([[-1, -1], [2, 3], [1, 3], [1, 2]])
    scores = np.where(rows < 0, -np.inf, 0.98)
    weights = averaging_weights(rows, scores)
    order, _, found = rerank(unit, np.array([0.951, 0.309, 0.0]), rows, weights, averaged_norms(unit, rows, weights))
    assert order[0] == 0
    assert np.argmax(found) != 0


def test_missing_neighbours_count_nothing() -> None:
    unit = np.eye(3, dtype=np.float32)
    rows, scores = (
        np.array([[1, -1], [0, -1], [-1, -1]]),
        np.array([[0.5, -np.inf], [0.5, -np.inf], [-np.inf, -np.inf]]),
    )
    weights = averaging_weights(rows, scores)
    assert weights.tolist() == [[0.5, 0.0], [0.5, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(averaged_norms(unit, rows, weights), [np.sqrt(1.25), np.sqrt(1.25), 1.0])


@pytest.mark.parametrize("count", [6, 40])
def test_averaged_vectors_are_weighted_means(rng: np.random.Generator, count: int) -> None:
    """Of six vectors, some of the five nearest point the other way: they have no weight."""
    vectors = rng.normal(size=(count, 9)).astype(np.float32)
    rows, scores = plain_nearest(vectors, 5)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit.astype(np.float64) @ unit.T.astype(np.float64)
    smooth = averaged(unit, rows, scores, 5)
    for row in range(count):
        best = sorted(set(range(count)) - {row}, key=lambda other: (-cosines[row, other], other))[:5]
        mean = unit[row] + sum(max(0.0, cosines[row, other]) * unit[other] for other in best)
        np.testing.assert_allclose(smooth[row], mean / np.linalg.norm(mean), atol=1e-5)

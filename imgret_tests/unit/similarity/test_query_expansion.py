"""Ranking again against the averaged vectors written out, and its measure against queries that are held out."""

import numpy as np
import pytest

from imgret_assets.domain.analysis.rerank_gain import measure_gain
from imgret_assets.domain.similarity.brute_force import plain_nearest
from imgret_assets.domain.similarity.query_expansion import OVER, averaged_norms, averaging_weights, rerank


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


def test_large_families_gain_and_queries_are_held_out(rng: np.random.Generator) -> None:
    labels = np.repeat(np.arange(5), 30)
    vectors = (rng.normal(size=(5, 24))[labels] + 1.7 * rng.normal(size=(150, 24))).astype(np.float32)
    contents = [f"content{row}" for row in range(150)]
    names: list[str | None] = [f"label{label}" for label in labels]
    found = measure_gain(vectors, contents, names)
    assert found is not None
    assert found.queries == 150
    assert found.helps
    assert found.average_reranked > found.average + 0.05
    assert found.first_reranked == found.first
    # Copies are held out together: nothing is found by its own copy.
    twice = [row for row in range(150) for _ in range(2)]
    copied = measure_gain(vectors[twice], [contents[row] for row in twice], [names[row] for row in twice])
    assert copied is not None
    assert copied.first == pytest.approx(found.first, abs=0.1)


def test_no_query_is_in_the_collection_it_is_asked_of(rng: np.random.Generator) -> None:
    """Labels that say nothing are found by chance; a query that were its own first answer would always be right."""
    vectors = rng.normal(size=(100, 8)).astype(np.float32)
    found = measure_gain(vectors, [str(row) for row in range(100)], [f"label{row % 10}" for row in range(100)])
    assert found is not None
    assert max(found.first, found.first_reranked) < 0.3


def test_without_labels_or_images_there_is_nothing_to_measure(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(40, 4)).astype(np.float32)
    contents = [str(row) for row in range(40)]
    assert measure_gain(vectors, contents, [None] * 40) is None
    assert measure_gain(vectors[:10], contents[:10], ["a"] * 10) is None

"""Brute force against a comparison one pair at a time."""

import itertools

import numpy as np
import pytest

from imgret_assets.domain.numerics.exact_scores import cosines
from imgret_assets.domain.similarity.brute_force import (
    blocks_of_pairs,
    nearest_neighbours,
    pairs_above,
    update_neighbours,
)
from imgret_assets.domain.similarity.neighbour_lists import EarlierLists
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, merge_pairs
from imgret_assets.errors import TableError
from imgret_tests.support.vector_sets import (
    SHAPES,
    assert_same_lists,
    assert_same_pairs,
    clusters,
    expected_neighbours,
    expected_pairs,
)


def one_pair_at_a_time(vectors: np.ndarray) -> dict[tuple[int, int], float]:
    """Score of every pair, by NumPy's own sums."""
    exact = vectors.astype(np.float64)
    norms = [np.sqrt(np.dot(row, row)) for row in exact]
    return {
        (i, j): float(np.dot(exact[i], exact[j]) / (norms[i] * norms[j]))
        for i, j in itertools.combinations(range(len(exact)), 2)
    }


def as_dict(pairs: ScoredPairs) -> dict[tuple[int, int], float]:
    keys = list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, pairs.scores.tolist(), strict=True))


def assert_right(pairs: ScoredPairs, vectors: np.ndarray, threshold: float) -> None:
    """Compare with sums in another order: only within a rounding of the threshold may the two differ."""
    truth, scores = one_pair_at_a_time(vectors), as_dict(pairs)
    for pair, score in truth.items():
        if abs(score - threshold) > 1e-14:
            assert (pair in scores) == (score > threshold), (pair, score)
    assert all(abs(truth[pair] - score) < 1e-12 for pair, score in scores.items())
    assert list(scores) == sorted(scores)


def with_duplicates(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Random vectors of all lengths; every fifth equals another one, every seventh is a multiple or opposite of one."""
    vectors = rng.normal(size=(count, dim)) * rng.uniform(1e-3, 1e3, size=(count, 1))
    for row in range(5, count, 5):
        vectors[row] = vectors[rng.integers(row)]
    for row in range(7, count, 7):
        vectors[row] = vectors[rng.integers(row)] * rng.choice([-2.0, 1e-6, 1e6])
    return vectors.astype(np.float32)


# Pairs


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.8, 0.999999, 1.0])
@pytest.mark.parametrize("dim", [1, 3, 48])
@pytest.mark.parametrize("count", [0, 1, 2, 101])
def test_pairs_are_those_of_a_comparison_one_by_one(
    rng: np.random.Generator, count: int, dim: int, threshold: float
) -> None:
    vectors = with_duplicates(rng, count, dim)
    pairs = pairs_above(vectors, threshold, block_rows=32)
    assert_right(pairs, vectors, threshold)
    assert_same_pairs(pairs, expected_pairs(vectors, threshold))


@pytest.mark.parametrize("block_rows", [1, 2, 7, 64, 256, 257, 1024])
def test_blocks_of_any_size_give_the_same(rng: np.random.Generator, block_rows: int) -> None:
    vectors = with_duplicates(rng, 257, 8)
    assert_same_pairs(pairs_above(vectors, 0.3, block_rows=block_rows), pairs_above(vectors, 0.3))


@pytest.mark.parametrize("block_rows", [3, 1000])
@pytest.mark.parametrize("rows", [[], [0], [256], [3, 4, 5, 200], list(range(0, 257, 2)), list(range(257))])
def test_chosen_rows_give_every_pair_with_one_of_them(
    rng: np.random.Generator, rows: list[int], block_rows: int
) -> None:
    vectors = with_duplicates(rng, 257, 8)
    whole = as_dict(pairs_above(vectors, 0.3))
    pairs = as_dict(pairs_above(vectors, 0.3, rows=np.array(rows, dtype=np.int64), block_rows=block_rows))
    assert pairs == {pair: score for pair, score in whole.items() if set(pair) & set(rows)}


@pytest.mark.parametrize("rows", [None, [3, 40, 41, 99]])
def test_blocks_come_with_the_share_of_the_work_done(rng: np.random.Generator, rows: list[int] | None) -> None:
    vectors = with_duplicates(rng, 100, 8)
    chosen = None if rows is None else np.array(rows)
    parts, shares = zip(*blocks_of_pairs(vectors, 0.3, rows=chosen, block_rows=16), strict=True)
    assert_same_pairs(merge_pairs(parts), pairs_above(vectors, 0.3, rows=chosen))
    assert list(shares) == sorted(shares)
    assert 0 < shares[0] < shares[-1] == 1.0


def planted(rng: np.random.Generator, cosine: np.ndarray, dim: int) -> np.ndarray:
    """Rows 2 i and 2 i + 1 have the i-th cosine, as nearly as float32 holds it."""
    count, cosine = len(cosine), cosine[:, np.newaxis]
    first = rng.normal(size=(count, dim))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    orthogonal = rng.normal(size=(count, dim))
    orthogonal -= (orthogonal * first).sum(axis=1, keepdims=True) * first
    orthogonal /= np.linalg.norm(orthogonal, axis=1, keepdims=True)
    second = cosine * first + np.sqrt(1 - cosine**2) * orthogonal
    return np.stack([first, second], axis=1).reshape(2 * count, dim).astype(np.float32)


@pytest.mark.parametrize("dim", [2, 3, 48, 2048])
@pytest.mark.parametrize("threshold", [0.8, 0.0, -0.5, 0.99999])
def test_pairs_next_to_the_threshold_are_decided_in_float64(
    rng: np.random.Generator, dim: int, threshold: float
) -> None:
    """A float32 product alone gets about half of them wrong."""
    vectors = planted(rng, threshold + rng.uniform(-1e-8, 1e-8, 150), dim)
    scores = cosines(vectors[0::2], vectors[1::2])
    pairs = as_dict(pairs_above(vectors, threshold))
    for number, score in enumerate(scores):
        assert ((2 * number, 2 * number + 1) in pairs) == (score > threshold)
    assert np.abs(scores - threshold).max() < 1e-6
    assert 0 < (scores > threshold).sum() < 150


@pytest.mark.parametrize(
    ("step", "inside"), [(-1e-7, True), (-1e-12, True), (0.0, False), (1e-12, False), (1e-7, False)]
)
def test_a_score_must_be_greater_than_the_threshold(rng: np.random.Generator, step: float, inside: bool) -> None:
    for dim in (2, 48, 1280):
        vectors = planted(rng, np.array([0.8]), dim)
        (score,) = cosines(vectors[:1], vectors[1:])
        assert (len(pairs_above(vectors, score + step)) == 1) == inside


def test_a_threshold_of_minus_one_takes_all_but_opposites() -> None:
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    assert as_dict(pairs_above(vectors, -1.0)) == {(0, 1): 0.0, (1, 2): 0.0}


def test_scores_never_leave_the_range_of_a_cosine(rng: np.random.Generator) -> None:
    vectors = np.repeat(rng.normal(size=(1, 2048)).astype(np.float32), 20, axis=0)
    pairs = pairs_above(vectors, 0.5)
    assert len(pairs) == 190
    assert pairs.scores.max() <= 1.0
    assert pairs.scores.min() > 1 - 1e-12


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e18, 3e37])
def test_very_short_and_very_long_vectors_have_directions_too(rng: np.random.Generator, scale: float) -> None:
    vectors = (rng.uniform(0.1, 1, size=(20, 4)) * scale).astype(np.float32)
    assert_right(pairs_above(vectors, 0.9), vectors, 0.9)


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_types_do_not_depend_on_the_size(rng: np.random.Generator, count: int) -> None:
    pairs = pairs_above(with_duplicates(rng, count, 4), 0.0)
    assert [array.dtype for array in (pairs.a, pairs.b, pairs.scores)] == [np.int32, np.int32, np.float64]
    assert pairs.a.shape == pairs.b.shape == pairs.scores.shape == (len(pairs),)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_row_without_direction_is_an_error(value: float) -> None:
    vectors = np.ones((5, 3), dtype=np.float32)
    vectors[3] = 0
    vectors[3, 1] = value
    with pytest.raises(TableError, match="Row 3 of the vectors is zero or not finite"):
        pairs_above(vectors, 0.8)
    with pytest.raises(TableError, match="Row 3 of the vectors is zero or not finite"):
        nearest_neighbours(vectors, 2)


# Nearest neighbours


@pytest.mark.parametrize("k", [1, 5, 200])
@pytest.mark.parametrize("make", SHAPES)
def test_neighbours_are_those_of_a_full_sort(rng: np.random.Generator, make: object, k: int) -> None:
    vectors = make(rng, 70, 33).astype(np.float32)  # type: ignore[operator]
    vectors[~vectors.any(axis=1), 0] = 1.0
    assert_same_lists(nearest_neighbours(vectors, k), expected_neighbours(vectors, k))


def test_many_equal_vectors_are_ordered_by_row(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    vectors[5:45] = vectors[5]
    assert_same_lists(nearest_neighbours(vectors, 6), expected_neighbours(vectors, 6))


def test_neighbours_of_some_rows_are_those_rows_of_all(rng: np.random.Generator) -> None:
    vectors = clusters(rng, 60, 16).astype(np.float32)
    whole = nearest_neighbours(vectors, 4)
    rows = np.array([5, 59, 17])
    part = nearest_neighbours(vectors, 4, rows=rows)
    np.testing.assert_array_equal(part.rows, whole.rows[rows])
    np.testing.assert_array_equal(part.scores, whole.scores[rows])
    assert nearest_neighbours(vectors, 4, rows=np.empty(0, np.int64)).rows.shape == (0, 4)


def test_little_memory_changes_nothing(rng: np.random.Generator) -> None:
    """So little that a block has 16 rows and the unit rows are made for each product again."""
    vectors = clusters(rng, 2100, 16).astype(np.float32)
    shares: list[float] = []
    lists = nearest_neighbours(vectors, 4, memory_bytes=1000, progress=shares.append)
    assert_same_lists(lists, nearest_neighbours(vectors, 4))
    assert len(shares) == -(-2100 // 16)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("count", [0, 1])
def test_no_row_and_a_single_row_have_no_neighbours(count: int) -> None:
    vectors = np.ones((count, 3), np.float32)
    assert nearest_neighbours(vectors, 5).rows.shape == (count, 0)
    earlier = EarlierLists(np.empty((count, 0), np.int64), np.empty((count, 0)), np.empty(0, np.int64))
    assert update_neighbours(vectors, 5, 3, earlier).compared == 0


@pytest.mark.parametrize("memory_bytes", [1000, 1 << 30])
def test_updated_neighbours_are_those_from_nothing(rng: np.random.Generator, memory_bytes: int) -> None:
    """Two rows are removed, two added and one changed; lists that lose a part of their reserve end early."""
    vectors = clusters(rng, 80, 16).astype(np.float32)
    lists = nearest_neighbours(vectors, 8)
    kept = np.delete(np.arange(80), [11, 42])
    now = np.concatenate([vectors[kept], clusters(rng, 2, 16).astype(np.float32)])
    now[7] = now[7, ::-1]
    number = np.full(81, -1)
    number[kept] = np.arange(78)
    rows = np.concatenate([number[lists.rows[kept]], np.full((2, 8), -1)])
    scores = np.concatenate([lists.scores[kept], np.full((2, 8), -np.inf)])
    earlier = EarlierLists(rows, scores, np.array([79, 7, 78]))
    updated, compared = update_neighbours(now, 8, 5, earlier, memory_bytes=memory_bytes)
    expected = expected_neighbours(now, 8)
    is_known = updated.rows >= 0
    assert is_known[:, :5].all()
    assert not is_known.all(), "some list ends early"
    np.testing.assert_array_equal(updated.rows[is_known], expected.rows[is_known])
    np.testing.assert_array_equal(updated.scores[is_known], expected.scores[is_known])
    assert np.all(updated.scores[~is_known] == -np.inf)
    assert compared < 80 * 79 // 2
    full, _ = update_neighbours(now, 8, 8, earlier)
    assert_same_lists(full, expected)

"""Compiled loops over pairs against NumPy."""

import numpy as np
import pytest
from numba.core import config

from imgret_assets.domain.numerics.exact_scores import cosines, exact_norms
from imgret_assets.domain.similarity.cascade import kernels, preparation_kernels
from imgret_assets.domain.similarity.cascade.bounds import PANEL_ROWS, SCALE
from imgret_tests.support.vector_sets import SHAPES


def side(vectors: np.ndarray, rows: np.ndarray, norms: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return one side of a comparison without later bounds."""
    vectors.flags.writeable = False
    return vectors, rows, norms, np.zeros((0, 16), np.int16), np.zeros((0, 1), np.int16), thresholds


def ones(count: int) -> tuple[np.ndarray, ...]:
    """Return a side of equal rows: every candidate has the score 1 and is accepted."""
    return side(np.ones((count, 16), np.float32), np.arange(count), np.full(count, 4.0), np.zeros(count))


@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17, 31, 48, 100, 1280, 2048])
def test_scores_and_norms_equal_those_of_numpy_to_the_last_bit(rng: np.random.Generator, dim: int) -> None:
    for make in SHAPES:
        vectors = make(rng, 60, dim).astype(np.float32)
        vectors[~vectors.any(axis=1), 0] = 1.0
        vectors.flags.writeable = False
        norms = np.empty(60)
        kernels.norms_of_rows(vectors, norms)
        np.testing.assert_array_equal(norms, exact_norms(vectors))
        order = rng.permutation(60)
        p, q = rng.integers(0, 60, (2, 400))
        scores = np.empty(400)
        kernels.score_pairs((vectors, order, norms), p, q, scores)
        np.testing.assert_array_equal(scores, cosines(vectors[order[p]], vectors[order[q]]))


@pytest.mark.parametrize(("short_by", "passes"), [(0.9, True), (1.1, False)])
def test_a_later_bound_discards_only_beyond_its_margin(short_by: float, passes: bool) -> None:
    """The pair's score is 1; its bound is below the threshold by as much as the errors allow, or by a little more."""
    threshold, margins = 0.5, np.array([0.0, 0.01])
    vectors = np.ones((2, 16), np.float32)
    vectors.flags.writeable = False
    coordinates = np.zeros((2, 16), np.int16)
    coordinates[0, 0] = SCALE
    coordinates[1, 0] = round(SCALE * (threshold - short_by * margins[1]))
    later_bounds = (2, np.array([15, 16]), float(SCALE) ** 2, margins)
    side = (vectors, np.arange(2), np.full(2, 4.0), coordinates, np.zeros((2, 2), np.int16), np.full(2, threshold))
    p, q, scores = kernels.finish_candidates(np.array([1]), later_bounds, side, side)
    assert list(zip(p, q, scores, strict=True)) == [(0, 1, 1.0)] * passes


def test_a_pair_must_be_above_the_lower_of_its_two_thresholds() -> None:
    vectors = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    vectors.flags.writeable = False
    later_bounds = (1, np.array([2]), 1.0, np.zeros(1))
    candidates = np.array([1, 2, 1 << 32 | 2])
    score = float(cosines(vectors[:1], vectors[1:2])[0])
    for thresholds, expected in (([0.5, 2, 2], [(0, 1)]), ([2, 0.5, 2], [(0, 1), (1, 2)]), ([score, 2, 2], [])):
        some = side(vectors, np.arange(3), exact_norms(vectors), np.array(thresholds, float))
        p, q, _ = kernels.finish_candidates(candidates, later_bounds, some, some)
        assert list(zip(p, q, strict=True)) == expected


@pytest.mark.parametrize("left_count", [1, 3, 4, 5, 16, 17, 33])
@pytest.mark.parametrize("right_count", [1, 15, 16, 17, 40])
def test_every_product_above_its_cutoff_becomes_a_candidate(
    rng: np.random.Generator, left_count: int, right_count: int
) -> None:
    """At all edges of a register block, with the rest of a panel filled up."""
    columns = 12
    integers = rng.integers(-300, 300, (left_count + right_count, columns)).astype(np.int16)

    def packed(rows: np.ndarray) -> np.ndarray:
        out = np.empty((-(-len(rows) // PANEL_ROWS), columns // 2, PANEL_ROWS), np.int32)
        preparation_kernels.pack_rows(
            np.ascontiguousarray(rows).view(np.int32), np.empty(0, np.int16), columns // 2, out
        )
        return out.ravel()

    def padded(cuts: np.ndarray) -> np.ndarray:
        out = np.full(-(-len(cuts) // PANEL_ROWS) * PANEL_ROWS, -(2**31), np.int32)
        out[: len(cuts)] = cuts
        return out

    left, right = integers[:left_count], integers[left_count:]
    left_cuts, right_cuts = (rng.integers(-90000, 90000, len(side)).astype(np.int32) for side in (left, right))
    products = left.astype(np.int64) @ right.astype(np.int64).T
    above = products > np.minimum(left_cuts[:, None], right_cuts)
    for is_diagonal in (False, True):
        # Where both sides are the same rows, the left ones may be a later part of them.
        left_from = 5 if is_diagonal else 0
        p, q, _ = kernels.search_packed(
            packed(left), padded(left_cuts), left_from, left_count, packed(right), padded(right_cuts), right_count,
            is_diagonal, (1, np.array([columns]), 1.0, np.zeros(1)), ones(left_from + left_count), ones(right_count),
        )  # fmt: skip
        expected = {(left_from + i, j) for i, j in np.argwhere(above).tolist() if left_from + i < j or not is_diagonal}
        assert set(zip(p.tolist(), q.tolist(), strict=True)) == expected
        assert len(p) == len(expected)


def test_the_two_sides_may_lie_in_different_arrays(rng: np.random.Generator) -> None:
    """Each with rows in an order of its own."""
    arrays = [rng.standard_normal((count, 17)).astype(np.float32) for count in (7, 9)]
    rows = [rng.permutation(7)[:5], rng.permutation(9)[:6]]
    left, right = (
        side(array, some, exact_norms(array), np.full(len(some), -1.0))
        for array, some in zip(arrays, rows, strict=True)
    )
    i, j = (number.ravel() for number in np.mgrid[:5, :6])
    p, q, scores = kernels.finish_candidates(i << 32 | j, (1, np.array([17]), 1.0, np.zeros(1)), left, right)
    assert (p.tolist(), q.tolist()) == (i.tolist(), j.tolist())
    np.testing.assert_array_equal(scores, cosines(arrays[0][rows[0][i]], arrays[1][rows[1][j]]))


def test_accepted_pairs_outgrow_the_first_array() -> None:
    a, b = np.triu_indices(60, 1)
    p, q, scores = kernels.finish_candidates(a << 32 | b, (1, np.array([16]), 1.0, np.zeros(1)), ones(60), ones(60))
    assert (p.tolist(), q.tolist()) == (a.tolist(), b.tolist())
    assert set(scores.tolist()) == {1.0}


def test_lists_take_the_best_entries_once_and_ties_by_lower_row() -> None:
    members, scores = np.full((2, 3), -1, np.int64), np.full((2, 3), -np.inf)
    thresholds = np.full(2, -np.inf)
    lists = (scores, members, thresholds, np.full(2, -np.inf), np.full(2, np.iinfo(np.int64).max))
    order = np.array([10, 11, 12, 13, 14, 15])
    offered = [(0, 3, 0.5), (0, 2, 0.9), (0, 2, 0.9), (0, 5, 0.5), (0, 4, 0.5), (0, 1, 0.1)]
    for p, q, score in offered:
        lists_of_pair = tuple(np.concatenate([column, column[:1].repeat(4, axis=0)]) for column in lists)
        kernels.insert_pairs(lists_of_pair, order, np.array([p]), np.array([q]), np.array([score]))
        for column, changed in zip(lists, lists_of_pair, strict=True):
            column[:] = changed[:2]
    assert members[0].tolist() == [12, 13, 14]
    assert scores[0].tolist() == [0.9, 0.5, 0.5]
    assert thresholds[0] == np.nextafter(0.5, -1)


def test_likely_neighbours_are_the_best_products_within_the_window(rng: np.random.Generator) -> None:
    coded = rng.integers(-100, 100, (40, 16)).astype(np.int16)
    sequence = rng.permutation(40)
    positions = np.empty(40, np.int64)
    positions[sequence] = np.arange(40)
    likely = np.empty((40, 3), np.int64)
    kernels.likely_neighbours(coded, np.arange(40), positions, sequence, 5, likely)
    products = coded.astype(np.int64) @ coded.T
    for row in range(40):
        near = [other for other in sequence[max(0, positions[row] - 5) : positions[row] + 6] if other != row]
        assert likely[row].tolist() == sorted(near, key=lambda other: -products[row, other])[:3]


def test_a_cpu_that_numba_is_set_to_has_no_known_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CPU_NAME", "generic")
    assert kernels.cpu_features() == frozenset()

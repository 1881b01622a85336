"""Operations on scored pairs."""

import numpy as np
import pytest

from imgret_assets.domain.similarity import pair_arrays
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, among_best_neighbours, merge_pairs, no_pairs
from imgret_tests.support.vector_sets import assert_same_pairs, clusters, expected_pairs


def test_pairs_are_sorted_with_the_lower_row_first() -> None:
    left, right = np.array([5, 0, 3, 2**31 - 1], np.int32), np.array([1, 9, 1, 0], np.int32)
    pairs = ScoredPairs.sorted_from(left, right, np.array([0.1, 0.2, 0.3, 0.4]))
    assert pairs.a.tolist() == [0, 0, 1, 1]
    assert pairs.b.tolist() == [9, 2**31 - 1, 3, 5]
    assert pairs.scores.tolist() == [0.2, 0.4, 0.3, 0.1]
    assert pairs.a.dtype == pairs.b.dtype == np.int32


@pytest.mark.parametrize("bits", [1, 3, 12])
@pytest.mark.parametrize("merged", [1, 10, 1000])
def test_merged_parts_are_the_whole(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, merged: int, bits: int
) -> None:
    monkeypatch.setattr(pair_arrays, "_MERGED", merged)
    monkeypatch.setattr(pair_arrays, "_BANDS_BITS", bits)
    whole = expected_pairs(clusters(rng, 60, 8).astype(np.float32), 0.5)
    part = rng.integers(0, 3, len(whole))
    assert len(whole) > 100
    assert_same_pairs(merge_pairs(whole.where(part == number) for number in (2, 0, 1)), whole)


@pytest.mark.parametrize("pairs", [no_pairs(), merge_pairs([]), merge_pairs([no_pairs(), no_pairs()])])
def test_no_pairs_have_the_types_of_pairs(pairs: ScoredPairs) -> None:
    assert len(pairs) == 0
    assert [column.dtype for column in (pairs.a, pairs.b, pairs.scores)] == [np.int32, np.int32, np.float64]


def test_best_neighbours_by_hand() -> None:
    """Row 0 is the second best of 1 and 2; row 3 is nobody's best, but its own best is 2, so that pair is kept."""
    pairs = ScoredPairs(np.array([0, 0, 1, 2]), np.array([1, 2, 2, 3]), np.array([0.8, 0.8, 0.9, 0.1]))
    assert among_best_neighbours(pairs, 4, 1).tolist() == [True, False, True, True]
    assert among_best_neighbours(pairs, 4, 2).tolist() == [True, True, True, True]
    assert among_best_neighbours(no_pairs(), 4, 1).tolist() == []


@pytest.mark.parametrize("ranked", [1, 100, 1 << 22])
@pytest.mark.parametrize("max_neighbours", [1, 2, 5])
def test_best_neighbours_are_those_of_each_row(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, max_neighbours: int, ranked: int
) -> None:
    monkeypatch.setattr(pair_arrays, "_RANKED", ranked)
    pairs = expected_pairs(rng.integers(-2, 3, (40, 3)).astype(np.float32) + np.float32(0.5), 0.0)
    kept: set[tuple[int, int]] = set()
    every = list(zip(pairs.a.tolist(), pairs.b.tolist(), pairs.scores.tolist(), strict=True))
    for row in range(40):
        of_row = [(-score, a if b == row else b, (a, b)) for a, b, score in every if row in (a, b)]
        kept |= {pair for _, _, pair in sorted(of_row)[:max_neighbours]}
    best = among_best_neighbours(pairs, 40, max_neighbours)
    assert {(a, b) for (a, b, _), keep in zip(every, best, strict=True) if keep} == kept

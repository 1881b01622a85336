"""Which image each duplicate points to: equal to comparing all pairs one by one, whatever was compared before."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgret_assets.domain.duplicates.fingerprint_store import MatchScore
from imgret_assets.domain.duplicates.keepers import assign_keepers
from imgret_tests.unit.duplicates.hashes import clustered_hashes, differing_bits


def expected_keepers(
    hashes: np.ndarray,
    correlations: np.ndarray,
    radius_bits: int,
    min_correlation: float,
    original_of: Mapping[tuple[int, int], bool] = MappingProxyType({}),
) -> list[int]:
    """Compare one pair at a time: the next image that is no duplicate keeps all matches that had no turn yet.

    An image that is an enlargement of one of these waits for the turn of the first such one.
    """
    bits = differing_bits(hashes)
    keepers = list(range(len(hashes)))
    had_turn: set[int] = set()
    waiting: dict[int, list[int]] = {}

    def take_turn(row: int) -> None:
        if keepers[row] == row:
            matches = [
                column
                for column in range(len(hashes))
                if column != row and keepers[column] == column and column not in had_turn
                if bits[row, column] <= radius_bits and correlations[row, column] >= min_correlation
            ]
            for column in matches:
                if original_of.get((row, column)):
                    waiting.setdefault(column, []).append(row)
                    return
            for column in matches:
                keepers[column] = row
        had_turn.add(row)
        for other in waiting.pop(row, []):
            take_turn(other)

    for row in range(len(hashes)):
        take_turn(row)
    return keepers


def symmetric_correlations(rng: np.random.Generator, count: int) -> np.ndarray:
    correlations = rng.uniform(0.8, 1.0, (count, count)).astype(np.float32)
    return np.maximum(correlations, correlations.T)


@pytest.mark.parametrize("block_rows", [1, 7, 512])
@pytest.mark.parametrize("count", [0, 1, 2, 300, 700])
def test_keepers_equal_those_of_comparing_one_by_one(rng: np.random.Generator, count: int, block_rows: int) -> None:
    hashes, correlations = clustered_hashes(rng, count), symmetric_correlations(rng, count)
    expected_bits = differing_bits(hashes) if count else np.zeros((0, 0))

    def confirm(row: int, columns: Sequence[int], bits: Sequence[int]) -> np.ndarray:
        assert list(bits) == expected_bits[row, list(columns)].tolist()
        return correlations[row, list(columns)] >= 0.9

    keepers = assign_keepers(hashes, np.zeros(count, dtype=bool), {}, confirm, block_rows=block_rows)
    assert keepers.tolist() == expected_keepers(hashes, correlations, 64, 0.9)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 4), enlargements=st.sampled_from([0.0, 0.1, 0.6]))
def test_comparing_only_new_images_equals_comparing_all(seed: int, steps: int, enlargements: float) -> None:
    """Hashes come, go and change places; from step to step only match scores and compared images are kept."""
    rng = np.random.default_rng(seed)
    is_enlargement = rng.uniform(size=(60, 60)) < enlargements
    pool, correlations = clustered_hashes(rng, 60), symmetric_correlations(rng, 60)
    compared: set[int] = set()
    scores: dict[tuple[int, int], MatchScore] = {}
    for _ in range(steps):
        present = rng.permutation(60)[: rng.integers(1, 61)].tolist()
        rank = {name: number for number, name in enumerate(present)}
        known = {
            (min(rank[a], rank[b]), max(rank[a], rank[b])): score
            for (a, b), score in scores.items()
            if a in rank and b in rank
        }

        def confirm(row: int, columns: Sequence[int], bits: Sequence[int], present: list[int] = present) -> np.ndarray:
            for column, bit in zip(columns, bits, strict=True):
                a, b = sorted((present[row], present[column]))
                scores[a, b] = MatchScore(bit, float(correlations[a, b]))
            return correlations[present[row], [present[column] for column in columns]] >= 0.93

        # As in life, only an image of a later number can be the original.
        originals = {
            (row, column): True
            for row, column in combinations(range(len(present)), 2)
            if is_enlargement[present[row], present[column]]
        }

        def find_original(
            row: int, columns: Sequence[int], originals: dict[tuple[int, int], bool] = originals
        ) -> int | None:
            assert list(columns) == sorted(columns)
            return next((column for column in columns if (row, column) in originals), None)

        known_images = np.array([name in compared for name in present])
        keepers = assign_keepers(pool[present], known_images, known, confirm, find_original=find_original)
        expected = expected_keepers(pool[present], correlations[np.ix_(present, present)], 64, 0.93, originals)
        assert keepers.tolist() == expected
        compared = {present[row] for row in range(len(present)) if keepers[row] == row}


def test_images_that_all_look_the_same_are_confirmed_once_each(rng: np.random.Generator) -> None:
    hashes = np.repeat(rng.integers(0, 256, (1, 32), dtype=np.uint8), 5000, axis=0)
    confirmed = 0

    def confirm(row: int, columns: Sequence[int], bits: Sequence[int]) -> np.ndarray:
        nonlocal confirmed
        confirmed += len(columns)
        return np.ones(len(columns), bool)

    assert set(assign_keepers(hashes, np.zeros(5000, dtype=bool), {}, confirm).tolist()) == {0}
    assert confirmed == 4999


def keepers_of(count: int, matches: set[tuple[int, int]], originals: dict[int, int]) -> list[int]:
    """Return the keepers of images with equal hashes, of which some pairs match and some are enlargements."""

    def confirm(row: int, columns: Sequence[int], bits: Sequence[int]) -> np.ndarray:
        return np.array([(min(row, column), max(row, column)) in matches for column in columns], dtype=bool)

    def find_original(row: int, columns: Sequence[int]) -> int | None:
        return originals[row] if originals.get(row) in columns else None

    hashes, compared = np.zeros((count, 32), np.uint8), np.zeros(count, dtype=bool)
    return assign_keepers(hashes, compared, {}, confirm, find_original=find_original).tolist()


def test_an_enlargement_is_kept_by_its_original() -> None:
    everything = set(combinations(range(4), 2))
    assert keepers_of(4, everything, {}) == [0, 0, 0, 0]
    assert keepers_of(4, everything, {0: 2}) == [1, 1, 1, 1], "a larger image, of which nothing is known, is kept"
    assert keepers_of(4, everything, {0: 2, 1: 2}) == [2, 2, 2, 2]
    assert keepers_of(4, everything, {0: 1, 1: 2, 2: 3}) == [3, 3, 3, 3]


def test_an_enlargement_keeps_what_its_original_does_not() -> None:
    """Image 3 matches the enlargement 0 alone, whose original 1 keeps 0 and 2."""
    assert keepers_of(4, {(0, 1), (0, 2), (0, 3), (1, 2)}, {0: 1}) == [1, 1, 1, 3]
    assert keepers_of(4, {(0, 1), (0, 2), (0, 3), (2, 3)}, {0: 1}) == [1, 1, 2, 2]


def test_an_original_keeps_its_enlargement_among_many_that_differ() -> None:
    """A confirmation stops after many misses, and then says nothing about the enlargement."""

    def confirm(row: int, columns: Sequence[int], bits: Sequence[int]) -> np.ndarray:
        return np.array([row == 0 and column == 2 for column in columns], dtype=bool)

    hashes, compared = np.zeros((3, 32), np.uint8), np.zeros(3, dtype=bool)
    keepers = assign_keepers(hashes, compared, {}, confirm, find_original=lambda row, _: 2 if row == 0 else None)
    assert keepers.tolist() == [2, 1, 2]

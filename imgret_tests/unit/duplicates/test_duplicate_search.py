"""The search for duplicates: equal to comparing all pairs one by one, whatever was compared before."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgret_assets.domain.duplicates.duplicate_search import (
    Duplicate,
    assign_keepers,
    find_exact_duplicates,
    have_like_proportions,
    merge_duplicates,
)
from imgret_assets.domain.duplicates.fingerprint_store import MatchScore
from imgret_assets.domain.duplicates.usable_images import UsableImage, rank_contents
from imgret_tests.unit.duplicates.hashes import clustered_hashes, differing_bits


def expected_keepers(
    hashes: np.ndarray, correlations: np.ndarray, radius_bits: int, min_correlation: float
) -> list[int]:
    """Compare one pair at a time: the first image that is no duplicate keeps all later ones that match."""
    bits = differing_bits(hashes)
    keepers = list(range(len(hashes)))
    for row in range(len(hashes)):
        for column in range(row + 1, len(hashes)):
            both_kept = keepers[row] == row and keepers[column] == column
            if both_kept and bits[row, column] <= radius_bits and correlations[row, column] >= min_correlation:
                keepers[column] = row
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
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 4))
def test_comparing_only_new_images_equals_comparing_all(seed: int, steps: int) -> None:
    """Hashes come, go and change places; from step to step only match scores and compared images are kept."""
    rng = np.random.default_rng(seed)
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

        known_images = np.array([name in compared for name in present])
        keepers = assign_keepers(pool[present], known_images, known, confirm)
        expected = expected_keepers(pool[present], correlations[np.ix_(present, present)], 64, 0.93)
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


def image(path: str, sha256: str = "x", size_bytes: int = 10, width: int = 4, height: int = 4) -> UsableImage:
    return UsableImage(path, sha256, size_bytes, width, height)


def deep(path: str, channels: int, bits: int, width: int = 4) -> UsableImage:
    return replace(image(path, width=width), channels=channels, bits=bits)


@pytest.mark.parametrize(
    ("keep", "duplicate", "reason"),
    [
        (image("longer/path.png", size_bytes=1, width=5), image("a.png", size_bytes=99), "5 x 4 pixels, not 4 x 4"),
        (image("longer/path.png", size_bytes=11), image("a.png"), "11 bytes, not 10"),
        (image("b.png"), image("aa.png"), "the shorter path"),
        (deep("b.png", 3, 24, width=3), deep("a.png", 1, 8), "stored in colour, not in grey"),
        (deep("b.png", 3, 24, width=3), deep("a.png", 3, 8), "24 bits per pixel, not 8 bits per pixel"),
        (deep("b.png", 1, 8, width=3), deep("a.png", 1, 1), "8 bits per pixel, not 1 bit per pixel"),
        (image("a.png"), image("b.png"), "the first path"),
    ],
)
def test_an_exact_duplicate_states_why_the_other_image_is_kept(
    keep: UsableImage, duplicate: UsableImage, reason: str
) -> None:
    [row] = find_exact_duplicates(rank_contents([duplicate, keep]))
    assert (row.keep, row.image, row.kind) == (keep, duplicate, "exact")
    assert row.reason == f"same bytes; kept: {reason}"


def test_an_image_that_is_exact_and_near_is_listed_once_as_near() -> None:
    large, first, second = image("large.png", "l", width=9), image("a.png", "s"), image("b.png", "s")
    lone, copy = image("lone.png", "o"), image("lone2.png", "o")
    near = [Duplicate(one, large, "near", 3, 0.99, 0.9) for one in (second, first)]
    rows = merge_duplicates(rank_contents([large, first, second, lone, copy]), near)
    assert [(row.image.path, row.keep.path, row.kind) for row in rows] == [
        ("a.png", "large.png", "near"),
        ("b.png", "large.png", "near"),
        ("lone2.png", "lone.png", "exact"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "like"),
    [
        ((640, 480), (300, 300), True),
        ((1456, 90), (160, 600), False),
        ((1456, 90), (1280, 720), False),
        ((256, 1), (16, 16), False),
        ((4000, 3000), (40, 30), True),
        ((3000, 4000), (400, 300), False),
        ((800, 600), (24, 17), True),
    ],
)
def test_proportions_may_differ_by_a_squeeze_of_4_to_3_and_a_crop(
    first: tuple[int, int], second: tuple[int, int], like: bool
) -> None:
    a, b = (image("a.png", width=width, height=height) for width, height in (first, second))
    assert have_like_proportions(a, b) is have_like_proportions(b, a) is like

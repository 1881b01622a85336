"""The compiled search for close hashes, against counting every bit."""

import numpy as np
import pytest

from imgret_assets.domain.duplicates.hash_kernels import find_later_within_radius
from imgret_tests.unit.duplicates.hashes import clustered_hashes, differing_bits


def search(
    hashes: np.ndarray, rows: np.ndarray, columns: np.ndarray, skipped: np.ndarray, radius_bits: int, capacity: int
) -> list[tuple[int, int, int]]:
    """Search all rows, as often as the buffer needs it."""
    words = np.ascontiguousarray(hashes.view(np.uint64).reshape(len(hashes), 4).T)
    column_words = np.ascontiguousarray(words[:, columns])
    lines: list[tuple[int, int, int]] = []
    done = 0
    while done < len(rows):
        buffer = np.full((capacity, 3), -1, np.int64)
        filled, finished = find_later_within_radius(
            words, rows[done:], columns, column_words, skipped, radius_bits, buffer
        )
        assert finished > 0
        assert (buffer[filled:] == -1).all()
        lines += map(tuple, buffer[:filled].tolist())
        done += finished
    return lines


@pytest.mark.parametrize("capacity", [600, 100_000])
@pytest.mark.parametrize("radius_bits", [0, 63, 64, 256])
def test_lines_equal_counting_every_bit(rng: np.random.Generator, radius_bits: int, capacity: int) -> None:
    """The small buffer holds the candidates of one row, so the search goes on several times."""
    hashes = clustered_hashes(rng, 600)
    bits = differing_bits(hashes)
    rows = np.sort(rng.choice(600, 150, replace=False)).astype(np.int64)
    columns = np.sort(rng.choice(600, 500, replace=False)).astype(np.int64)
    skipped = rng.random(600) < 0.2
    expected = [
        (row, column, bits[row, column])
        for row in rows.tolist()
        for column in columns.tolist()
        if column > row and bits[row, column] <= radius_bits and not skipped[column]
    ]
    assert search(hashes, rows, columns, skipped, radius_bits, capacity) == expected


def test_a_row_whose_candidates_might_not_fit_is_left_for_the_next_call(rng: np.random.Generator) -> None:
    hashes = np.repeat(rng.integers(0, 256, (1, 32), dtype=np.uint8), 5, axis=0)
    words = np.ascontiguousarray(hashes.view(np.uint64).reshape(5, 4).T)
    numbers = np.arange(5, dtype=np.int64)
    buffer = np.empty((5, 3), np.int64)
    filled, finished = find_later_within_radius(words, numbers, numbers, words, np.zeros(5, bool), 64, buffer)
    assert (filled, finished) == (4, 1)
    assert buffer[:4].tolist() == [[0, column, 0] for column in (1, 2, 3, 4)]

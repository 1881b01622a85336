"""The compiled search for hashes that differ in few bits.

Belongs here: one numba kernel. Not here: which hashes are searched and when (`domain.duplicates.duplicate_search`).
Importing this module loads numba, so it is imported only when there are hashes to compare.

Every hash is compared with every later one. Cropped near-duplicates differ in up to 64 of 256 bits, and at this
distance no index over parts of a hash is both exact and selective. Counting bits in vector registers takes about half a
nanosecond a pair. Finding the same pairs with FAISS (1.15, `IndexBinaryFlat.range_search`) took two to three times the
processor time with AVX-512, and 1.4 times with AVX2, even with one index for each block of rows, so that only later
hashes were compared; with a single index it took twice that.
"""

from typing import Any

import numpy as np
from numba import types

from imgret_assets.domain.numerics.numba_compiler import compiled, instruction

_BLOCK = 256


@instruction
def _count_ones(_context: Any, word: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@compiled
def _count_differences(
    a: Any,
    b: Any,
    c: Any,
    d: Any,
    first: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    fourth: np.ndarray,
    bits: np.ndarray,
) -> Any:
    """Write to `bits` how many bits of each column differ, and return the minimum.

    A function of its own, so that the compiler vectorises the loop.
    """
    minimum = np.uint32(256)
    for k in range(len(first)):
        total = (
            _count_ones(first[k] ^ a)
            + _count_ones(second[k] ^ b)
            + _count_ones(third[k] ^ c)
            + _count_ones(fourth[k] ^ d)
        )
        bits[k] = np.uint32(total)
        minimum = min(minimum, bits[k])
    return minimum


@compiled
def find_later_within_radius(
    words: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    column_words: np.ndarray,
    skipped: np.ndarray,
    radius_bits: int,
    buffer: np.ndarray,
) -> tuple[int, int]:
    """Find for each row the columns with a larger number whose hashes differ in at most `radius_bits` bits.

    Args:
        words: uint64 (4, n), the hashes.
        rows: int64, numbers of hashes.
        columns: int64, ascending numbers of hashes.
        column_words: uint64 (4, len(columns)), their hashes.
        skipped: bool (n,); these columns are left out.
        radius_bits: the radius.
        buffer: int64 (capacity, 3), receives row, column, bits; the capacity is at least len(columns).

    Returns:
        How many lines of `buffer` are filled, and how many rows are finished: not all, if the candidates of the next
        row might not fit into the buffer.
    """
    bits = np.empty(_BLOCK, np.uint32)
    first, second, third, fourth = column_words[0], column_words[1], column_words[2], column_words[3]
    limit = np.uint32(radius_bits)
    filled = 0
    count = len(columns)
    for number in range(len(rows)):
        row = rows[number]
        begin = np.searchsorted(columns, row + 1)
        if filled + count - begin > len(buffer):
            return filled, number
        a, b, c, d = words[0, row], words[1, row], words[2, row], words[3, row]
        for start in range(begin, count, _BLOCK):
            end = min(start + _BLOCK, count)
            size = end - start
            minimum = _count_differences(
                a, b, c, d, first[start:end], second[start:end], third[start:end], fourth[start:end], bits
            )
            if minimum <= limit:
                for k in range(size):
                    if bits[k] <= limit and not skipped[columns[start + k]]:
                        buffer[filled, 0] = row
                        buffer[filled, 1] = columns[start + k]
                        buffer[filled, 2] = bits[k]
                        filled += 1
    return filled, len(rows)

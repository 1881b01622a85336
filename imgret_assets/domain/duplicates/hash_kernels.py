"""The compiled search for hashes that differ in few bits.

Belongs here: one numba kernel. Not here: what is searched for and when (`domain.duplicates.duplicates_table`).
Importing this module loads numba, so it is imported only when there is something to search.

Every hash is compared with every later one: at the distance at which cropped copies lie, 64 of 256 bits, no index of
parts of a hash is exact and still selective. Counting bits in vector registers takes about a nanosecond a pair.
"""

from typing import Any

import numpy as np
from numba import types

from imgret_assets.domain.numerics.numba_compiler import compiled, instruction

_BLOCK = 256


@instruction
def _ones(_context: Any, word: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@compiled
def _differences(
    a: Any,
    b: Any,
    c: Any,
    d: Any,
    one: np.ndarray,
    two: np.ndarray,
    three: np.ndarray,
    four: np.ndarray,
    bits: np.ndarray,
) -> Any:
    """Fills `bits` with how many differ in each column, and gives the least; apart, so that it is vectorised."""
    least = np.uint32(256)
    for k in range(len(one)):
        sum_ = _ones(one[k] ^ a) + _ones(two[k] ^ b) + _ones(three[k] ^ c) + _ones(four[k] ^ d)
        bits[k] = np.uint32(sum_)
        least = min(least, bits[k])
    return least


@compiled
def near_later(
    words: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    column_words: np.ndarray,
    skipped: np.ndarray,
    radius: int,
    found: np.ndarray,
) -> tuple[int, int]:
    """For each of `rows` the numbers in `columns` that are larger and whose hashes differ in at most `radius` bits.

    Args:
        words: uint64 (4, n), the hashes.
        rows: int64, numbers of hashes.
        columns: int64, ascending numbers of hashes.
        column_words: uint64 (4, len(columns)), their hashes.
        skipped: bool (n,); such columns are left out.
        radius: bits.
        found: int64 (capacity, 3), filled with row, column, bits; the capacity is at least len(columns).

    Returns:
        How many lines of `found` are filled, and how many of the rows are finished: fewer than all where there was
        no room for another's.
    """
    bits = np.empty(_BLOCK, np.uint32)
    one, two, three, four = column_words[0], column_words[1], column_words[2], column_words[3]
    most = np.uint32(radius)
    filled = 0
    count = len(columns)
    for number in range(len(rows)):
        row = rows[number]
        first = np.searchsorted(columns, row + 1)
        if filled + count - first > len(found):
            return filled, number
        a, b, c, d = words[0, row], words[1, row], words[2, row], words[3, row]
        for start in range(first, count, _BLOCK):
            end = min(start + _BLOCK, count)
            size = end - start
            least = _differences(a, b, c, d, one[start:end], two[start:end], three[start:end], four[start:end], bits)
            if least <= most:
                for k in range(size):
                    if bits[k] <= most and not skipped[columns[start + k]]:
                        found[filled, 0] = row
                        found[filled, 1] = columns[start + k]
                        found[filled, 2] = bits[k]
                        filled += 1
    return filled, len(rows)

"""Compiled loops over a tile of a matrix product, written with care, so that the plain product is a fair rival.

Belongs here: what passes a cutoff, and each row's best. Not here: the products (`bench.pairs`).
"""

import numba
import numpy as np

_STEP = 64


@numba.njit(nogil=True)
def passing(tile: np.ndarray, cut: float, first_row: int, first_column: int, a: np.ndarray, b: np.ndarray) -> int:
    """Write rows and columns above `cut`, right of the diagonal, into `a` and `b`; how many there are."""
    found = 0
    for i in range(tile.shape[0]):
        for start in range(0, tile.shape[1], _STEP):
            end = min(start + _STEP, tile.shape[1])
            some = 0
            for j in range(start, end):
                some |= tile[i, j] > cut
            if not some:
                continue
            for j in range(start, end):
                if tile[i, j] > cut and first_row + i < first_column + j:
                    a[found] = first_row + i
                    b[found] = first_column + j
                    found += 1
    return found


@numba.njit(nogil=True)
def keep_best(tile: np.ndarray, first_row: int, first_column: int, best: np.ndarray, rows: np.ndarray) -> None:
    """Bring each row's best values and their columns up to date."""
    last = best.shape[1] - 1
    for i in range(tile.shape[0]):
        row = first_row + i
        for start in range(0, tile.shape[1], _STEP):
            end = min(start + _STEP, tile.shape[1])
            some = 0
            for j in range(start, end):
                some |= tile[i, j] > best[row, last]
            if not some:
                continue
            for j in range(start, end):
                value = tile[i, j]
                if value > best[row, last] and row != first_column + j:
                    _insert(best[row], rows[row], value, first_column + j)


@numba.njit(nogil=True)
def _insert(best: np.ndarray, rows: np.ndarray, value: float, column: int) -> None:
    at = len(best) - 1
    while at > 0 and value > best[at - 1]:
        best[at] = best[at - 1]
        rows[at] = rows[at - 1]
        at -= 1
    best[at] = value
    rows[at] = column

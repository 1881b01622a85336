"""Arithmetic on rows of vectors: norms, unit rows, rounding margins, and which rows have no direction.

Belongs here: sums in float64, whatever the rows are stored in. Not here: the score of a pair
(`domain.numerics.exact_scores`), what happens to an image without a usable vector
(`domain.embeddings.embedding_pipeline`).
"""

import numpy as np
from numpy.typing import DTypeLike

# Bytes of the rows that are converted to float64 at a time: they stay in a core's cache, and there is no second copy of
# all vectors.
_PART_BYTES = 1 << 20
_UNIT_ROUNDOFF = 2.0**-24


def row_norms(vectors: np.ndarray) -> np.ndarray:
    """Return the Euclidean norms, float64 (n,), of the rows of a float32 or float64 (n, dim) array, summed in float64.

    No float32 row overflows: its norm is not finite only where one of its numbers is not.
    """
    norms = np.empty(len(vectors))
    for part in _parts(vectors):
        exact = vectors[part].astype(np.float64, copy=False)
        norms[part] = np.einsum("ij,ij->i", exact, exact)
    return np.sqrt(norms, out=norms)


def unit_rows(vectors: np.ndarray, *, dtype: DTypeLike | None = None) -> np.ndarray:
    """Return the rows of a float32 or float64 (n, dim) array scaled to length 1.

    Args:
        vectors: finite, no zero rows (a zero row becomes NaN), any norm. They are not changed.
        dtype: of the result, float32 or float64; that of `vectors` where None.

    Returns:
        (n, dim): each number divided by its row's norm in float64, then rounded once to `dtype`.
    """
    out = np.empty(vectors.shape, vectors.dtype if dtype is None else dtype)
    for part in _parts(vectors):
        exact = vectors[part].astype(np.float64, copy=False)
        norms = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        with np.errstate(invalid="ignore"):
            out[part] = exact / norms[:, np.newaxis]
    return out


def unusable_norms(norms: np.ndarray) -> np.ndarray:
    """Return True, bool (n,), for each norm of a row that has no direction: 0 or not finite.

    This is the one rule for what a usable vector is: embeddings, tables, graph and searches all apply it.
    """
    return ~(np.isfinite(norms) & (norms > 0))


def unusable_vectors(vectors: np.ndarray) -> np.ndarray:
    """Return True, bool (n,), for each row of a float32 (n, dim) array that has no direction: zero or not finite."""
    return unusable_norms(row_norms(vectors))


def _parts(vectors: np.ndarray) -> list[slice]:
    count, dim = vectors.shape
    rows = max(1, _PART_BYTES // (8 * max(1, dim)))
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def float32_margin(dim: int) -> float:
    """Return a bound on the error of a float32 dot product of two float32-rounded unit vectors of `dim` numbers."""
    gamma = dim * _UNIT_ROUNDOFF / (1 - dim * _UNIT_ROUNDOFF)
    rounding = 2 * _UNIT_ROUNDOFF + _UNIT_ROUNDOFF**2
    # 1e-12 covers the float64 norms; the threshold itself is rounded to float32 downwards by the caller.
    return gamma * (1 + _UNIT_ROUNDOFF) ** 2 + rounding + 1e-12

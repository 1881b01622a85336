"""Rows of unit length.

Belongs here: norms and normalising, in float64 whatever the rows are stored in. Not here: what rows have no direction
(`domain.numerics.vectors.unusable_vectors` names them), the same in compiled loops
(`domain.similarity.cascade.kernels`).
"""

import numpy as np
from numpy.typing import DTypeLike

# Rows that are float64 at a time: a part stays in a core's cache, and there is no second copy of all vectors.
_PART_BYTES = 1 << 20


def row_norms(vectors: np.ndarray) -> np.ndarray:
    """Euclidean norms of the rows of a (n, dim) array, float64 (n,), summed in float64.

    No float32 row overflows: a norm is not finite only where a number isn't.
    """
    norms = np.empty(len(vectors))
    for part in _parts(vectors):
        exact = vectors[part].astype(np.float64, copy=False)
        norms[part] = np.einsum("ij,ij->i", exact, exact)
    return np.sqrt(norms, out=norms)


def unit_rows(vectors: np.ndarray, *, dtype: DTypeLike | None = None) -> np.ndarray:
    """The rows of a float32 or float64 (n, dim) array at length 1.

    Args:
        vectors: finite, no zero rows (a zero row becomes not a number), any norm. They are left as they are.
        dtype: of the answer, float32 or float64; that of `vectors` where None.

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


def _parts(vectors: np.ndarray) -> list[slice]:
    count, dim = vectors.shape
    rows = max(1, _PART_BYTES // (8 * max(1, dim)))
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def unusable_vectors(vectors: np.ndarray) -> np.ndarray:
    """True for each row of float32 (n, dim) that has no direction: not finite, or zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return ~np.isfinite(norms) | (norms == 0.0)


_UNIT_ROUNDOFF = 2.0**-24


def float32_margin(dim: int) -> float:
    """Bound on the error of a float32 dot product of two float32-rounded unit vectors of `dim` numbers."""
    gamma = dim * _UNIT_ROUNDOFF / (1 - dim * _UNIT_ROUNDOFF)
    rounding = 2 * _UNIT_ROUNDOFF + _UNIT_ROUNDOFF**2
    # 1e-12 covers the float64 norms; the threshold itself is rounded to float32 downwards by the caller.
    return gamma * (1 + _UNIT_ROUNDOFF) ** 2 + rounding + 1e-12


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Raw cosine, float64 (n,), of corresponding rows of two float32 (n, dim) arrays without zero rows."""
    x, y = left.astype(np.float64), right.astype(np.float64)
    dots = np.einsum("ij,ij->i", x, y)
    norms = np.sqrt(np.einsum("ij,ij->i", x, x)) * np.sqrt(np.einsum("ij,ij->i", y, y))
    return np.clip(dots / norms, -1.0, 1.0)

"""Arithmetic on rows of vectors: norms, unit rows, dot products, cosines, and which rows have no direction.

Belongs here: sums in float64, whatever the rows are stored in. Not here: the same in compiled loops
(`domain.similarity.cascade.kernels`), what happens to an image without a usable vector
(`domain.embeddings.embedding_pipeline`).
"""

import numpy as np
from numpy.typing import DTypeLike

# Bytes of the rows that are converted to float64 at a time: they stay in a core's cache, and there is no second copy of
# all vectors.
_PART_BYTES = 1 << 20
_UNIT_ROUNDOFF = 2.0**-24
_LANES = 16  # Partial sums of a dot product.
_DOT_ROWS = 128  # Rows whose products stay in a core's second cache.


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


def dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the dot product, float64 (n,), of corresponding rows of two float32 (n, dim) arrays.

    The order of the sum is fixed, so that a pair has the same sum to the last bit on every CPU and in either order of
    its rows. Lane l of sixteen sums the products of columns l, l + 16, l + 32, ... in this order. The lanes are added
    as s(l) = (lane(l) + lane(l + 4)) + (lane(l + 8) + lane(l + 12)) for l = 0 to 3, then (s(0) + s(1)) + (s(2) + s(3)).
    The columns after the last multiple of sixteen are added one by one. A product of two float32 is exact in float64,
    so fused multiply-adds change nothing. `domain.similarity.cascade.kernels` has the same sum in compiled form.
    NumPy's own sums (`einsum`, `dot`, `sum`) are ordered by the vector width of the CPU.
    """
    count, dim = left.shape
    whole = dim - dim % _LANES
    out = np.empty(count)
    for start in range(0, count, _DOT_ROWS):
        part = slice(start, min(start + _DOT_ROWS, count))
        products = left[part].astype(np.float64) * right[part].astype(np.float64)
        lanes = np.zeros((len(products), _LANES))
        for column in range(0, whole, _LANES):
            lanes += products[:, column : column + _LANES]
        four = (lanes[:, 0:4] + lanes[:, 4:8]) + (lanes[:, 8:12] + lanes[:, 12:16])
        total = (four[:, 0] + four[:, 1]) + (four[:, 2] + four[:, 3])
        for column in range(whole, dim):
            total = total + products[:, column]
        out[part] = total
    return out


def exact_norms(vectors: np.ndarray) -> np.ndarray:
    """Return the Euclidean norms, float64 (n,), of float32 (n, dim) rows by the sum of `dots`."""
    return np.sqrt(dots(vectors, vectors))


def cosines(
    left: np.ndarray,
    right: np.ndarray,
    *,
    left_norms: np.ndarray | None = None,
    right_norms: np.ndarray | None = None,
) -> np.ndarray:
    """Return the score of each pair of corresponding rows: their raw cosine, float64 (n,) in [-1, 1].

    This is the exact score that decides whether a pair is above a threshold and that tables and relationships hold;
    every search for pairs or neighbours gives this number to the last bit, whichever way it takes.

    Args:
        left: float32 (n, dim), finite, no zero rows.
        right: float32 (n, dim), the same.
        left_norms: float64 (n,), `exact_norms` of `left` where they are known.
        right_norms: float64 (n,), `exact_norms` of `right` where they are known.
    """
    left_norms = exact_norms(left) if left_norms is None else left_norms
    right_norms = exact_norms(right) if right_norms is None else right_norms
    return np.clip(dots(left, right) / (left_norms * right_norms), -1.0, 1.0)

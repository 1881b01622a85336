"""The exact score of a pair of vectors: the cosine that decides every threshold and stands in every table.

Belongs here: this one function, the sums it is made of, and the other metrics of queries. Not here: the same in
compiled loops (`domain.similarity.cascade.kernels`), approximate products that only select candidates
(`domain.similarity.brute_force`, `domain.similarity.cascade`).
"""

import numpy as np

_LANES = 16  # Partial sums of a dot product.
_DOT_ROWS = 128  # Rows whose products stay in a core's second cache.


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


def metric_ranks(vectors: np.ndarray, query_vector: np.ndarray, metric: str) -> np.ndarray:
    """Return what a metric other than the cosine ranks vectors by, float64 (n,).

    A row's number does not depend on the other rows, to the last bit.

    Args:
        vectors: float32 or float64 (n, dim).
        query_vector: float32 (dim,).
        metric: `euclidean`, a distance, or `dot`, a dot product.
    """
    wide = query_vector.astype(np.float64)
    if metric == "euclidean":
        return np.linalg.norm(vectors.astype(np.float64) - wide, axis=1)
    return dots(vectors, np.broadcast_to(wide, vectors.shape))

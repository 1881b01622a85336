"""Random pairs of a collection, and the background score: the median cosine of two random images.

Belongs here: sampling pairs, the dot products of pairs. Not here: what follows from them
(`domain.analysis.calibration`, `domain.analysis.clustering`).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from imgret_assets.domain.runtime.cpu import usable_threads

SEED = 20261122
_RANDOM_PAIRS = 125_000
# The rows of this many pairs stay in a core's cache.
_BLOCK_PAIRS = 256


def random_pairs(count: int, pairs: int = _RANDOM_PAIRS) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of pairs of different images, the same for the same count; all pairs if there are at most `pairs`.

    Args:
        count: number of images.
        pairs: number of pairs.

    Returns:
        Two int64 arrays of equal length: the two rows of each pair.
    """
    if count * (count - 1) // 2 <= pairs:
        a, b = np.triu_indices(count, 1)
        return a.astype(np.int64), b.astype(np.int64)
    rng = np.random.default_rng(SEED)
    a = rng.integers(0, count, pairs)
    return a, (a + rng.integers(1, count, pairs)) % count


def pair_dots(left: np.ndarray, right: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the dot product, float64 (n,), of row `a[i]` of `left` and row `b[i]` of `right` for each i."""
    products = np.empty(len(a))

    def fill(start: int) -> None:
        part = slice(start, start + _BLOCK_PAIRS)
        products[part] = np.einsum("ij,ij->i", left[a[part]], right[b[part]], dtype=np.float64)

    starts = range(0, len(a), _BLOCK_PAIRS)
    if len(starts) <= 1:
        for start in starts:
            fill(start)
        return products
    # Fetching rows from all over the memory takes nearly all of the time; threads wait for it in parallel.
    with ThreadPoolExecutor(usable_threads()) as threads:
        list(threads.map(fill, starts))
    return products


def background_score(unit: np.ndarray) -> float:
    """Return the median cosine of random pairs of unit rows, float32 (n, dim); 0 if there is no pair."""
    a, b = random_pairs(len(unit))
    return round(float(np.median(pair_dots(unit, unit, a, b))), 6) if len(a) else 0.0

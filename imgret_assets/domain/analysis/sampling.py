"""Sampled pairs of a collection and their scores.

Belongs here: random pairs and the background distribution. Not here: what is concluded from them
(`domain.analysis.calibration`, `domain.analysis.clustering`).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from imgret_assets.domain.runtime.cpu import usable_threads

SEED = 20261122
_RANDOM_PAIRS = 125_000
# Rows of both sides of so many pairs stay in a core's cache.
_PAIRS_AT_ONCE = 256


def random_pairs(count: int, pairs: int = _RANDOM_PAIRS) -> tuple[np.ndarray, np.ndarray]:
    """Rows of pairs of different images, the same for the same count: all where there are no more than `pairs`."""
    if count * (count - 1) // 2 <= pairs:
        a, b = np.triu_indices(count, 1)
        return a.astype(np.int64), b.astype(np.int64)
    rng = np.random.default_rng(SEED)
    a = rng.integers(0, count, pairs)
    return a, (a + rng.integers(1, count, pairs)) % count


def dots(left: np.ndarray, right: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dot products, float64, of rows `a` of one with rows `b` of the other."""
    found = np.empty(len(a))

    def fill(start: int) -> None:
        part = slice(start, start + _PAIRS_AT_ONCE)
        found[part] = np.einsum("ij,ij->i", left[a[part]], right[b[part]], dtype=np.float64)

    starts = range(0, len(a), _PAIRS_AT_ONCE)
    if len(starts) <= 1:
        for start in starts:
            fill(start)
        return found
    # Nearly all of the time goes to fetching rows from all over the memory: cores wait for it side by side.
    with ThreadPoolExecutor(usable_threads()) as threads:
        list(threads.map(fill, starts))
    return found


def background(unit: np.ndarray) -> float:
    """The median cosine of two random images; 0 where there is no pair."""
    a, b = random_pairs(len(unit))
    return round(float(np.median(dots(unit, unit, a, b))), 6) if len(a) else 0.0

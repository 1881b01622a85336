"""Sets of vectors that break careless similarity searches, and the exact results for them.

Belongs here: shapes of vector sets, hypothesis strategies over them, and pairs and neighbours by comparing everything.
Not here: the searches under test (`domain.similarity`).
"""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from imgret_assets.domain.numerics.exact_scores import cosines
from imgret_assets.domain.similarity.neighbour_lists import NeighbourLists
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs

# Exact results


def all_scores(vectors: np.ndarray) -> np.ndarray:
    """Return the exact scores of all pairs, float64 (n, n)."""
    rows = [cosines(vectors, np.broadcast_to(row, vectors.shape)) for row in vectors]
    return np.array(rows).reshape(len(vectors), len(vectors))


def expected_pairs(vectors: np.ndarray, threshold: float, rows: np.ndarray | None = None) -> ScoredPairs:
    """Return all pairs above the threshold; with `rows`, those with at least one of them."""
    return pairs_among(all_scores(vectors), threshold, rows)


def pairs_among(scores: np.ndarray, threshold: float, rows: np.ndarray | None = None) -> ScoredPairs:
    """Return the pairs above the threshold, from the scores of all pairs."""
    above = np.triu(scores > threshold, 1)
    if rows is not None:
        is_chosen = np.isin(np.arange(len(scores)), rows)
        above &= is_chosen[:, None] | is_chosen
    a, b = np.nonzero(above)
    return ScoredPairs(a, b, scores[a, b])


def expected_neighbours(vectors: np.ndarray, k: int) -> NeighbourLists:
    """Return the k nearest neighbours of every row by a full sort."""
    scores, count = all_scores(vectors), len(vectors)
    width = max(0, min(k, count - 1))
    rows = np.array(
        [
            sorted(set(range(count)) - {row}, key=lambda other: (-scores[row, other], other))[:width]
            for row in range(count)
        ],
        dtype=np.int64,
    ).reshape(count, width)
    return NeighbourLists(rows, np.take_along_axis(scores, rows, axis=1))


def assert_same_pairs(pairs: ScoredPairs, expected: ScoredPairs) -> None:
    """Compare to the last bit of the scores."""
    for name in ("a", "b", "scores"):
        np.testing.assert_array_equal(getattr(pairs, name), getattr(expected, name))


def assert_same_lists(lists: NeighbourLists, expected: NeighbourLists) -> None:
    """Compare to the last bit of the scores."""
    np.testing.assert_array_equal(lists.rows, expected.rows)
    np.testing.assert_array_equal(lists.scores, expected.scores)


# Shapes: float64 (count, dim) each


def spread(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    return rng.standard_normal((count, dim))


def clusters(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    decay = np.exp(-np.arange(dim) / 8)
    centres = rng.standard_normal((3, dim)) * decay
    return centres[rng.integers(0, 3, count)] + 0.3 * rng.standard_normal((count, dim)) * decay


def tiny_residuals(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Nearly within two dimensions: what a projection leaves is all rounding."""
    plane = np.linalg.qr(rng.standard_normal((dim, min(2, dim))))[0]
    return rng.standard_normal((count, plane.shape[1])) @ plane.T + 1e-5 * rng.standard_normal((count, dim))


def duplicates(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    distinct = max(1, count // 4)
    return rng.standard_normal((distinct, dim))[rng.integers(0, distinct, count)]


def dominant_direction(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    return 20 * rng.standard_normal(dim) + rng.standard_normal((count, dim))


def all_alike(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    return np.ones(dim) + 1e-4 * rng.standard_normal((count, dim))


def all_norms(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """From subnormal numbers up to where float32 squares overflow."""
    return clusters(rng, count, dim) * 10.0 ** rng.uniform(-41, 36, (count, 1))


def opposites(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    return clusters(rng, count, dim) * rng.choice([-1.0, 1.0], (count, 1))


SHAPES: list[Callable[[np.random.Generator, int, int], np.ndarray]] = [
    spread, clusters, tiny_residuals, duplicates, dominant_direction, all_alike, all_norms, opposites,
]  # fmt: skip


@st.composite
def vector_sets(draw: st.DrawFn) -> np.ndarray:
    """Draw float32 (n, dim) of one of the shapes; no zero rows."""
    count, dim = draw(st.integers(0, 120)), draw(st.sampled_from([1, 2, 3, 15, 16, 17, 33, 48, 70]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vectors = draw(st.sampled_from(SHAPES))(rng, count, dim).astype(np.float32)
    vectors[~vectors.any(axis=1), 0] = 1.0
    return vectors


@st.composite
def thresholds(draw: st.DrawFn, vectors: np.ndarray) -> float:
    """Draw any threshold, or one at or next to the score of some pair."""
    if len(vectors) < 2 or draw(st.booleans()):
        return draw(st.sampled_from([-1.0, -0.2, 0.0, 0.5, 0.9, 0.999, 1.0]))
    i, j = draw(st.lists(st.integers(0, len(vectors) - 1), min_size=2, max_size=2, unique=True))
    score = float(cosines(vectors[[i]], vectors[[j]])[0])
    return score + draw(st.sampled_from([0.0, 1e-15, -1e-15, 1e-9, -1e-9, 1e-6, -1e-6, 1e-4, -1e-4]))


# Multiples by powers of two have equal scores with everything, though they are other vectors.
_DISTINCT = np.array([[1, 0, 0], [2, 0, 0], [4, 0, 0], [1, 1, 0], [0, 3, 1], [0, 6, 2], [-1, 2, 5]], np.float32)


@st.composite
def repeated_rows(draw: st.DrawFn) -> np.ndarray:
    """Draw float32 (n, dim) with rows that are equal, rows of equal directions, and single ones."""
    if draw(st.booleans()):
        return _DISTINCT[draw(st.lists(st.integers(0, len(_DISTINCT) - 1), max_size=40))].reshape(-1, 3)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    distinct = rng.standard_normal((draw(st.integers(1, 30)), draw(st.sampled_from([1, 3, 40])))).astype(np.float32)
    return distinct[rng.zipf(1.7, draw(st.integers(0, 60))) % len(distinct)]

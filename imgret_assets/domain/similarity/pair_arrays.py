"""Pairs of rows with their scores.

Belongs here: the type that every pair search returns, and operations on it. Not here: finding pairs
(`domain.similarity.pair_search`), the score of a pair (`domain.numerics.exact_scores.cosines`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of rows with their exact scores, sorted by `a`, then by `b`; each pair once.

    Attributes:
        a: int64 (n,), row numbers.
        b: int64 (n,), row numbers, each greater than the one in `a`.
        scores: float64 (n,), raw cosines.
    """

    a: np.ndarray
    b: np.ndarray
    scores: np.ndarray

    @classmethod
    def sorted_from(cls, left: np.ndarray, right: np.ndarray, scores: np.ndarray) -> "ScoredPairs":
        """Return the pairs in order.

        Args:
            left: int (n,), row numbers below 2^31; `left` and `right` may hold the rows of a pair in either order.
            right: int (n,), the other row of each pair.
            scores: float64 (n,).
        """
        keys = np.minimum(left, right).astype(np.int64) << 32 | np.maximum(left, right)
        order = np.argsort(keys)
        keys = keys[order]
        return cls(keys >> 32, keys & 0xFFFFFFFF, scores[order])

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.a)

    def where(self, keep: np.ndarray) -> "ScoredPairs":
        """Return the pairs for which `keep`, bool (n,), is true."""
        return ScoredPairs(self.a[keep], self.b[keep], self.scores[keep])


def no_pairs() -> ScoredPairs:
    """Return an empty set of pairs."""
    return ScoredPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def merge_pairs(parts: Iterable[ScoredPairs]) -> ScoredPairs:
    """Merge disjoint sets of pairs into one."""
    columns = [(part.a, part.b, part.scores) for part in parts]
    if not columns:
        return no_pairs()
    return ScoredPairs.sorted_from(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def among_best_neighbours(pairs: ScoredPairs, row_count: int, max_neighbours: int) -> np.ndarray:
    """Return for each pair, bool (n,), whether it is among the best pairs of at least one of its two rows.

    Args:
        pairs: pairs of `row_count` rows.
        row_count: number of rows.
        max_neighbours: number of best pairs of each row, at least 1. Of equal scores the lower row comes first.
    """
    rows = np.concatenate([pairs.a, pairs.b])
    neighbours = np.concatenate([pairs.b, pairs.a])
    scores = np.concatenate([pairs.scores, pairs.scores])
    order = np.lexsort((neighbours, -scores, rows))
    starts = np.searchsorted(rows[order], np.arange(row_count))
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.arange(len(rows)) - starts[rows[order]]
    is_best = ranks < max_neighbours
    return is_best[: len(pairs)] | is_best[len(pairs) :]

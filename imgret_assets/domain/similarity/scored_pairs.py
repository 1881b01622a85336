"""Pairs of rows with their scores.

Belongs here: the array record of pairs and operations on it. Not here: finding pairs (`domain.similarity.pair_search`).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pairs:
    """Pairs of row numbers `a` < `b` (int64) with their cosines (float64), sorted by `a`, then `b`."""

    a: np.ndarray
    b: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.a)

    def where(self, keep: np.ndarray) -> "Pairs":
        """Those of the pairs for which `keep` (bool) is true."""
        return Pairs(self.a[keep], self.b[keep], self.scores[keep])


def no_pairs() -> Pairs:
    """No pairs at all."""
    return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def joined(parts: "list[Pairs]") -> Pairs:
    """Several disjoint sets of pairs as one, sorted."""
    if not parts:
        return no_pairs()
    a, b, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in ("a", "b", "scores"))
    order = np.lexsort((b, a))
    return Pairs(a[order], b[order], scores[order])


def best_neighbours(pairs: Pairs, count: int, most: int) -> np.ndarray:
    """True for each pair that is among the best `most` of at least one of its two rows; ties go to lower rows.

    Args:
        pairs: of `count` rows.
        count: number of rows.
        most: how many each row may keep, at least 1.
    """
    rows = np.concatenate([pairs.a, pairs.b])
    others = np.concatenate([pairs.b, pairs.a])
    scores = np.concatenate([pairs.scores, pairs.scores])
    order = np.lexsort((others, -scores, rows))
    starts = np.searchsorted(rows[order], np.arange(count))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - starts[rows[order]]
    kept = rank < most
    return kept[: len(pairs)] | kept[len(pairs) :]

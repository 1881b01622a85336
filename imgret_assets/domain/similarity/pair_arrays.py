"""Pairs of rows with their scores.

Belongs here: the type that every pair search returns, and operations on it. Not here: finding pairs
(`domain.similarity.pair_search`), the score of a pair (`domain.numerics.exact_scores.cosines`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from imgret_assets.errors import TooManyPairsError

# Pairs that are sorted together when parts are merged, and when they are ranked.
_MERGED = 1 << 20
_RANKED = 1 << 22
# Bits of the number of bands of rows that pairs are counted in.
_BANDS_BITS = 12


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of rows with their exact scores, sorted by `a`, then by `b`; each pair once.

    Attributes:
        a: int32 (n,), row numbers.
        b: int32 (n,), row numbers, each greater than the one in `a`.
        scores: float64 (n,), raw cosines. With `a` and `b` a pair takes 16 bytes; there may be 50 million.
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
        return cls.from_keys(keys[order], scores[order])

    @classmethod
    def from_keys(cls, keys: np.ndarray, scores: np.ndarray) -> "ScoredPairs":
        """Return pairs from their keys, int64 (n,), ascending: the lower row in the upper 32 bits, the other below."""
        return cls((keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32), scores)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.a)

    def where(self, keep: np.ndarray | slice) -> "ScoredPairs":
        """Return the pairs for which `keep`, bool (n,), is true; those of a slice without a copy."""
        return ScoredPairs(self.a[keep], self.b[keep], self.scores[keep])


def no_pairs() -> ScoredPairs:
    """Return an empty set of pairs."""
    return ScoredPairs(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0))


def merge_pairs(parts: Iterable[ScoredPairs]) -> ScoredPairs:
    """Merge disjoint sets of pairs into one; besides the parts and the result about `_MERGED` pairs are in memory."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else no_pairs()
    # Pieces of rows in `a`: each part has the pairs of a piece together.
    row_count = 1 + max(int(part.a[-1]) for part in parts)
    # Counted in bands of rows: there may be as many parts as pieces, and a count of every row for each of them.
    shift = max(0, row_count.bit_length() - _BANDS_BITS)
    band_counts = np.zeros((row_count >> shift) + 1, np.int64)
    for part in parts:
        band_counts += np.bincount(part.a >> shift, minlength=len(band_counts))
    ends = np.cumsum(band_counts)
    bounds = np.unique(np.searchsorted(ends, np.arange(_MERGED, int(ends[-1]) + _MERGED, _MERGED)) + 1) << shift
    cuts = [np.searchsorted(part.a, np.concatenate([[0], bounds]).astype(part.a.dtype)) for part in parts]
    merged = ScoredPairs(*(np.empty(int(ends[-1]), kind) for kind in (np.int32, np.int32, np.float64)))
    start = 0
    for piece in range(len(bounds)):
        slices = [slice(cut[piece], cut[piece + 1]) for cut in cuts]
        columns = [
            np.concatenate([getattr(part, name)[rows] for part, rows in zip(parts, slices, strict=True)])
            for name in ("a", "b", "scores")
        ]
        pairs = ScoredPairs.sorted_from(*columns)
        stop = start + len(pairs)
        merged.a[start:stop], merged.b[start:stop], merged.scores[start:stop] = pairs.a, pairs.b, pairs.scores
        start = stop
    return merged


def among_best_neighbours(pairs: ScoredPairs, row_count: int, max_neighbours: int) -> np.ndarray:
    """Return for each pair, bool (n,), whether it is among the best pairs of at least one of its two rows.

    Args:
        pairs: pairs of `row_count` rows.
        row_count: number of rows.
        max_neighbours: number of best pairs of each row, at least 1. Of equal scores the lower row comes first.
    """
    has_many = np.bincount(pairs.a, minlength=row_count) + np.bincount(pairs.b, minlength=row_count) > max_neighbours
    # All pairs of the other rows are among their best.
    is_best = ~(has_many[pairs.a] & has_many[pairs.b])
    # Bands of rows, because sorting takes several times the memory of what is sorted.
    band = max(1, row_count * _RANKED // max(1, len(pairs)))
    for start in range(0, row_count, band):
        is_ranked = has_many[start : start + band]
        if not is_ranked.any():
            continue
        of_a = np.arange(*np.searchsorted(pairs.a, [start, start + band]))
        of_b = np.flatnonzero((pairs.b >= start) & (pairs.b < start + band))
        of_a, of_b = of_a[is_ranked[pairs.a[of_a] - start]], of_b[is_ranked[pairs.b[of_b] - start]]
        places = np.concatenate([of_a, of_b])
        rows = np.concatenate([pairs.a[of_a], pairs.b[of_b]])
        neighbours = np.concatenate([pairs.b[of_a], pairs.a[of_b]])
        order = np.lexsort((neighbours, -pairs.scores[places], rows))
        rows = rows[order]
        is_best[places[order][np.arange(len(rows)) - np.searchsorted(rows, rows) < max_neighbours]] = True
    return is_best


def too_many_pairs(found: str, most: int) -> TooManyPairsError:
    """Return the error of a search with more pairs than it may have.

    Args:
        found: what was found.
        most: how many pairs there may be.
    """
    return TooManyPairsError(
        found,
        expected=f"at most {most:,} (IMGRET_MAX_PAIRS)",
        remedy="raise the threshold (IMGRET_THRESHOLD), keep only each image's best with IMGRET_MAX_NEIGHBOURS=20, "
        "or raise IMGRET_MAX_PAIRS if there is room: each pair takes about 100 bytes of disk and 32 of memory",
    )

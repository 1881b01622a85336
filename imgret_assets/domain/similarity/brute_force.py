"""Exact pairs and nearest neighbours by matrix products of all vectors with all.

Belongs here: the searches that compare every pair in full. They serve small collections, for which the product takes
less time than loading compiled loops, and operators who switch the cascade off (IMGRET_PAIR_SEARCH=brute_force). Not
here: the same results in less time (`domain.similarity.cascade`), the choice between the two
(`domain.similarity.pair_search`, `domain.similarity.neighbours_table`).

A product only selects candidates; the exact score decides (`domain.numerics.exact_scores.cosines`). So the results
equal those of the cascade to the last bit. Pairs come from a float32 product, whose error is bounded (Higham, Accuracy
and Stability of Numerical Algorithms, 2nd ed., section 3.1). Let u = 2^-24. Rounding two unit vectors to float32 moves
their dot product by at most 2u + u^2. Summing D products in any order moves it by at most gamma(D) = D u / (1 - D u),
because the absolute values sum to at most (1 + u)^2 by Cauchy and Schwarz. Every pair within that margin of the
threshold is a candidate, so no pair is lost. Neighbours come from a float64 product with the same margin for float64.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.numerics.exact_scores import cosines, exact_norms
from imgret_assets.domain.numerics.vectors import float32_margin, unit_rows, unusable_norms
from imgret_assets.domain.similarity.neighbour_lists import (
    EarlierLists,
    NeighbourLists,
    invalid_entries,
    no_lists,
    rows_to_search,
)
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, merge_pairs
from imgret_assets.errors import TableError

BLOCK_ROWS = 1024
MEMORY_BYTES = 2 << 30
_CANDIDATES = 8192  # Candidates that are scored together, at most.


class _Scorer:
    """The exact scores of pairs of rows; the norm of each row is computed once."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors
        self._norms = exact_norms(vectors)
        if (bad := unusable_norms(self._norms)).any():
            raise TableError(f"Row {int(np.argmax(bad))} of the vectors is zero or not finite")

    def scores(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return the scores, float64 (m,), of pairs of row numbers."""
        scores = np.empty(len(left))
        for start in range(0, len(left), _CANDIDATES):
            part = slice(start, start + _CANDIDATES)
            a, b = left[part], right[part]
            scores[part] = cosines(
                self._vectors[a], self._vectors[b], left_norms=self._norms[a], right_norms=self._norms[b]
            )
        return scores


def pairs_above(
    vectors: np.ndarray, threshold: float, *, rows: np.ndarray | None = None, block_rows: int = BLOCK_ROWS
) -> ScoredPairs:
    """Return all pairs whose score is greater than the threshold.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm.
        threshold: a cosine in [-1, 1].
        rows: int64, ascending: only pairs with at least one of these rows; all pairs where None.
        block_rows: rows of a block; a block's product has block_rows^2 numbers.

    Raises:
        TableError: a row is zero or not finite.
    """
    return merge_pairs(pairs for pairs, _ in blocks_of_pairs(vectors, threshold, rows=rows, block_rows=block_rows))


def blocks_of_pairs(
    vectors: np.ndarray, threshold: float, *, rows: np.ndarray | None = None, block_rows: int = BLOCK_ROWS
) -> Iterator[tuple[ScoredPairs, float]]:
    """Yield the pairs of `pairs_above` block by block, each with the share of the work that is done, in (0, 1].

    Raises:
        TableError: a row is zero or not finite.
    """
    scorer = _Scorer(vectors)
    count = len(vectors)
    chosen = np.arange(count) if rows is None else np.asarray(rows, dtype=np.int64)
    is_chosen = np.zeros(count, dtype=bool)
    is_chosen[chosen] = True
    cutoff = np.nextafter(np.float32(threshold - float32_margin(vectors.shape[1])), np.float32(-np.inf))
    chosen_units = unit_rows(vectors if rows is None else vectors[chosen])
    for start in range(0, count if len(chosen) else 0, block_rows):
        stop = min(start + block_rows, count)
        units = unit_rows(vectors[start:stop])
        # A block that is chosen as a whole meets the later chosen rows in their own block.
        met = np.searchsorted(chosen, stop) if is_chosen[start:stop].all() else len(chosen)
        parts = []
        for first in range(0, met, block_rows):
            left = slice(first, min(first + block_rows, met))
            row, column = np.nonzero(chosen_units[left] @ units.T >= cutoff)
            parts.append(_pairs_among(scorer, chosen[left][row], column + start, is_chosen, threshold))
        yield merge_pairs(parts), _share_done(stop, count, rows is None)


def _pairs_among(
    scorer: _Scorer, left: np.ndarray, right: np.ndarray, is_chosen: np.ndarray, threshold: float
) -> ScoredPairs:
    """Return the pairs above the threshold among candidates, int64 (m,) each; `left` are chosen rows."""
    # Two chosen rows meet twice, and each row meets itself.
    once = (left != right) & (~is_chosen[right] | (left < right))
    left, right = left[once], right[once]
    scores = scorer.scores(left, right)
    above = scores > threshold
    return ScoredPairs.sorted_from(left[above], right[above], scores[above])


def _share_done(stop: int, count: int, all_pairs: bool) -> float:
    """Return the share of the work after the block that ends before row `stop`."""
    share = stop / count
    return share * share if all_pairs else share


def nearest_neighbours(
    vectors: np.ndarray,
    k: int,
    *,
    rows: np.ndarray | None = None,
    memory_bytes: int = MEMORY_BYTES,
    progress: Callable[[float], None] | None = None,
) -> NeighbourLists:
    """Return the exact k nearest neighbours of every row, or of some rows.

    Args:
        vectors: float32 (n, dim), finite, no zero rows.
        k: neighbours of each row; at most n - 1 are returned.
        rows: int64 (m,), the rows whose neighbours to find; all n where None.
        memory_bytes: bound on the products and float64 vectors that are held at a time.
        progress: called with the share of the rows that are done, in (0, 1].
    """
    count = len(vectors)
    searched = np.arange(count) if rows is None else rows
    width = max(0, min(k, count - 1))
    lists = no_lists(len(searched), width)
    if not width or not len(searched):
        return lists
    scorer, units = _Scorer(vectors), _UnitBlocks(vectors, memory_bytes)
    # Twice the error of one product: that of the k-th best product, and that of a better pair with a lower product.
    margin = 2 * _float64_margin(vectors.shape[1])
    # A product, its partitioned copy and the selected entries.
    block_rows = max(16, min(BLOCK_ROWS, memory_bytes // (2 * 24 * count)))
    for start in range(0, len(searched), block_rows):
        part = slice(start, min(start + block_rows, len(searched)))
        own = searched[part]
        product = units.product(unit_rows(vectors[own], dtype=np.float64))
        product[np.arange(len(own)), own] = -np.inf
        last_scores = np.partition(product, count - width, axis=1)[:, count - width]
        row, neighbour = np.nonzero(product >= (last_scores - margin)[:, np.newaxis])
        best = _best_entries(len(own), width, row, neighbour, scorer.scores(own[row], neighbour))
        lists.rows[part], lists.scores[part] = best
        if progress is not None:
            progress(part.stop / len(searched))
    return lists


class UpdatedLists(NamedTuple):
    """The lists after an update, and how many pairs were compared for it."""

    lists: NeighbourLists
    compared: int


def update_neighbours(
    vectors: np.ndarray,
    k: int,
    required: int,
    earlier: EarlierLists,
    *,
    memory_bytes: int = MEMORY_BYTES,
    progress: Callable[[float], None] | None = None,
) -> UpdatedLists:
    """Update the k nearest neighbours of every row after a change.

    Rows that are new, and rows with fewer than `required` entries left, are compared with all; the other rows only with
    the new ones.

    Args:
        vectors: float32 (n, dim), finite, no zero rows.
        k: number of neighbours to keep for every row.
        required: number of neighbours that every row must have in the end, at most k.
        earlier: the earlier lists, in present row numbers.
        memory_bytes: bound on the products and float64 vectors that are held at a time.
        progress: called with the share of the full searches that are done, in (0, 1].
    """
    count = len(vectors)
    width = max(0, min(k, count - 1))
    invalid = invalid_entries(earlier, count)
    searched = rows_to_search(earlier, invalid, width, min(required, width))
    lists = no_lists(count, width)
    if not width:
        return UpdatedLists(lists, 0)
    found = nearest_neighbours(vectors, k, rows=searched, memory_bytes=memory_bytes, progress=progress)
    lists.rows[searched], lists.scores[searched] = found
    others = np.setdiff1d(np.arange(count), searched, assume_unique=True)
    new_rows = np.sort(earlier.new_rows)
    if len(others):
        _add_new_rows(vectors, earlier, invalid, others, new_rows, lists, memory_bytes)
    return UpdatedLists(lists, len(searched) * (count - 1) + len(others) * len(new_rows))


def _add_new_rows(
    vectors: np.ndarray,
    earlier: EarlierLists,
    invalid: np.ndarray,
    kept_rows: np.ndarray,
    new_rows: np.ndarray,
    lists: NeighbourLists,
    memory_bytes: int,
) -> None:
    """Fill in the lists of `kept_rows`: their valid earlier entries and the new rows that come before the last one."""
    width, margin = lists.rows.shape[1], _float64_margin(vectors.shape[1])
    scorer, units = _Scorer(vectors), _UnitBlocks(vectors[new_rows], memory_bytes)
    for start in range(0, len(kept_rows), BLOCK_ROWS):
        own = kept_rows[start : start + BLOCK_ROWS]
        valid, members, scores = ~invalid[own], earlier.rows[own], earlier.scores[own]
        # The entry after the last valid one is unknown: it may be a row that never was in the list.
        last = np.arange(len(own)), valid.shape[1] - 1 - np.argmax(valid[:, ::-1], axis=1)
        limits, limit_rows = scores[last], members[last]
        product = units.product(unit_rows(vectors[own], dtype=np.float64))
        row, column = np.nonzero(product >= (limits - margin)[:, np.newaxis])
        new_scores = scorer.scores(own[row], new_rows[column])
        is_known = (new_scores > limits[row]) | ((new_scores == limits[row]) & (new_rows[column] < limit_rows[row]))
        lists.rows[own], lists.scores[own] = _best_entries(
            len(own),
            width,
            np.concatenate([np.nonzero(valid)[0], row[is_known]]),
            np.concatenate([members[valid], new_rows[column[is_known]]]),
            np.concatenate([scores[valid], new_scores[is_known]]),
        )


class _UnitBlocks:
    """Unit rows in float64: all of them where they fit into memory, else made again for each product."""

    def __init__(self, vectors: np.ndarray, memory_bytes: int) -> None:
        self._vectors = vectors
        row_bytes = 8 * max(1, vectors.shape[1])
        self._rows = max(BLOCK_ROWS, memory_bytes // 2 // row_bytes)
        self._all = unit_rows(vectors, dtype=np.float64) if len(vectors) <= self._rows else None

    def product(self, left: np.ndarray) -> np.ndarray:
        """Return the products, float64 (m, n), of unit rows float64 (m, dim) with all rows."""
        if self._all is not None:
            return left @ self._all.T
        out = np.empty((len(left), len(self._vectors)))
        for start in range(0, len(self._vectors), self._rows):
            part = slice(start, min(start + self._rows, len(self._vectors)))
            out[:, part] = left @ unit_rows(self._vectors[part], dtype=np.float64).T
        return out


def _float64_margin(dim: int) -> float:
    """Return a bound on the difference between a float64 product of unit rows and the exact score of the pair."""
    # In units of 2^-53: dim for both norms of the unit rows, dim for the product, dim for the exact score itself.
    return (3 * dim + 32) * 2.0**-53


def _best_entries(count: int, width: int, row: np.ndarray, neighbour: np.ndarray, score: np.ndarray) -> NeighbourLists:
    """Return the lists of `count` rows from unsorted entries, int (m,), int (m,) and float64 (m,)."""
    order = np.lexsort((neighbour, -score, row))
    row, neighbour, score = row[order], neighbour[order], score[order]
    rank = np.arange(len(row)) - np.searchsorted(row, np.arange(count))[row]
    lists = no_lists(count, width)
    is_best = rank < width
    lists.rows[row[is_best], rank[is_best]] = neighbour[is_best]
    lists.scores[row[is_best], rank[is_best]] = score[is_best]
    return lists

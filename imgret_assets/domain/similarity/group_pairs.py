"""Pairs of all rows from the pairs of groups of rows with equal vectors.

Belongs here: how many pairs of rows pairs of groups stand for, and these pairs, with or without a cap on neighbours.
Not here: the groups (`domain.similarity.equal_vectors`), finding pairs of groups (`domain.similarity.pair_search`).

A thousand names of one content are half a million pairs. So pairs are counted before they are made, and made in parts
of bounded size.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.numerics.exact_scores import cosines
from imgret_assets.domain.similarity.equal_vectors import RowGroups, best_rows, ranges
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, merge_pairs

# Pairs, or entries of lists, that are made at a time.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class GroupPairs:
    """What pairs of groups, and groups on their own, stand for.

    Attributes:
        groups: the groups.
        own: int64, ascending: the groups whose rows are pairs with each other.
        own_scores: float64, the same length: the scores of those.
    """

    groups: RowGroups
    own: np.ndarray
    own_scores: np.ndarray

    @property
    def own_pair_count(self) -> int:
        """Number of pairs of rows within the groups."""
        sizes = self.groups.sizes[self.own]
        return int((sizes * (sizes - 1) // 2).sum())

    def row_pair_count(self, pairs: ScoredPairs) -> int:
        """Return for how many pairs of rows pairs of groups stand."""
        if self.groups.all_single:
            return len(pairs)
        sizes = self.groups.sizes
        return int((sizes[pairs.a] * sizes[pairs.b]).sum())

    def row_pairs(self, pairs: Iterable[ScoredPairs]) -> ScoredPairs:
        """Return all pairs of rows for which pairs of groups stand, with the pairs within groups.

        Args:
            pairs: disjoint sets of pairs of different groups; each is let go of when it has been used.
        """
        if self.groups.all_single:
            return merge_pairs(pairs)
        parts = list(self._pairs_within())
        sizes, first_rows = self.groups.sizes, self.groups.first_rows.astype(np.int32)
        for some in pairs:
            is_single = (sizes[some.a] == 1) & (sizes[some.b] == 1)
            single = some.where(is_single)
            # First rows ascend with their groups, so these pairs stay in order.
            parts.append(ScoredPairs(first_rows[single.a], first_rows[single.b], single.scores))
            parts += self._pairs_between(some.where(~is_single))
        return merge_pairs(parts)

    def _pairs_between(self, pairs: ScoredPairs) -> Iterator[ScoredPairs]:
        """Yield the pairs of rows of different groups in parts."""
        groups, sizes = self.groups, self.groups.sizes
        # Each row of the smaller group with all rows of the larger one.
        a_is_smaller = sizes[pairs.a] <= sizes[pairs.b]
        left, right = np.where(a_is_smaller, pairs.a, pairs.b), np.where(a_is_smaller, pairs.b, pairs.a)
        for part in _parts(sizes[left] * sizes[right]):
            counts = sizes[left[part]]
            rows = groups.members[ranges(groups.starts[left[part]], counts)]
            others, scores = np.repeat(right[part], counts), np.repeat(pairs.scores[part], counts)
            for piece in _parts(sizes[others]):
                counts = sizes[others[piece]]
                yield ScoredPairs.sorted_from(
                    np.repeat(rows[piece], counts),
                    groups.members[ranges(groups.starts[others[piece]], counts)],
                    np.repeat(scores[piece], counts),
                )

    def _pairs_within(self) -> Iterator[ScoredPairs]:
        """Yield the pairs of rows of each of the groups with pairs of their own, in parts."""
        groups = self.groups
        sizes = groups.sizes[self.own]
        places = ranges(groups.starts[self.own], sizes)
        scores = np.repeat(self.own_scores, sizes)
        # Each row with those after it in its group.
        later = np.repeat(groups.starts[self.own + 1], sizes) - places - 1
        for part in _parts(later):
            yield ScoredPairs.sorted_from(
                np.repeat(groups.members[places[part]], later[part]),
                groups.members[ranges(places[part] + 1, later[part])],
                np.repeat(scores[part], later[part]),
            )

    def best_row_pairs(self, pairs: ScoredPairs, max_neighbours: int) -> ScoredPairs:
        """Return the pairs of rows that are among the best of one of their two rows.

        Args:
            pairs: pairs of different groups: all that are among the best `max_neighbours` of one of the two.
            max_neighbours: number of best pairs of each row. Of equal scores the lower row comes first.
        """
        groups = self.groups
        left, right = np.concatenate([pairs.a, pairs.b, self.own]), np.concatenate([pairs.b, pairs.a, self.own])
        scores = np.concatenate([pairs.scores, pairs.scores, self.own_scores])
        order = np.argsort(left, kind="stable")
        left, right, scores = left[order], right[order], scores[order]
        keys, key_scores = [np.empty(0, np.int64)], [np.empty(0)]
        # One more, because a row may meet itself.
        width = max_neighbours + 1
        step = _BLOCK // width + 1
        for first in range(0, len(groups), step):
            last = min(first + step, len(groups))
            part = slice(*np.searchsorted(left, [first, last]))
            best = best_rows(groups, left[part] - first, right[part], scores[part], last - first, width)
            members = groups.members[groups.starts[first] : groups.starts[last]]
            for start in range(0, len(members), step):
                rows = members[start : start + step]
                neighbours, row_scores = (column[groups.group_of[rows] - first] for column in best)
                keep = (neighbours >= 0) & (neighbours != rows[:, np.newaxis])
                keep &= np.cumsum(keep, axis=1) <= max_neighbours
                row = np.broadcast_to(rows[:, np.newaxis], keep.shape)[keep]
                keys.append(np.minimum(row, neighbours[keep]) << 32 | np.maximum(row, neighbours[keep]))
                key_scores.append(row_scores[keep])
        key, place = np.unique(np.concatenate(keys), return_index=True)
        return ScoredPairs.from_keys(key, np.concatenate(key_scores)[place])


def group_pairs(
    groups: RowGroups, vectors: np.ndarray, threshold: float, chosen: np.ndarray | None = None
) -> GroupPairs:
    """Return the groups with what is known of the pairs within them.

    Args:
        groups: the groups.
        vectors: float32 (g, dim), the vector of each group.
        threshold: rows of a group are pairs where the score of its vector with itself is greater.
        chosen: int64: only in these groups; in all where None.
    """
    own = np.flatnonzero(groups.sizes > 1)
    if chosen is not None:
        own = np.intersect1d(own, chosen)
    scores = cosines(vectors[own], vectors[own])
    return GroupPairs(groups, own[scores > threshold], scores[scores > threshold])


def _parts(counts: np.ndarray) -> Iterator[slice]:
    """Yield slices of items that make about `_BLOCK` pairs together, or of one item; `counts` are pairs of each."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        stop = int(np.searchsorted(ends, ends[start] - counts[start] + _BLOCK, side="right"))
        stop = max(start + 1, stop)
        yield slice(start, stop)
        start = stop

"""Groups of rows with equal vectors: a search compares one row of each group, and the others follow from it.

Rows of one group have the same score with any row, so a search for pairs or neighbours over one row of each group says
all about the others, and its cost grows with the number of different vectors, not with that of names. Belongs here:
finding the groups, and lists of all rows from those of the groups. Not here: the searches
(`domain.similarity.brute_force`, `domain.similarity.cascade`), pairs (`domain.similarity.group_pairs`).

A group is represented by its first row, and groups are numbered in the order of these. Hence an order by score and then
by group is an order by score and then by row, as far as first rows are concerned. So the k nearest rows of a row belong
to its own group and to the k nearest groups: each of k groups that come before another one holds a row that comes
before all rows of that one.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.numerics.exact_scores import cosines
from imgret_assets.domain.similarity.neighbour_lists import NeighbourLists, no_lists

# Numbers of a vector that are compared first: few vectors agree in them that are not equal.
_SAMPLED = 16
# Rows, or entries of lists, that are held at a time.
_BLOCK = 1 << 18


@dataclass(frozen=True)
class RowGroups:
    """Rows by equal vectors.

    Attributes:
        first_rows: int64 (g,), ascending: the first row of each group.
        group_of: int64 (n,), the group of each row.
        members: int64 (n,), all rows, by group, ascending within each.
        starts: int64 (g + 1,), where each group starts in `members`.
    """

    first_rows: np.ndarray
    group_of: np.ndarray
    members: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.first_rows)

    @property
    def row_count(self) -> int:
        """Number of rows of all groups."""
        return len(self.group_of)

    @property
    def all_single(self) -> bool:
        """Whether no two rows are in one group."""
        return len(self) == self.row_count

    @property
    def sizes(self) -> np.ndarray:
        """Number of rows of each group, int64 (g,)."""
        return np.diff(self.starts)


def group_equal_rows(vectors: np.ndarray, apart: np.ndarray | None = None) -> RowGroups:
    """Group rows whose vectors are equal to the last bit.

    Args:
        vectors: float32 (n, dim).
        apart: bool (n,): rows for which it differs are in different groups, too; None where all may be together.
    """
    count = len(vectors)
    first_row = np.arange(count)
    if vectors.size:
        numbers = np.ascontiguousarray(vectors).view(np.uint32)
        columns = np.unique(np.linspace(0, numbers.shape[1] - 1, _SAMPLED).astype(np.int64))
        # Odd factors; the sums overflow, which is harmless.
        factors = np.random.default_rng(_SAMPLED).integers(0, 2**63, len(columns), np.uint64) * np.uint64(2) + 1
        hashes = np.empty(count, np.uint64)
        for start in range(0, count, _BLOCK):
            part = slice(start, start + _BLOCK)
            hashes[part] = (numbers[part, columns] * factors).sum(axis=1, dtype=np.uint64)
        _, number, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        first_row_of: dict[tuple[bytes, bool], int] = {}
        for row in np.flatnonzero(counts[number] > 1).tolist():
            digest = hashlib.blake2b(numbers[row].data, digest_size=16).digest()
            first_row[row] = first_row_of.setdefault((digest, apart is not None and bool(apart[row])), row)
    first_rows = np.flatnonzero(first_row == np.arange(count))
    group_of = np.searchsorted(first_rows, first_row)
    members = np.argsort(group_of, kind="stable")
    return RowGroups(first_rows, group_of, members, np.searchsorted(group_of[members], np.arange(len(first_rows) + 1)))


def keep_first_rows(vectors: np.ndarray, groups: RowGroups) -> np.ndarray:
    """Move the vector of each group to the front of the array and return that part: float32 (g, dim), no copy."""
    for start in range(0, len(groups), _BLOCK // 64):
        # A first row never lies before its group's number, so none is overwritten before it is moved.
        part = groups.first_rows[start : start + _BLOCK // 64]
        vectors[start : start + len(part)] = vectors[part]
    return vectors[: len(groups)]


def lists_of_rows(lists: NeighbourLists, vectors: np.ndarray, groups: RowGroups, k: int) -> NeighbourLists:
    """Return the k nearest neighbours of every row from the nearest groups of every group.

    Args:
        lists: at least min(k, g - 1) known entries for each group, as groups; further ones are ignored.
        vectors: float32 (g, dim), the vector of each group.
        groups: the groups.
        k: neighbours of each row; at most n - 1 are returned.
    """
    count = len(groups)
    width = max(0, min(k, groups.row_count - 1))
    if groups.all_single or not width:
        return NeighbourLists(lists.rows[:, :width], lists.scores[:, :width])
    near = min(k, count - 1)
    own = np.arange(count)
    left = np.concatenate([own, np.repeat(own, near)])
    right = np.concatenate([own, lists.rows[:, :near].ravel()])
    scores = np.concatenate([cosines(vectors, vectors), lists.scores[:, :near].ravel()])
    # One more, because a row may meet itself.
    best = best_rows(groups, left, right, scores, count, width + 1)
    return _without_selves(best, groups, width)


def best_rows(
    groups: RowGroups, left: np.ndarray, right: np.ndarray, scores: np.ndarray, list_count: int, count: int
) -> NeighbourLists:
    """Return lists of the best `count` rows of some groups, best first, ties by lower row; then -1 and -inf.

    Args:
        groups: the groups.
        left: int (m,), numbers of lists, 0 to list_count - 1.
        right: int (m,), a group whose rows are candidates for the list in `left`, once for each list.
        scores: float64 (m,), the score of these rows in this list.
        list_count: number of lists.
        count: length of the lists.
    """
    sizes = groups.sizes
    order = np.lexsort((-scores, left))
    left, right, scores = left[order], right[order], scores[order]
    # Candidates that have enough better ones before them are left out.
    is_tie = np.zeros(len(left), bool)
    is_tie[1:] = (left[1:] == left[:-1]) & (scores[1:] == scores[:-1])
    first_of_tie = np.maximum.accumulate(np.where(is_tie, 0, np.arange(len(left))))
    rows_before = np.cumsum(sizes[right]) - sizes[right]
    better = rows_before[first_of_tie] - rows_before[np.searchsorted(left, left)]
    keep = better < count
    left, right, scores = left[keep], right[keep], scores[keep]
    taken = np.minimum(sizes[right], count)
    ends = np.cumsum(taken)
    rows, row_scores = no_lists(list_count, count)
    start = 0
    while start < len(left):
        stop = np.searchsorted(ends, ends[start] - taken[start] + _BLOCK, side="right")
        # All candidates of a group at a time.
        stop = int(np.searchsorted(left, left[max(start, int(stop) - 1)], side="right"))
        part = slice(start, stop)
        entry_left, entry_score = (np.repeat(column[part], taken[part]) for column in (left, scores))
        entry_row = groups.members[ranges(groups.starts[right[part]], taken[part])]
        order = np.lexsort((entry_row, -entry_score, entry_left))
        entry_left = entry_left[order]
        rank = np.arange(len(order)) - np.searchsorted(entry_left, entry_left)
        is_best = rank < count
        place = entry_left[is_best], rank[is_best]
        rows[place], row_scores[place] = entry_row[order][is_best], entry_score[order][is_best]
        start = stop
    return NeighbourLists(rows, row_scores)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the numbers of all ranges of these starts and lengths, int64 (m,) each, one range after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)


def _without_selves(best: NeighbourLists, groups: RowGroups, width: int) -> NeighbourLists:
    """Return the list of each row, `width` entries: that of its group, (g, width + 1), without the row itself."""
    rows = np.empty((groups.row_count, width), np.int64)
    scores = np.empty((groups.row_count, width))
    for start in range(0, groups.row_count, _BLOCK // (width + 1) + 1):
        part = slice(start, min(start + _BLOCK // (width + 1) + 1, groups.row_count))
        own = groups.group_of[part]
        is_self = best.rows[own] == np.arange(part.start, part.stop)[:, np.newaxis]
        # Where the row is not in it, the last entry is one too many.
        is_self[~is_self.any(axis=1), width] = True
        rows[part] = best.rows[own][~is_self].reshape(-1, width)
        scores[part] = best.scores[own][~is_self].reshape(-1, width)
    return NeighbourLists(rows, scores)

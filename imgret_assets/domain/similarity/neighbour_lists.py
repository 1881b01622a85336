"""Lists of nearest neighbours, and what stays valid of them after a change.

Belongs here: the type that every neighbour search returns, lists from an earlier search, and which rows to search
again. Not here: the searches (`domain.similarity.brute_force`, `domain.similarity.cascade`), the table
(`domain.similarity.neighbours_table`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class NeighbourLists(NamedTuple):
    """The nearest neighbours of each row, best first; of equal scores the lower row comes first.

    A row is not its own neighbour. After an update a list may end early: the entry that follows its last one is then
    unknown, and the rest of the list is -1 and -inf. The number of entries that the caller required is never unknown.

    Attributes:
        rows: int64 (n, min(k, n - 1)), row numbers of the neighbours.
        scores: float64, the same shape: exact scores (`domain.numerics.exact_scores.cosines`).
    """

    rows: np.ndarray
    scores: np.ndarray


def no_lists(count: int, width: int) -> NeighbourLists:
    """Return `count` lists of `width` unknown entries."""
    return NeighbourLists(np.full((count, width), -1, np.int64), np.full((count, width), -np.inf))


@dataclass(frozen=True)
class EarlierLists:
    """Lists that were made before rows were added, changed or removed, in present row numbers.

    The rows that stayed must be in the same order as before, because the order of equal scores depends on it.

    Attributes:
        rows: int64 (n, w), the list of each present row, best first; -1 for a removed row and an unknown entry. The
            lists of the rows in `new_rows` are ignored.
        scores: float64 (n, w), their scores.
        new_rows: int64 (m,), rows that are new or whose vector has changed.
    """

    rows: np.ndarray
    scores: np.ndarray
    new_rows: np.ndarray


def invalid_entries(earlier: EarlierLists, count: int) -> np.ndarray:
    """Return which entries of the earlier lists no longer hold, bool (n, w): removed rows and new rows.

    Raises:
        ValueError: the arrays are not lists of `count` rows.
        IndexError: a row number is out of range.
    """
    if len(earlier.rows) != count or earlier.rows.shape != earlier.scores.shape:
        raise ValueError(f"earlier lists {earlier.rows.shape}, scores {earlier.scores.shape}, of {count} rows")
    for rows in (earlier.rows, earlier.new_rows):
        if rows.size and not -1 <= rows.min() <= rows.max() < count:
            raise IndexError(f"rows {rows.min()} to {rows.max()} in earlier lists of {count} rows")
    is_new = np.zeros(count, bool)
    is_new[earlier.new_rows] = True
    return (earlier.rows < 0) | is_new[np.maximum(earlier.rows, 0)]


def rows_to_search(earlier: EarlierLists, invalid: np.ndarray, width: int, required: int) -> np.ndarray:
    """Return the rows to compare with all others, int64, ascending: new ones and those with too short a list.

    Args:
        earlier: the earlier lists.
        invalid: bool (n, w), `invalid_entries` of them.
        width: number of entries of the lists to make.
        required: number of valid entries that a list must have to be kept.
    """
    to_search = (~invalid).sum(axis=1) < required
    to_search[earlier.new_rows] = True
    # Lists of a smaller k or of a smaller collection have no last score to compare new rows with.
    if invalid.shape[1] < width:
        to_search[:] = True
    return np.flatnonzero(to_search)

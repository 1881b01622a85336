"""Lists of nearest neighbours between runs.

Belongs here: what an earlier list still holds, and which rows are due. Not here: the search
(`domain.similarity.cascade.nearest_search`).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Previous:
    """Lists made before rows came, changed or went, in present row numbers.

    The rows that stayed must have kept their order: which of two equal scores was kept was decided by it.

    Attributes:
        rows: int64 (n, w): what each present row held, best first, in present numbers; -1 for a row that is gone, and
            where there were no more.
        scores: float64 (n, w), as they were.
        fresh: int64: rows that are new, or whose vector has changed; what the lists say of them is ignored.
    """

    rows: np.ndarray
    scores: np.ndarray
    fresh: np.ndarray


def gone_entries(previous: Previous, count: int) -> np.ndarray:
    """Which entries of the previous lists hold no longer, bool (n, w): rows that are gone, and fresh ones.

    Raises:
        ValueError, IndexError: they aren't lists of so many rows.
    """
    if len(previous.rows) != count or previous.rows.shape != previous.scores.shape:
        raise ValueError(f"previous lists {previous.rows.shape}, scores {previous.scores.shape}, of {count} rows")
    for rows in (previous.rows, previous.fresh):
        if rows.size and not -1 <= rows.min() <= rows.max() < count:
            raise IndexError(f"rows {rows.min()} to {rows.max()} in previous lists of {count} rows")
    fresh = np.zeros(count, bool)
    fresh[previous.fresh] = True
    return (previous.rows < 0) | fresh[np.maximum(previous.rows, 0)]


def due_rows(previous: Previous, gone: np.ndarray, width: int, wanted: int) -> np.ndarray:
    """Rows to compare with all: fresh, or with fewer members left than wanted."""
    due = (~gone).sum(axis=1) < wanted
    due[previous.fresh] = True
    # Lists shorter than the new ones, of a smaller k or a smaller collection, have no last score to compare with.
    if gone.shape[1] < width:
        due[:] = True
    return np.flatnonzero(due)

"""The exact k nearest of every row by a blocked product in float64.

Belongs here: a few thousand rows, of which the product takes less time than loading compiled loops. Not here: more of
them (`domain.cascade_nearest`, which says what an update needs), the table (`domain.neighbours`).
"""

import numpy as np

from imgret_assets.domain.cascade_nearest import Previous, due_rows, gone_entries
from imgret_assets.domain.pair_search import cosines
from imgret_assets.domain.unit_rows import unit_rows

_BLOCK_ROWS = 1024
_PART = 16384
# A product's last digits and those of a pair's own cosine may differ: what may be in is looked at once more.
_ROUNDING = 1e-12


def plain_nearest(vectors: np.ndarray, k: int, *, of: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The exact k nearest of every row, or of some.

    Args:
        vectors: float32 (n, dim), finite, no zero rows.
        k: how many.
        of: int64 (m,), the rows whose nearest are wanted; None for all n.

    Returns:
        rows int64 and cosines float64, both (m, min(k, n - 1)), best first, ties by lower row.
    """
    count = len(vectors)
    wanted = np.arange(count) if of is None else of
    width = max(0, min(k, count - 1))
    rows, scores = np.empty((len(wanted), width), np.int64), np.empty((len(wanted), width))
    unit = unit_rows(vectors, dtype=np.float64)
    for start in range(0, len(wanted) if width else 0, _BLOCK_ROWS):
        place = slice(start, start + _BLOCK_ROWS)
        part = wanted[place]
        product = unit[part] @ unit.T
        product[np.arange(len(part)), part] = -np.inf
        last = np.partition(product, count - width, axis=1)[:, count - width]
        row, other = np.nonzero(product >= (last - _ROUNDING)[:, np.newaxis])
        own = _cosines_of(vectors, part[row], other)
        rows[place], scores[place] = _best(len(part), width, row, other, own)
    return rows, scores


def plain_update(vectors: np.ndarray, k: int, wanted: int, previous: Previous) -> tuple[np.ndarray, np.ndarray, int]:
    """As `NearestSearch` with earlier lists: only fresh rows, and those that lost too many, are compared with all.

    Args:
        vectors: float32 (n, dim), finite, no zero rows.
        k: how many to keep of every row.
        wanted: how many every row must have in the end, at most k.
        previous: the earlier lists, in present row numbers.

    Returns:
        rows int64 and cosines float64, both (n, min(k, n - 1)), best first, ties by lower row; behind those wanted -1
        and -inf where what comes next isn't known. And how many pairs were compared.
    """
    count = len(vectors)
    width = max(0, min(k, count - 1))
    gone = gone_entries(previous, count)
    due = due_rows(previous, gone, width, min(wanted, width))
    rows, scores = np.full((count, width), -1, np.int64), np.full((count, width), -np.inf)
    if not width:
        return rows, scores, 0
    rows[due], scores[due] = plain_nearest(vectors, k, of=due)
    others = np.setdiff1d(np.arange(count), due, assume_unique=True)
    fresh = np.sort(previous.fresh)
    new = unit_rows(vectors[fresh], dtype=np.float64)
    for start in range(0, len(others), _BLOCK_ROWS):
        part = others[start : start + _BLOCK_ROWS]
        left, members, known = ~gone[part], previous.rows[part], previous.scores[part]
        # What comes after the last one that is left isn't known: it may be one that never was in the list.
        at = np.arange(len(part)), left.shape[1] - 1 - np.argmax(left[:, ::-1], axis=1)
        limit, limit_member = known[at], members[at]
        product = unit_rows(vectors[part], dtype=np.float64) @ new.T
        row, column = np.nonzero(product >= (limit - _ROUNDING)[:, np.newaxis])
        own = _cosines_of(vectors, part[row], fresh[column])
        before = (own > limit[row]) | ((own == limit[row]) & (fresh[column] < limit_member[row]))
        rows[part], scores[part] = _best(
            len(part),
            width,
            np.concatenate([np.nonzero(left)[0], row[before]]),
            np.concatenate([members[left], fresh[column[before]]]),
            np.concatenate([known[left], own[before]]),
        )
    return rows, scores, len(due) * (count - 1) + len(others) * len(fresh)


def _cosines_of(vectors: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Raw cosines, float64, of pairs of row numbers."""
    parts = [slice(start, start + _PART) for start in range(0, len(left), _PART)]
    return np.concatenate([np.empty(0), *(cosines(vectors[left[part]], vectors[right[part]]) for part in parts)])


def _best(
    count: int, width: int, row: np.ndarray, member: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best `width` of each of so many rows: members and scores, (count, width), then -1 and -inf."""
    order = np.lexsort((member, -score, row))
    row, member, score = row[order], member[order], score[order]
    rank = np.arange(len(row)) - np.searchsorted(row, np.arange(count))[row]
    members, scores = np.full((count, width), -1, np.int64), np.full((count, width), -np.inf)
    best = rank < width
    members[row[best], rank[best]] = member[best]
    scores[row[best], rank[best]] = score[best]
    return members, scores

"""The exact k nearest of every row by a blocked product in float64.

Belongs here: a few thousand rows, of which the product takes less time than loading compiled loops. Not here: more of
them (`domain.similarity.cascade.nearest_search`, which says what an update needs), the table
(`domain.similarity.neighbours_table`).
"""

from collections.abc import Iterator

import numpy as np

from imgret_assets.domain.numerics.vectors import cosines, exact_norms, float32_margin, unit_rows, unusable_norms
from imgret_assets.domain.similarity.neighbour_lists import Previous, due_rows, gone_entries
from imgret_assets.domain.similarity.scored_pairs import Pairs
from imgret_assets.errors import TableError

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


BLOCK_ROWS = 1024


def pairs_above(
    vectors: np.ndarray, threshold: float, *, rows: np.ndarray | None = None, block_rows: int = BLOCK_ROWS
) -> Pairs:
    """All pairs whose float64 cosine is greater than the threshold.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm.
        threshold: a cosine in [-1, 1].
        rows: only pairs with at least one of these row numbers, sorted; all pairs where None.
        block_rows: rows of one block; a block's product has block_rows^2 numbers.

    Raises:
        TableError: a row has no direction.
    """
    norms = exact_norms(vectors)
    if (bad := unusable_norms(norms)).any():
        raise TableError(f"Row {int(np.argmax(bad))} of the vectors is zero or not finite")
    count = len(vectors)
    chosen = np.arange(count) if rows is None else np.asarray(rows, dtype=np.int64)
    isolated = np.zeros(count, dtype=bool)
    isolated[chosen] = True
    cutoff = np.nextafter(np.float32(threshold - float32_margin(vectors.shape[1])), np.float32(-np.inf))
    left = unit_rows(vectors if rows is None else vectors[chosen])
    found = [
        part
        for start in range(0, count if len(chosen) else 0, block_rows)
        for part in _against_block(vectors, norms, (chosen, left), isolated, start, cutoff, threshold, block_rows)
    ]
    a, b, scores = (np.concatenate(columns) for columns in zip(*found, strict=True)) if found else _nothing()
    order = np.lexsort((b, a))
    return Pairs(a[order], b[order], scores[order])


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)


def _against_block(
    vectors: np.ndarray,
    norms: np.ndarray,
    left: tuple[np.ndarray, np.ndarray],
    chosen: np.ndarray,
    start: int,
    cutoff: np.float32,
    threshold: float,
    block_rows: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of the chosen rows, given with their unit rows, with one block of all, each unordered pair once."""
    rows, units = left
    right = unit_rows(vectors[start : start + block_rows])
    # Rows after a block that is chosen as a whole meet it when theirs comes.
    last = np.searchsorted(rows, start + block_rows) if chosen[start : start + block_rows].all() else len(rows)
    for first in range(0, last, block_rows):
        block = rows[first : min(first + block_rows, last)]
        near_row, near_column = np.nonzero(units[first : first + len(block)] @ right.T >= cutoff)
        i, j = block[near_row], near_column.astype(np.int64) + start
        # Two chosen rows meet twice, and each row meets itself.
        keep = (i != j) & (~chosen[j] | (i < j))
        i, j = i[keep], j[keep]
        for part in range(0, len(i), block_rows * 8):
            some_i, some_j = i[part : part + block_rows * 8], j[part : part + block_rows * 8]
            scores = cosines(vectors[some_i], vectors[some_j], left_norms=norms[some_i], right_norms=norms[some_j])
            above = scores > threshold
            if above.any():
                some_i, some_j = some_i[above], some_j[above]
                yield np.minimum(some_i, some_j), np.maximum(some_i, some_j), scores[above]

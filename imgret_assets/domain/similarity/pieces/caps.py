"""The cap on neighbours within a piece: what is not among a row's best there can't be among its best of all pieces.

Belongs here: leaving out pairs of one answer, and counting them. Not here: the cap over all pieces
(`domain.similarity.pair_arrays.among_best_neighbours`), rows with equal vectors (`domain.similarity.equal_vectors`).
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.similarity.pieces.answers import Answer


@dataclass(frozen=True)
class Cap:
    """The cap on neighbours for one piece.

    Attributes:
        most: a pair stays if fewer than so many pairs of one of its rows have a greater score.
        left_sizes: int64, for how many rows with equal vectors each position on the left stands; None if each is one.
        right_sizes: the same for the right.
    """

    most: int
    left_sizes: np.ndarray | None = None
    right_sizes: np.ndarray | None = None

    @property
    def key(self) -> str:
        """What an answer depends on, as a text."""
        sizes = [b"" if each is None else each.astype("<i8").tobytes() for each in (self.left_sizes, self.right_sizes)]
        digest = hashlib.sha256(sizes[0] + b"|" + sizes[1]).hexdigest()[:32] if any(sizes) else ""
        return f"{self.most} {digest}".strip()

    def apply(self, answer: Answer, *, is_diagonal: bool) -> Answer:
        """Return the answer without the pairs that the cap leaves out, which it counts.

        Args:
            answer: pairs of the piece. Of equal scores all stay: which of them counts depends on the other pieces.
            is_diagonal: whether both sides are the same rows.
        """
        left, right, scores, left_out = answer
        if is_diagonal:
            both = _is_among_best(np.concatenate([left, right]), np.concatenate([scores, scores]), self.most)
            keep = both[: len(scores)] | both[len(scores) :]
        else:
            keep = _is_among_best(left, scores, self.most) | _is_among_best(right, scores, self.most)
        if keep.all():
            return answer
        left_out += self._row_pairs(left[~keep], right[~keep])
        return Answer(left[keep], right[keep], scores[keep], left_out)

    def _row_pairs(self, left: np.ndarray, right: np.ndarray) -> int:
        if self.left_sizes is None or self.right_sizes is None:
            return len(left)
        return int((self.left_sizes[left] * self.right_sizes[right]).sum())


def _is_among_best(rows: np.ndarray, scores: np.ndarray, most: int) -> np.ndarray:
    """Return for each pair, bool, whether fewer than `most` pairs of its row have a greater score."""
    order = np.lexsort((-scores, rows))
    rows, scores = rows[order], scores[order]
    last = np.minimum(np.searchsorted(rows, rows) + most - 1, len(rows) - 1)
    keep = np.empty(len(rows), bool)
    keep[order] = (np.arange(len(rows)) <= last) | ((rows[last] == rows) & (scores[last] == scores))
    return keep

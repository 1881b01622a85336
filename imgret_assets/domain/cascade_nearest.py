"""The exact k nearest of every row, by the cascade's bounds with each row's own k-th best as its threshold.

Belongs here: guesses that give every row a threshold, the lists, what of them survives a change. Not here: the
bounds and their proof (`domain.cascade`), compiled loops (`domain.cascade_kernels`).

A pair matters only if its cosine reaches the k-th best of one of its two rows, so it is discarded where a bound
stays below the lower of the two. What a row holds at any time is a lower limit of its final k-th best, which makes
it a safe threshold from the start; guesses only make it a high one. They come from a walk through the rows in which
similar ones stand near each other. Scores are the cascade's, the same to the last bit whoever asks, so ties are ties
and an updated list equals one made from nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.cascade import Block, Found, Options, Plan, Sieve, as_found
from imgret_assets.errors import SettingError

_MOST = 512  # Coordinates of the last bound at the most: a k-th best is lower than thresholds usually are.
_WINDOW, _SAMPLE = 256, 1024
_ASSIGN_ROWS = 8192
_BLOCK_ROWS = 2048


class Nearest(NamedTuple):
    """The nearest of every row: `rows` int64 and `scores` float64, both (n, min(k, n - 1)).

    Cosines, best first, ties by lower row; a row isn't among its own nearest.
    """

    rows: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Previous:
    """Lists made before rows came, changed or went, in present row numbers.

    The rows that stayed must have kept their order: which of two equal scores was kept was decided by it.

    Attributes:
        rows: int64 (n, w): what each present row held, best first, in present numbers; -1 for a row that is gone.
        scores: float64 (n, w), as they were.
        fresh: int64: rows that are new, or whose vector has changed; what the lists say of them is ignored.
    """

    rows: np.ndarray
    scores: np.ndarray
    fresh: np.ndarray


class NearestSearch:
    """The k nearest of every row, block by block.

    The lists are exact after every block has been through `step`, in any order, or its earlier answer through
    `absorb`: an answer kept in a file is as good as the work, so a killed search goes on.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; may be a memory map.
        k: how many to keep of every row, at least 1.
        previous: earlier lists. Only fresh rows and those whose list has lost a member are compared with all; the
            others meet the fresh ones alone.
        options: memory, threads, engine, plan.

    Raises:
        TableError: a row is zero or not finite; it is named.
        SettingError: k is less than 1, or the engine or the plan can't be used.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        k: int,
        *,
        previous: Previous | None = None,
        options: Options | None = None,
    ) -> None:
        if k < 1:
            raise SettingError(f"{k} nearest neighbours", expected="at least 1")
        count = len(vectors)
        self._count, self._width = count, max(0, min(k, count - 1))
        due = None if previous is None else _due(previous, count, self._width)
        self._sieve = sieve = Sieve(vectors, due, self._wanted, _MOST, options or Options())
        # By place, holding rows; the floor of a place is just below its last score, so that ties come through.
        self._members = np.full((count, self._width), -1, np.int64)
        self._scores = np.full((count, self._width), -np.inf)
        if previous is not None:
            self._keep(previous)
        self._floors = np.nextafter(self._scores[:, -1], -np.inf) if self._width else np.empty(0)
        # Smaller blocks than for pairs: every one raises the thresholds of those that follow.
        sieve.block_rows = min(sieve.block_rows, max(512, min(_BLOCK_ROWS, count // 256 * 16)))
        self.blocks: list[Block] = sieve.blocks() if self._width else []
        if self.blocks:
            self._guess()

    @property
    def plan(self) -> Plan:
        """What was planned, to be logged."""
        return self._sieve.plan

    @property
    def compared(self) -> int:
        """Number of pairs that the blocks decide together."""
        return self._sieve.pairs

    def step(self, block: Block) -> Found:
        """Search one block; the answer is what may matter to some list, and has been absorbed."""
        from imgret_assets.domain import cascade_kernels as kernels

        parts = self._sieve.search(block, self._floors)
        for p, q, cosines in parts:
            kernels.insert_pairs(self._scores, self._members, self._floors, self._sieve.order, p, q, cosines)
        return as_found(parts, self._sieve.order)

    def absorb(self, found: Found) -> None:
        """Take an earlier answer of `step` instead of searching its block again."""
        from imgret_assets.domain import cascade_kernels as kernels

        place = np.argsort(self._sieve.order)
        kernels.insert_pairs(
            self._scores, self._members, self._floors, self._sieve.order, place[found.a], place[found.b], found.scores
        )

    def result(self) -> Nearest:
        """The lists, by row."""
        place = np.argsort(self._sieve.order)
        return Nearest(self._members[place], self._scores[place])

    def _keep(self, previous: Previous) -> None:
        """Fill in the lists that have lost nothing; the chosen rows begin anew."""
        order, chosen = self._sieve.order, self._sieve.chosen
        width = min(self._width, previous.rows.shape[1])
        self._members[chosen:, :width] = previous.rows[order[chosen:], :width]
        self._scores[chosen:, :width] = previous.scores[order[chosen:], :width]

    def _wanted(self, unit: np.ndarray, left: int) -> np.ndarray:
        """About the cosine that a sample's pairs must reach to matter: the lower of both rows' k-th best."""
        cosines = unit[:left] @ unit.T
        cosines[np.arange(left), np.arange(left)] = -1
        # The k-th best of n rows stands for the (k s / n)-th of s.
        rank = max(1, min(len(unit) - 1, math.ceil(self._width * len(unit) / max(1, self._count))))
        kth = -np.partition(-cosines, rank - 1, axis=1)[:, rank - 1]
        theirs = np.resize(kth, len(unit))
        return np.minimum(kth[:, None], theirs)

    def _guess(self) -> None:
        """Give the chosen rows a first list: the best by their integers of those near them in some sequence."""
        from imgret_assets.domain import cascade_kernels as kernels

        sieve = self._sieve
        whole = sieve.chosen == sieve.count
        if whole:
            subset = np.arange(sieve.count)
            coded = sieve.coded(subset)
            sequence = self._sequence(coded)
            positions = np.empty(len(sequence), np.int64)
            positions[sequence] = np.arange(len(sequence))
        else:
            sampled = np.arange(min(sieve.count, _SAMPLE)) * sieve.count // min(sieve.count, _SAMPLE)
            subset = np.concatenate([np.arange(sieve.chosen), sampled])
            coded = sieve.coded(subset)
            sequence = np.arange(sieve.chosen, len(subset))
            positions = np.zeros(sieve.chosen, np.int64)
        window = max(2 * self._width, min(_WINDOW, sieve.count // 32)) if whole else len(sequence)

        def guess(part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            rows = np.arange(part.start, part.stop)
            likely = np.empty((len(rows), self._width), np.int64)
            kernels.likely_neighbours(coded, rows, positions[part], sequence, window, likely)
            there = (likely >= 0) & (subset[likely] != rows[:, None])
            p, q = np.nonzero(there)[0] + part.start, subset[likely[there]]
            cosines = np.empty(len(p))
            kernels.cosines_of(sieve.exact, p, q, cosines)
            return p, q, cosines

        parts = [slice(at, min(at + 512, sieve.chosen)) for at in range(0, sieve.chosen, 512)]
        for p, q, cosines in sieve.each(guess, parts):
            kernels.insert_pairs(self._scores, self._members, self._floors, sieve.order, p, q, cosines)

    def _sequence(self, coded: np.ndarray) -> np.ndarray:
        """Places so that similar ones stand near each other: by the nearest of about sqrt(n) evenly spaced pivots."""
        pivots = max(1, math.isqrt(len(coded)))
        chosen = coded[np.arange(pivots) * len(coded) // pivots].astype(np.float32)
        nearest = np.concatenate(
            [
                np.argmax(coded[at : at + _ASSIGN_ROWS].astype(np.float32) @ chosen.T, axis=1)
                for at in range(0, len(coded), _ASSIGN_ROWS)
            ]
        )
        return np.argsort(nearest, kind="stable")


def nearest(
    vectors: np.ndarray,
    k: int,
    *,
    previous: Previous | None = None,
    options: Options | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Nearest:
    """The exact k nearest of every row, all blocks in a row: see `NearestSearch` for what is passed on to it.

    `progress` is told how many blocks are done, and of how many.
    """
    search = NearestSearch(vectors, k, previous=previous, options=options)
    for done, block in enumerate(search.blocks, 1):
        search.step(block)
        if progress is not None:
            progress(done, len(search.blocks))
    return search.result()


def _due(previous: Previous, count: int, width: int) -> np.ndarray:
    """Rows to compare with all: fresh, short of members, or with a member that is gone or has changed."""
    if len(previous.rows) != count or previous.rows.shape != previous.scores.shape:
        raise ValueError(f"previous lists {previous.rows.shape}, scores {previous.scores.shape}, of {count} rows")
    for rows in (previous.rows, previous.fresh):
        if rows.size and not -1 <= rows.min() <= rows.max() < count:
            raise IndexError(f"rows {rows.min()} to {rows.max()} in previous lists of {count} rows")
    fresh = np.zeros(count, bool)
    fresh[previous.fresh] = True
    held = previous.rows[:, :width]
    lost = (held < 0) | fresh[np.maximum(held, 0)]
    due = fresh | lost.any(axis=1)
    # Lists shorter than the new ones, of a smaller k or a smaller collection, have no last score to compare with.
    if held.shape[1] < width:
        due[:] = True
    return np.flatnonzero(due)

"""The exact k nearest of every row, by the cascade's bounds with each row's own k-th best as its threshold.

Belongs here: guesses that give every row a threshold, the lists, what of them survives a change. Not here: the
bounds and their proof (`domain.similarity.cascade.sieve`), compiled loops (`domain.similarity.cascade.kernels`).

A pair matters only if its cosine reaches the k-th best of one of its two rows, so it is discarded where a bound
stays below the lower of the two. What a row holds at any time is a lower limit of its final k-th best, which makes
it a safe threshold from the start; guesses only make it a high one. They come from a walk through the rows in which
similar ones stand near each other. Scores are the cascade's, the same to the last bit whoever asks, so ties are ties
and an updated list equals one made from nothing.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.similarity.cascade.bounds import one_blas_thread
from imgret_assets.domain.similarity.cascade.sieve import Block, Found, Options, Plan, Sieve, as_found
from imgret_assets.domain.similarity.neighbour_lists import Previous, due_rows, gone_entries
from imgret_assets.errors import SettingError

_MOST = 512  # Coordinates of the last bound at the most: a k-th best is lower than thresholds usually are.
_WINDOW, _SAMPLE = 256, 1024
_ASSIGN_ROWS = 8192
_BLOCK_ROWS = 2048
_WALKED_COLUMNS = 256


class Nearest(NamedTuple):
    """The nearest of every row: `rows` int64 and `scores` float64, both (n, min(k, n - 1)).

    Cosines, best first, ties by lower row; a row isn't among its own nearest. Behind those that were wanted, -1 and
    -inf where what comes next isn't known.
    """

    rows: np.ndarray
    scores: np.ndarray


class NearestSearch:
    """The k nearest of every row, block by block.

    The lists are exact after every block has been through `step`, in any order, or its earlier answer through
    `absorb`: an answer kept in a file is as good as the work, so a killed search goes on.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; may be a memory map.
        k: how many to keep of every row, at least 1.
        wanted: how many every row must have in the end, at most k; None for k. What is kept beyond is a reserve: a
            list that loses some of it still has what is wanted.
        previous: earlier lists. Only fresh rows and those whose list has fewer members left than wanted are compared
            with all; the others meet the fresh ones alone.
        options: memory, threads, engine, plan, file of heads.

    Raises:
        TableError: a row is zero or not finite; it is named.
        SettingError: k is less than 1, or the engine or the plan can't be used.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        k: int,
        *,
        wanted: int | None = None,
        previous: Previous | None = None,
        options: Options | None = None,
    ) -> None:
        if k < 1:
            raise SettingError(f"{k} nearest neighbours", expected="at least 1")
        count = len(vectors)
        self._count, self._width = count, max(0, min(k, count - 1))
        gone = None if previous is None else gone_entries(previous, count)
        due = None
        if previous is not None and gone is not None:
            due = due_rows(previous, gone, self._width, min(k if wanted is None else wanted, self._width))
        self._sieve = sieve = Sieve(vectors, due, self._wanted, _MOST, options or Options())
        # By place, holding rows; the floor of a place is just below its last score, so that ties come through.
        self._members = np.full((count, self._width), -1, np.int64)
        self._scores = np.full((count, self._width), -np.inf)
        # The last entry that may come in: beyond what is left of a list, what is next isn't known.
        self._limits, self._limit_members = np.full(count, -np.inf), np.full(count, np.iinfo(np.int64).max)
        if previous is not None and gone is not None and self._width:
            self._keep(previous, gone)
        lowest = np.maximum(self._scores[:, -1], self._limits) if self._width else np.empty(0)
        self._floors = np.nextafter(lowest, -np.inf)
        # Smaller blocks than for pairs: every one raises the thresholds of those that follow.
        sieve.block_rows = min(sieve.block_rows, max(512, min(_BLOCK_ROWS, count // 256 * 16)))
        self.blocks: list[Block] = sieve.blocks() if self._width else []
        if self.blocks:
            with one_blas_thread():
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
        from imgret_assets.domain.similarity.cascade import kernels

        parts = self._sieve.search(block, self._floors)
        for p, q, cosines in parts:
            kernels.insert_pairs(self._lists, self._sieve.order, p, q, cosines)
        return as_found(parts, self._sieve.order)

    def absorb(self, found: Found) -> None:
        """Take an earlier answer of `step` instead of searching its block again."""
        from imgret_assets.domain.similarity.cascade import kernels

        place = np.argsort(self._sieve.order)
        kernels.insert_pairs(self._lists, self._sieve.order, place[found.a], place[found.b], found.scores)

    def result(self) -> Nearest:
        """The lists, by row."""
        place = np.argsort(self._sieve.order)
        return Nearest(self._members[place], self._scores[place])

    @property
    def digests(self) -> np.ndarray:
        """Two hashes of every vector's numbers, uint64 (n, 2): equal where vectors are."""
        return self._sieve.digests

    @property
    def block_rows(self) -> int:
        """Rows of a block's side."""
        return self._sieve.block_rows

    @property
    def _lists(self) -> tuple[np.ndarray, ...]:
        return self._scores, self._members, self._floors, self._limits, self._limit_members

    def _keep(self, previous: Previous, gone: np.ndarray) -> None:
        """Fill in what is left of the lists that have enough; the chosen rows begin anew."""
        order, chosen = self._sieve.order, self._sieve.chosen
        kept = order[chosen:]
        gone = gone[kept]
        # Those that are left move up, in their order.
        moved = np.argsort(gone, axis=1, kind="stable")[:, : self._width]
        there = ~np.take_along_axis(gone, moved, axis=1)
        width = moved.shape[1]
        self._members[chosen:, :width] = np.where(there, np.take_along_axis(previous.rows[kept], moved, axis=1), -1)
        self._scores[chosen:, :width] = np.where(
            there, np.take_along_axis(previous.scores[kept], moved, axis=1), -np.inf
        )
        last = there.sum(axis=1) - 1
        places = np.arange(chosen, len(order))
        # A list that has all other rows in it has no limit; `due_rows` leaves no list without members.
        self._limits[chosen:] = self._scores[places, last]
        self._limit_members[chosen:] = self._members[places, last]

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
        from imgret_assets.domain.similarity.cascade import kernels

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

        def walk(part: slice) -> tuple[np.ndarray, np.ndarray]:
            rows = np.arange(part.start, part.stop)
            likely = np.empty((len(rows), self._width), np.int64)
            kernels.likely_neighbours(coded, rows, positions[part], sequence, window, likely)
            return rows, likely

        def product(part: slice) -> tuple[np.ndarray, np.ndarray]:
            rows, near = self._beside(sequence, part, window) if whole else (np.arange(part.start, part.stop), sequence)
            return rows, _best_products(coded, rows, near, self._width)

        # Integers of few coordinates stay in the cache; of all of them a library's product is several times as fast.
        find = product if coded.shape[1] > _WALKED_COLUMNS else walk

        def guess(part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            rows, likely = find(part)
            there = (likely >= 0) & (subset[likely] != rows[:, None])
            p, q = rows[np.nonzero(there)[0]], subset[likely[there]]
            cosines = np.empty(len(p))
            kernels.cosines_of(sieve.exact, p, q, cosines)
            return p, q, cosines

        parts = [slice(at, min(at + 512, sieve.chosen)) for at in range(0, sieve.chosen, 512)]
        for p, q, cosines in sieve.each(guess, parts):
            kernels.insert_pairs(self._lists, sieve.order, p, q, cosines)

    def _beside(self, sequence: np.ndarray, part: slice, window: int) -> tuple[np.ndarray, np.ndarray]:
        """A stretch of the sequence, and it with what stands beside it, as places."""
        return sequence[part], sequence[max(0, part.start - window // 2) : part.stop + window // 2]

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


def _best_products(coded: np.ndarray, rows: np.ndarray, near: np.ndarray, keep: int) -> np.ndarray:
    """The best of `near` for each of `rows` by the products of their integers: int64 (len(rows), keep), then -1."""
    products = coded[rows].astype(np.float32) @ coded[near].astype(np.float32).T
    products[rows[:, None] == near] = -np.inf
    out = np.full((len(rows), keep), -1)
    width = min(keep, len(near))
    out[:, :width] = near[np.argpartition(products, len(near) - width, axis=1)[:, len(near) - width :]]
    return out

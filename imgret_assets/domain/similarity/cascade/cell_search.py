"""Pairs and nearest neighbours among the rows that share a cell, by the cascade.

Belongs here: which rows are compared, given the cells that each row visits, block by block. Not here: the cells
(`domain.similarity.approximate`), the comparison of two blocks (`domain.similarity.cascade.sieve`).

A row lives in the first of the cells that it visits. Two rows are compared where one lives in a cell that the other
visits. If each visits the cell of the other, they meet twice, and the pair counts in the cell with the lower number.
"""

import queue
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.similarity.cascade.nearest_search import NearestSearch
from imgret_assets.domain.similarity.cascade.options import CascadeOptions
from imgret_assets.domain.similarity.cascade.parallel import in_parallel
from imgret_assets.domain.similarity.cascade.preparation import PreparedVectors, Selection
from imgret_assets.domain.similarity.cascade.prepared_chunk import PreparedChunk
from imgret_assets.domain.similarity.cascade.sieve import Sieve, choose_engine, chunk_rows
from imgret_assets.domain.similarity.neighbour_lists import NeighbourLists
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs

_MAX_WIDTH = 256
# Visits whose places are sorted together: a few hundred megabytes.
_VISITS = 1 << 24
# Blocks for each thread between two reports; comparisons, and pairs, that are handed on together at least.
_BLOCKS, _COMPARED, _FOUND = 4, 200_000_000, 1_000_000


class FoundInCells(NamedTuple):
    """What some comparisons found.

    Attributes:
        p, q: int64, places of both rows of each pair; each pair once.
        scores: float64, exact scores.
        compared: number of comparisons since the previous one.
    """

    p: np.ndarray
    q: np.ndarray
    scores: np.ndarray
    compared: int


@dataclass(frozen=True)
class _Block:
    """A comparison: places of some rows of a cell, and of rows that live or visit there; `right` None for itself."""

    cell: int
    left: slice
    right: np.ndarray | None

    @property
    def size(self) -> int:
        rows = self.left.stop - self.left.start
        return rows * (rows - 1) // 2 if self.right is None else rows * len(self.right)


class _Meetings:
    """The comparisons of all cells.

    Args:
        prepared: the vectors, in an order in which those of a cell follow one another.
        nearest: int (n, probes), the cells that each row visits; it lives in the first.
        block_rows: rows of either side of a comparison, at most, or as many combinations.
    """

    def __init__(self, prepared: PreparedVectors, nearest: np.ndarray, block_rows: int) -> None:
        # By place from here on.
        self._nearest = nearest[prepared.order]
        self._home = self._nearest[:, 0].astype(np.int64)
        cells = int(nearest.max()) + 1 if nearest.size else 0
        self._starts = np.searchsorted(self._home, np.arange(cells + 1))
        visitors = np.zeros(cells, np.int64)
        for column in range(1, nearest.shape[1]):
            visitors += np.bincount(nearest[:, column], minlength=cells)
        self._visitors = visitors
        self._block_rows = block_rows
        sizes = np.diff(self._starts)
        self.pair_count = int((sizes * (sizes - 1) // 2 + sizes * visitors).sum())

    def blocks(self) -> Iterator[_Block]:
        """Yield all comparisons, cell by cell."""
        ends = np.cumsum(self._visitors)
        first = 0
        while first < len(ends):
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + _VISITS, side="right")))
            cells, places = self._visits(first, last)
            bounds = np.searchsorted(cells, np.arange(first, last + 1))
            for cell in range(first, last):
                yield from self._blocks_of_cell(cell, places[bounds[cell - first] : bounds[cell - first + 1]])
            first = last

    def _visits(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the visits to some cells, ordered by cell, then by place of the visitor: cells and places."""
        cells, places = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for column in range(1, self._nearest.shape[1]):
            visited = self._nearest[:, column]
            here = np.flatnonzero((visited >= first) & (visited < last))
            cells.append(visited[here].astype(np.int64))
            places.append(here)
        cell, place = np.concatenate(cells), np.concatenate(places)
        order = np.lexsort((place, cell))
        return cell[order], place[order]

    def _blocks_of_cell(self, cell: int, visitors: np.ndarray) -> Iterator[_Block]:
        start, stop, rows = int(self._starts[cell]), int(self._starts[cell + 1]), self._block_rows
        for left in range(start, stop, rows):
            part = slice(left, min(left + rows, stop))
            yield _Block(cell, part, None)
            for right in range(part.stop, stop, rows):
                yield _Block(cell, part, np.arange(right, min(right + rows, stop)))
            # As many combinations as two full sides have.
            right_rows = rows * rows // (part.stop - part.start)
            for right in range(0, len(visitors), right_rows):
                yield _Block(cell, part, visitors[right : right + right_rows])

    def counts_here(self, block: _Block, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return for each pair of places of a block, bool, whether it counts in the block's cell."""
        other = self._home[q]
        meets_again = (self._nearest[p] == other[:, np.newaxis]).any(axis=1) & (other != block.cell)
        return ~meets_again | (block.cell < other)


class _Comparison:
    """Goes through all comparisons on all threads."""

    def __init__(self, prepared: PreparedVectors, nearest: np.ndarray) -> None:
        self._prepared = prepared
        # Made here, once, and not by the first threads that need them.
        self._coordinates, self._residual_norms = prepared.coordinates, prepared.residual_norms
        # A block of which every pair passes stays within the thread's part of the memory.
        rows = chunk_rows(prepared.memory_bytes // (_BLOCKS * prepared.threads))
        self._meetings = _Meetings(prepared, nearest, rows)
        self._sieves: queue.SimpleQueue[Sieve] = queue.SimpleQueue()
        for _ in range(prepared.threads):
            self._sieves.put(Sieve(prepared.bounds, 1))

    @property
    def pair_count(self) -> int:
        """Number of comparisons in all."""
        return self._meetings.pair_count

    def run(self, thresholds: Callable[[], np.ndarray]) -> Iterator[FoundInCells]:
        """Yield what is found, in an order that does not depend on the threads.

        Args:
            thresholds: returns the threshold of every place, float64 (n,); called before each round of blocks.
        """
        for some in _in_rounds(self._meetings.blocks(), _BLOCKS * self._prepared.threads):
            present = thresholds()
            found = in_parallel(
                lambda block, limits=present: self._compare(block, limits), some, self._prepared.threads
            )
            p, q, scores = (np.concatenate(column) for column in zip(*found, strict=True))
            yield FoundInCells(p, q, scores, sum(block.size for block in some))

    def _compare(self, block: _Block, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        left_places = np.arange(block.left.start, block.left.stop)
        right_places = left_places if block.right is None else block.right
        left = self._chunk(block.left)
        right = left if block.right is None else self._chunk(block.right)
        sieve = self._sieves.get()
        try:
            answer = sieve.search(left, right, thresholds[left_places], thresholds[right_places])
        finally:
            self._sieves.put(sieve)
        p, q = left_places[answer.left], right_places[answer.right]
        keep = self._meetings.counts_here(block, p, q)
        return p[keep], q[keep], answer.scores[keep]

    def _chunk(self, places: slice | np.ndarray) -> PreparedChunk:
        prepared = self._prepared
        # Without a basis there are no coordinates.
        some = slice(0) if prepared.bounds.plan.plain else places
        return PreparedChunk(
            prepared.vectors,
            prepared.order[places],
            prepared.norms,
            self._coordinates[some],
            self._residual_norms[some],
        )


def _in_rounds(blocks: Iterable[_Block], count: int) -> Iterator[list[_Block]]:
    some: list[_Block] = []
    for block in blocks:
        some.append(block)
        if len(some) == count:
            yield some
            some = []
    if some:
        yield some


class PairsInCells:
    """The pairs above a threshold of which one row lives in a cell that the other visits.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; may be a memory map.
        threshold: a cosine in [-1, 1].
        nearest: int (n, probes), the cells that each row visits; it lives in the first.
        options: how the search is done.

    Raises:
        TableError: a row is zero or not finite.
        SettingError: the engine or the plan can't be used.
    """

    def __init__(
        self, vectors: np.ndarray, threshold: float, nearest: np.ndarray, *, options: CascadeOptions | None = None
    ) -> None:
        options = options or CascadeOptions()
        selection = Selection(max(1, len(vectors)), shards=nearest[:, 0].astype(np.int64))
        self._prepared = PreparedVectors(
            vectors, selection, lambda unit, left_count: threshold, _MAX_WIDTH, choose_engine(options), options
        )
        self._comparison = _Comparison(self._prepared, nearest)
        self._threshold = float(threshold)

    @property
    def pair_count(self) -> int:
        """Number of comparisons; a pair that meets in two cells counts twice."""
        return self._comparison.pair_count

    def parts(self) -> Iterator[tuple[ScoredPairs, int]]:
        """Yield disjoint sets of pairs, each with the number of comparisons since the previous one."""
        thresholds = np.full(self._prepared.count, self._threshold)
        waiting: list[FoundInCells] = []
        compared = found = 0
        for some in self._comparison.run(lambda: thresholds):
            waiting.append(some)
            compared, found = compared + some.compared, found + len(some.scores)
            if compared >= _COMPARED or found >= _FOUND:
                yield self._pairs(waiting), compared
                waiting, compared, found = [], 0, 0
        if waiting:
            yield self._pairs(waiting), compared

    def _pairs(self, some: list[FoundInCells]) -> ScoredPairs:
        order = self._prepared.order
        return ScoredPairs.sorted_from(
            order[np.concatenate([each.p for each in some])],
            order[np.concatenate([each.q for each in some])],
            np.concatenate([each.scores for each in some]),
        )


class NearestInCells(NearestSearch):
    """The nearest neighbours of every row among those with which it shares a cell, and a few others.

    The first lists of `NearestSearch` are taken as they are, so an entry may also be a row of another cell.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; may be a memory map.
        k: number of neighbours to keep for every row, at least 1.
        nearest: int (n, probes), the cells that each row visits; it lives in the first.
        options: how the search is done.

    Raises:
        TableError: a row is zero or not finite.
        SettingError: k is less than 1, or the engine or the plan can't be used.
    """

    def __init__(
        self, vectors: np.ndarray, k: int, nearest: np.ndarray, *, options: CascadeOptions | None = None
    ) -> None:
        options = replace(options or CascadeOptions(), chunk_rows=max(1, len(vectors)))
        super().__init__(vectors, k, shards=nearest[:, 0].astype(np.int64), options=options)
        self._comparison = _Comparison(self._prepared, nearest)

    @property
    def pair_count(self) -> int:
        """Number of comparisons; a pair that meets in two cells counts twice."""
        return self._comparison.pair_count

    def parts(self) -> Iterator[int]:
        """Go through all comparisons; yield how many were done since the previous time."""
        from imgret_assets.domain.similarity.cascade import kernels

        if not self._width:
            return
        for some in self._comparison.run(self._thresholds.copy):
            kernels.insert_pairs(self._lists, self._prepared.order, some.p, some.q, some.scores)
            yield some.compared

    def lists(self) -> NeighbourLists:
        """Return the lists, by row; a list may end early, where a row shares its cells with few others."""
        return self.result()

"""Approximate pairs and nearest neighbours: cells by FAISS, comparisons by the cascade.

Belongs here: both searches from vectors to result. Not here: whether a search is approximate
(`domain.similarity.approximate.method`), the tables.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.similarity.approximate.cells import find_cells
from imgret_assets.domain.similarity.approximate.method import CellOptions
from imgret_assets.domain.similarity.brute_force import update_neighbours
from imgret_assets.domain.similarity.cascade import CascadeOptions, NearestInCells, PairsInCells
from imgret_assets.domain.similarity.neighbour_lists import EarlierLists, NeighbourLists
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs


@dataclass(frozen=True)
class CellPairs:
    """A search for pairs, ready to go.

    Attributes:
        cells: number of cells.
        search: the search.
    """

    cells: int
    search: PairsInCells

    def parts(self, progress: Listener | None = None) -> Iterator[tuple[ScoredPairs, float]]:
        """Yield disjoint sets of pairs, each with the share of the comparisons that are done, in (0, 1]."""
        started, done, total = time.monotonic(), 0, max(1, self.search.pair_count)
        for pairs, compared in self.search.parts():
            done += compared
            yield pairs, min(1.0, done / total)
            if progress is not None:
                progress(Progress("pairs", done, total, time.monotonic() - started))


def search_pairs_in_cells(
    vectors: np.ndarray,
    threshold: float,
    cells: CellOptions,
    *,
    options: CascadeOptions | None = None,
    progress: Listener | None = None,
) -> CellPairs:
    """Find the cells of vectors and prepare the search for pairs of which one visits the cell of the other.

    Args:
        vectors: float32 (n, dim), n at least 1, finite, no zero rows, any norm.
        threshold: a cosine in [-1, 1].
        cells: number of cells and probes.
        options: how rows are compared.
        progress: called while the cells of the rows are found.

    Raises:
        SettingError: FAISS is not installed.
        TableError: a row is zero or not finite.
    """
    count = cells.cell_count(len(vectors))
    found = find_cells(vectors, count, cells.probes, threads=options.threads if options else None, progress=progress)
    return CellPairs(count, PairsInCells(vectors, threshold, found.nearest, options=options))


@dataclass(frozen=True)
class CellNeighbours:
    """The nearest neighbours that were found.

    Attributes:
        lists: of every row.
        compared: number of comparisons.
        cells: number of cells.
    """

    lists: NeighbourLists
    compared: int
    cells: int


def find_neighbours_in_cells(
    vectors: np.ndarray,
    k: int,
    required: int,
    cells: CellOptions,
    *,
    options: CascadeOptions | None = None,
    progress: Listener | None = None,
) -> CellNeighbours:
    """Find the nearest neighbours of every row among those of which one visits the cell of the other.

    A row that has fewer than `required` of them is compared with all rows.

    Args:
        vectors: float32 (n, dim), n at least 1, finite, no zero rows, any norm.
        k: neighbours of each row, at least 1.
        required: number of entries that every list must have, at most k.
        cells: number of cells and probes.
        options: how rows are compared.
        progress: called with what has been done.

    Raises:
        SettingError: FAISS is not installed.
        TableError: a row is zero or not finite.
    """
    options = options or CascadeOptions()
    count = cells.cell_count(len(vectors))
    found = find_cells(vectors, count, cells.probes, threads=options.threads, progress=progress)
    search = NearestInCells(vectors, k, found.nearest, options=options)
    started, done, total = time.monotonic(), 0, max(1, search.pair_count)
    for compared in search.parts():
        done += compared
        if progress is not None:
            progress(Progress("pairs", done, total, time.monotonic() - started))
    lists = search.lists()
    short = np.flatnonzero((lists.rows[:, : min(required, lists.rows.shape[1])] < 0).any(axis=1))
    if len(short):
        earlier = EarlierLists(lists.rows, lists.scores, np.empty(0, np.int64))
        lists, compared = update_neighbours(vectors, k, required, earlier, memory_bytes=options.memory_bytes)
        done += compared
    return CellNeighbours(lists, done, count)

"""The cells of an approximate search, found by FAISS: the only module that imports faiss, and only when it is used.

Belongs here: k-means over a sample, the nearest cells of every row. Not here: what is compared
(`domain.similarity.cascade.cell_search`), how many cells there are (`domain.similarity.approximate.method`).

The result depends on the vectors and on the number of cells and probes, not on the number of threads: k-means runs on
one thread, and rows are given their cells in blocks of a fixed size, each by one thread. Another CPU may sum in another
order, so that a few rows near the border of two cells get another one.

Cells are found in the leading directions of the vectors: of 1,280 numbers, 128 take a tenth of the time, and the cells
are as good.
"""

import importlib
import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.runtime.blas_threads import one_blas_thread
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.similarity.approximate.method import is_approximate
from imgret_assets.errors import SettingError, TableError
from imgret_assets.locations import install_command
from imgret_assets.settings import Settings

_PACKAGE = "faiss"
_SEED = 1
# Rows of the sample for each cell, and rounds of k-means.
_ROWS_OF_CELL, _ROUNDS = 64, 10
# Leading directions that are used, and rows of the sample that they are found from.
_DIRECTIONS, _DIRECTION_ROWS = 128, 8192
# Rows that are given their cells together.
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class NearestCells:
    """The cells of all rows.

    Attributes:
        nearest: uint16 (n, probes), the cells that each row visits, nearest first; it lives in the first.
        count: number of cells.
    """

    nearest: np.ndarray
    count: int

    @property
    def probes(self) -> int:
        """Number of cells that a row visits."""
        return self.nearest.shape[1]


def require_faiss() -> None:
    """Raise an error where FAISS is not installed.

    Raises:
        SettingError: it is not.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        raise SettingError(
            "IMGRET_PAIR_SEARCH=approximate needs the package faiss-cpu, which is not installed",
            expected="an installation with the extra imgret[approximate]",
            remedy=f"install it with `{install_command('approximate')}`, or set IMGRET_PAIR_SEARCH=cascade",
        )


def require_faiss_for(settings: Settings, row_count: int) -> None:
    """Raise an error where a comparison of so many rows needs FAISS and it is not installed.

    Raises:
        SettingError: it is not.
    """
    if is_approximate(settings.pair_search, row_count):
        require_faiss()


def find_cells(
    vectors: np.ndarray, cell_count: int, probes: int, *, threads: int | None = None, progress: Listener | None = None
) -> NearestCells:
    """Divide vectors into k-means cells and return the nearest cells of every row.

    Args:
        vectors: float32 (n, dim), n at least 1, finite, no zero rows, any norm; may be a memory map.
        cell_count: number of cells, 1 to n.
        probes: number of cells that each row visits; at most all.
        threads: number of threads; None for all cores.
        progress: called with the number of rows whose cells are known.

    Raises:
        SettingError: FAISS is not installed.
        TableError: a row is zero or not finite.
    """
    require_faiss()
    count, probes = len(vectors), min(probes, cell_count)
    project = _projection(vectors)
    index = _centroids(vectors, cell_count, project)
    nearest = np.empty((count, probes), np.uint16)
    started = time.monotonic()

    def assign(start: int) -> int:
        part = slice(start, min(start + _BLOCK_ROWS, count))
        _use_one_thread()
        nearest[part] = index.search(project(_units(vectors, part)), probes)[1]
        return part.stop - part.start

    done = 0
    with one_blas_thread(), ThreadPoolExecutor(threads or usable_threads()) as pool:
        try:
            for rows in pool.map(assign, range(0, count, _BLOCK_ROWS)):
                done += rows
                if progress is not None:
                    progress(Progress("images", done, count, time.monotonic() - started))
        except BaseException:
            # An interrupt, above all: blocks that have not begun never do.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return NearestCells(nearest, cell_count)


def _faiss() -> Any:
    # By name: type checking goes without the package.
    return importlib.import_module(_PACKAGE)


def _use_one_thread() -> None:
    """Set FAISS, and the BLAS that only it uses, to one thread where this thread calls them."""
    _faiss().omp_set_num_threads(1)


def _units(vectors: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
    units = unit_rows(np.ascontiguousarray(vectors[rows]))
    if not np.isfinite(units).all():
        raise TableError(
            "Vectors that are zero or not finite",
            expected="finite numbers, at least one of them not 0, in every row",
            remedy="embed these images again or leave them out",
        )
    return units


def _sampled_rows(count: int, sampled: int) -> np.ndarray:
    """Return row numbers in a random order, the same for the same count."""
    return np.random.default_rng(_SEED).choice(count, min(sampled, count), replace=False)


def _projection(vectors: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of float32 unit rows (m, dim) that gives what cells are found in."""
    dim = vectors.shape[1]
    if dim <= _DIRECTIONS:
        return lambda units: units
    sample = _units(vectors, np.sort(_sampled_rows(len(vectors), _DIRECTION_ROWS)))
    with one_blas_thread():
        directions = np.linalg.eigh(sample.T @ sample)[1][:, : -_DIRECTIONS - 1 : -1]
    basis = np.ascontiguousarray(directions, np.float32)
    return lambda units: units @ basis


def _centroids(vectors: np.ndarray, cell_count: int, project: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Return an index of the centres of all cells."""
    faiss = _faiss()
    rows = np.sort(_sampled_rows(len(vectors), _ROWS_OF_CELL * cell_count))
    with one_blas_thread():
        sample = np.concatenate(
            [project(_units(vectors, rows[start : start + _BLOCK_ROWS])) for start in range(0, len(rows), _BLOCK_ROWS)]
        )
    kept_threads = faiss.omp_get_max_threads()
    _use_one_thread()
    try:
        means = faiss.Kmeans(
            sample.shape[1],
            cell_count,
            niter=_ROUNDS,
            seed=_SEED,
            min_points_per_centroid=1,
            max_points_per_centroid=_ROWS_OF_CELL,
        )
        means.train(sample)
    finally:
        faiss.omp_set_num_threads(kept_threads)
    index = faiss.IndexFlatL2(sample.shape[1])
    index.add(means.centroids)
    return index

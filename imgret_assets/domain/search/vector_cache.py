"""A space's vectors and nearest neighbours in memory, for queries that compare every image.

Belongs here: loading them once per process, and again after their tables have changed. Not here: the arithmetic of
reranking (`domain.similarity.query_expansion`), answering a query (`domain.search.find_similar`).
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from imgret_assets.domain.embeddings.table_reader import embeddings_files, list_embeddings, read_vectors, stored_size
from imgret_assets.domain.numerics.vectors import row_norms
from imgret_assets.domain.runtime.blas_threads import one_blas_thread
from imgret_assets.domain.similarity.neighbours_table import load_neighbours
from imgret_assets.domain.similarity.query_expansion import averaged_norms, averaging_weights, rerank
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import NEAREST
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError, StaleTableError

_BYTES_PER_GB = 2**30


@dataclass(frozen=True)
class CachedVectors:
    """The vectors of all usable images of a space, with their nearest neighbours.

    Attributes:
        paths: sorted paths of the images.
        unit: float32 (n, dim), unit vectors.
        neighbours: int32 (n, k), rows of each image's nearest neighbours; -1 if there are fewer than k.
        weights: float64 (n, w), weight of each neighbour in an image's mean.
        norms: float64 (n,), length of each image's mean.
    """

    paths: list[str]
    unit: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray
    norms: np.ndarray

    @cached_property
    def _labels(self) -> np.ndarray:
        return np.array([path.rpartition("/")[0] for path in self.paths])

    def _row(self, path: str) -> int | None:
        row = bisect_left(self.paths, path)
        return row if row < len(self.paths) and self.paths[row] == path else None

    def allowed_rows(
        self, *, label: str | None = None, start: str | None = None, excluded_paths: Sequence[str]
    ) -> np.ndarray:
        """Return which images may be hits, bool (n,): all that are not excluded.

        Args:
            label: their label; any if None.
            start: what their paths start with; any if None.
            excluded_paths: images that are no hits.
        """
        allowed = np.ones(len(self.paths), bool) if label is None else self._labels == label
        if start is not None:
            allowed &= np.fromiter((path.startswith(start) for path in self.paths), bool, len(self.paths))
        for path in excluded_paths:
            row = self._row(path)
            if row is not None:
                allowed[row] = False
        return allowed

    def nearest_of(self, path: str, count: int) -> list[tuple[str, float]]:
        """Return the nearest neighbours of an image and their cosines, nearest first.

        Args:
            path: the image; an unknown one has no neighbours.
            count: how many neighbours, at most ten.
        """
        row = self._row(path)
        if row is None:
            return []
        pairs = zip(self.neighbours[row].tolist(), self.weights[row].tolist(), strict=False)
        return [(self.paths[neighbour], score) for neighbour, score in pairs if neighbour >= 0][:count]

    def nearest_among(self, paths: Sequence[str], count: int) -> list[tuple[str, str, float]]:
        """Return for each of some images its nearest among the others, as pairs of paths with their cosines.

        Args:
            paths: the images; unknown ones are left out.
            count: how many neighbours of each image.

        Returns:
            each pair once, in the images' order; cosines from float32 products, not exact to the last digits.
        """
        rows = {path: row for path in paths if (row := self._row(path)) is not None}
        known = list(rows)
        unit = self.unit[list(rows.values())]
        with one_blas_thread():
            scores = unit @ unit.T
        np.fill_diagonal(scores, -np.inf)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : min(count, max(0, len(known) - 1))]
        pairs = {(min(a, b), max(a, b)): None for a, neighbours in enumerate(best.tolist()) for b in neighbours}
        return [(known[a], known[b], float(scores[a, b])) for a, b in pairs]

    def approximate_cosines(self, query: np.ndarray) -> np.ndarray:
        """Return the cosine of every image with a query vector, float32 (n,), not exact to the last digits.

        Args:
            query: float (dim,), of any length but zero.
        """
        vector = np.asarray(query, np.float64)
        with one_blas_thread():
            return self.unit @ (vector / np.linalg.norm(vector)).astype(np.float32)

    def rerank(self, query: np.ndarray, *, limit: int, allowed: np.ndarray | None = None) -> list[tuple[str, float]]:
        """Return the best images for a query vector, each with its rank score, a cosine of averaged vectors.

        Args:
            query: float (dim,), of any length but zero.
            limit: largest number of images.
            allowed: bool (n,), the images that may be hits; all if None.
        """
        with one_blas_thread():
            order, _, scores = rerank(
                self.unit, query, self.neighbours, self.weights, self.norms, allowed=allowed, limit=limit
            )
        return [(self.paths[row], float(scores[row])) for row in order.tolist()]


_cache: dict[tuple[Path, str], tuple[tables.Stamp, CachedVectors]] = {}
_lock = threading.Lock()


def cached_vectors(home: Home, space: str) -> CachedVectors:
    """Return the vectors of a space, read once per process and again after one of their tables has changed.

    Only one space is in memory at a time.

    Raises:
        TableError: a table is missing, or of another space.
        StaleTableError: the neighbours were made from other embeddings.
        SettingError: the vectors are larger than IMGRET_MEMORY_GB.
    """
    key = (home.warehouse, space)
    with _lock:
        stamp = _stamp(home, space)
        entry = _cache.get(key)
        if entry is None or entry[0] != stamp:
            _cache.clear()
            _cache[key] = entry = (stamp, _load(home, space))
        return entry[1]


def _load(home: Home, space: str) -> CachedVectors:
    nearest = NEAREST.require(home.warehouse, space)
    _check_memory(home, space)
    # What needs no vectors is checked first: the page calls this again and again during a run.
    listing = list_embeddings(home, space)
    if NEAREST.current_metadata(home.warehouse, space, listing.coverage) is None:
        raise StaleTableError(
            f"{nearest} was made from other embeddings",
            remedy="materialise `nearest_neighbours`, or run `imgret run`; or use mode index or exact",
        )
    neighbours = load_neighbours(home, space)
    unit = read_vectors(home, space, listing)
    # In place, and without a copy in float64: the vectors may take most of the memory.
    unit /= row_norms(unit)[:, np.newaxis].astype(np.float32)
    weights = averaging_weights(neighbours.rows, neighbours.scores)
    norms = averaged_norms(unit, neighbours.rows, weights)
    return CachedVectors(list(listing.paths), unit, neighbours.rows, weights, norms)


def _check_memory(home: Home, space: str) -> None:
    rows, dim = stored_size(home, space)
    # The vectors, and one shard's table while it is read.
    needed_gb = 1.25 * 4 * rows * dim / _BYTES_PER_GB
    if needed_gb > home.settings.memory_gb:
        raise SettingError(
            f"Reranking needs the vectors of all {rows:,} images in memory, up to {needed_gb:.1f} GB, and "
            f"IMGRET_MEMORY_GB is {home.settings.memory_gb:g}",
            remedy="raise IMGRET_MEMORY_GB, or use mode index",
        )


def _stamp(home: Home, space: str) -> tables.Stamp:
    files = [*embeddings_files(home, space), tables.nearest_path(home.warehouse, space)]
    return tables.stamp_of(files)

"""The images nearest to a vector by the vectors of the tables, for a graph that holds none.

Belongs here: comparing a query with all stored vectors within bounded memory, the stored vectors of some images. Not
here: answering a query (`domain.search.find_similar`), vectors with their neighbours (`domain.search.vector_cache`),
reading the tables (`domain.embeddings.table_reader`).

Every vector is compared, so the result is exact. The first search of a process reads the vectors in batches and keeps
none of them: a command ends then. From the second search on they stay in memory, if they fit into IMGRET_MEMORY_GB.
"""

import heapq
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.embeddings.table_reader import (
    embeddings_files,
    stored_size,
    usable_batches,
    usable_embeddings,
)
from imgret_assets.domain.numerics.exact_scores import cosines, metric_ranks
from imgret_assets.domain.numerics.vectors import float32_margin, row_norms
from imgret_assets.domain.runtime.blas_threads import one_blas_thread
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.search.query import Query
from imgret_assets.domain.search.shot_filters import matching_paths
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home

_BYTES_PER_GB = 2**30
# A row beside its vector: path, content and Arrow's offsets.
_ROW_BYTES = 200


@dataclass(frozen=True)
class TableImage:
    """An image of the tables that is near a query.

    Attributes:
        path: its path.
        sha256: the content that was embedded.
        vector: float32 (dim,), as stored.
        order: what images are ordered by, the least first.
    """

    path: str
    sha256: str
    vector: np.ndarray
    order: float


@dataclass(frozen=True)
class _Batch:
    """Some rows of one shard: `paths` and `contents` are columns, `norms` float64 (n,) those of `vectors`."""

    paths: pa.ChunkedArray
    contents: pa.ChunkedArray
    vectors: np.ndarray
    norms: np.ndarray


def nearest_images(
    home: Home, space: str, vector: np.ndarray, query: Query, *, limit: int, excluded_paths: Sequence[str] = ()
) -> list[TableImage]:
    """Return the images nearest to a vector, nearest first, ties by path.

    Args:
        home: the home.
        space: id of the embedding space.
        vector: the query's vector, float32 (dim,).
        query: metric, filters and lowest score.
        limit: largest number of images.
        excluded_paths: images that are left out.

    Raises:
        TableError: a shard is missing or damaged.
    """
    excluded = pc.SetLookupOptions(pa.array(sorted(set(excluded_paths)), pa.string()))
    has_filters = any(value is not None for value in query.filters.values())

    def search(shard: str) -> list[TableImage]:
        best = _Best(vector, query, limit)
        allowed = matching_paths(home, shard, query) if has_filters else None
        for batch in _batches(home, space, shard, allowed, kept):
            is_allowed = ~_is_in(batch.paths, excluded)
            if allowed is not None:
                is_allowed &= _is_in(batch.paths, pc.SetLookupOptions(allowed))
            best.add(batch, is_allowed)
        return best.images()

    kept = _kept_vectors(home, space)
    with one_blas_thread(), ThreadPoolExecutor(min(usable_threads(), len(home.shards))) as threads:
        found = [image for images in threads.map(search, home.shards) for image in images]
    return heapq.nsmallest(limit, found, key=_position)


def with_stored_vectors(home: Home, space: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of the graph with the vectors of the tables as `embedding`.

    Args:
        home: the home.
        space: id of the embedding space.
        rows: with `path` and `sha256`; those whose content is not, or not any more, in the tables are left out.

    Raises:
        TableError: a shard is missing or damaged.
    """
    stored = usable_embeddings(home, space, [row["path"] for row in rows])
    return [
        {**row, "embedding": stored[row["path"]][1]}
        for row in rows
        if row["path"] in stored and stored[row["path"]][0] == row["sha256"]
    ]


class _Best:
    """The best images of one shard so far.

    For the cosine a float32 product with a bound on its error decides which rows are compared exactly.
    """

    def __init__(self, vector: np.ndarray, query: Query, limit: int) -> None:
        self._vector = vector
        self._query = query
        self._limit = limit
        wide = vector.astype(np.float64)
        self._unit = (wide / np.linalg.norm(wide)).astype(np.float32)
        self._margin = float32_margin(len(vector))
        self._images: list[TableImage] = []
        self._floor = -np.inf if query.min_score is None else query.min_score

    def add(self, batch: _Batch, is_allowed: np.ndarray) -> None:
        """Compare the allowed rows of a batch; `is_allowed` is bool (n,)."""
        if self._query.metric == "cosine":
            is_allowed = is_allowed & self._may_be_near(batch, is_allowed)
        rows = np.flatnonzero(is_allowed)
        if not len(rows):
            return
        vectors = batch.vectors[rows]
        scores = cosines(vectors, np.broadcast_to(self._vector, vectors.shape))
        order = -scores
        if self._query.metric != "cosine":
            sign = 1 if self._query.metric == "euclidean" else -1
            order = sign * metric_ranks(vectors, self._vector, self._query.metric)
        if self._query.min_score is not None:
            is_scored = scores >= self._query.min_score
            rows, vectors, order = rows[is_scored], vectors[is_scored], order[is_scored]
        if len(rows) > self._limit:
            # Ties with the last one stay.
            is_near = order <= np.partition(order, self._limit - 1)[self._limit - 1]
            rows, vectors, order = rows[is_near], vectors[is_near], order[is_near]
        paths, contents = (column.take(pa.array(rows)).to_pylist() for column in (batch.paths, batch.contents))
        self._images += map(TableImage, paths, contents, vectors, order.tolist())
        self._cut()

    def _may_be_near(self, batch: _Batch, is_allowed: np.ndarray) -> np.ndarray:
        """Return which rows, bool (n,), must be compared exactly: all others are farther away than `limit` images."""
        with np.errstate(over="ignore", invalid="ignore"):
            approximate = (batch.vectors @ self._unit) / batch.norms
        floor = self._floor - self._margin
        own = approximate[is_allowed & np.isfinite(approximate)]
        if len(own) > self._limit:
            # So many rows of the batch itself are at least as near as this one.
            place = len(own) - self._limit
            floor = max(floor, float(np.partition(own, place)[place]) - 2 * self._margin)
        # Not `>=`: what is not a number is compared exactly, too.
        return ~(approximate < floor)

    def images(self) -> list[TableImage]:
        """Return them, best first."""
        return sorted(self._images, key=_position)

    def _cut(self) -> None:
        if len(self._images) < self._limit:
            return
        self._images = heapq.nsmallest(self._limit, self._images, key=_position)
        if self._query.metric == "cosine":
            self._floor = max(self._floor, -self._images[-1].order)


def _position(image: TableImage) -> tuple[float, str]:
    return image.order, image.path


def _is_in(paths: pa.ChunkedArray, values: pc.SetLookupOptions) -> np.ndarray:
    return np.asarray(pc.call_function("is_in", [paths], values).to_numpy(), bool)


def _batches(
    home: Home, space: str, shard: str, only: pa.ChunkedArray | None, kept: "_KeptVectors | None"
) -> Iterator[_Batch]:
    if kept is not None:
        yield from kept.batches(home, space, shard)
        return
    for rows, vectors in usable_batches(home, space, shard, ["path", "sha256"], only=only):
        yield _Batch(rows["path"], rows["sha256"], vectors, row_norms(vectors))


class _KeptVectors:
    """The vectors of a space in memory, each shard read when it is first needed."""

    def __init__(self, stamp: tables.Stamp) -> None:
        self.stamp = stamp
        self.searches = 0
        self._shards: dict[str, list[_Batch]] = {}

    def batches(self, home: Home, space: str, shard: str) -> list[_Batch]:
        """Return the rows of a shard."""
        # Two searches at once may read the same shard; the rows are the same.
        if shard not in self._shards:
            self._shards[shard] = list(_batches(home, space, shard, None, None))
        return self._shards[shard]


# Of the last searched space of each warehouse: a complete state beside the tables of a run is one of its own.
_kept: dict[Path, _KeptVectors] = {}
_lock = threading.Lock()
_MAX_KEPT = 1


def _kept_vectors(home: Home, space: str) -> _KeptVectors | None:
    """Return the vectors in memory, to be filled; None where they are to be read in batches."""
    stamp = tables.stamp_of(embeddings_files(home, space))
    with _lock:
        kept = _kept.pop(home.warehouse, None)
        if kept is None or kept.stamp != stamp:
            kept = _KeptVectors(stamp)
        _kept[home.warehouse] = kept
        while len(_kept) > _MAX_KEPT:
            _kept.pop(next(iter(_kept)))
        kept.searches += 1
        is_first = kept.searches == 1
    return None if is_first or _needed_gb(home, space) > home.settings.memory_gb else kept


def _needed_gb(home: Home, space: str) -> float:
    rows, dim = stored_size(home, space)
    return rows * (4 * dim + _ROW_BYTES) / _BYTES_PER_GB

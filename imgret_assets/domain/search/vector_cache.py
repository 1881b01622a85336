"""A space's vectors and nearest neighbours in memory, for queries that look at every image.

Belongs here: loading them once for a process, and again when their tables have changed. Not here: the arithmetic of
ranking again (`domain.similarity.query_expansion`), answering (`domain.search.find_similar`).
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
from imgret_assets.domain.similarity.neighbours_table import load_neighbours
from imgret_assets.domain.similarity.query_expansion import averaged_norms, averaging_weights, rerank
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import NEAREST
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import SettingError, StaleTableError

_BYTES_PER_GB = 2**30
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Collection:
    """All usable images of a space.

    Attributes:
        paths: sorted.
        unit: float32 (n, dim), unit rows.
        rows: int32 (n, k), nearest neighbours of each row; -1 where there are no more.
        weights: float64 (n, w), what each of them counts in a row's mean.
        norms: float64 (n,), length of each row's mean.
    """

    paths: list[str]
    unit: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    norms: np.ndarray

    @cached_property
    def _labels(self) -> np.ndarray:
        return np.array([path.rpartition("/")[0] for path in self.paths])

    def allowed(self, *, label: str | None, leave_out: Sequence[str]) -> np.ndarray:
        """Which images may answer, bool (n,): of a label, where one is given, and not among those left out."""
        found = np.ones(len(self.paths), bool) if label is None else self._labels == label
        for path in leave_out:
            row = bisect_left(self.paths, path)
            if row < len(self.paths) and self.paths[row] == path:
                found[row] = False
        return found

    def nearest_of(self, path: str, count: int) -> list[tuple[str, float]]:
        """An image's nearest and their cosines, at most ten, nearest first; nothing for an image that is not here."""
        row = bisect_left(self.paths, path)
        if row == len(self.paths) or self.paths[row] != path:
            return []
        found = zip(self.rows[row].tolist(), self.weights[row].tolist(), strict=False)
        return [(self.paths[other], score) for other, score in found if other >= 0][:count]

    def nearest_among(self, paths: Sequence[str], count: int) -> list[tuple[str, str, float]]:
        """Of some images each one's nearest among the others: pairs of paths with their cosines, each pair once.

        Args:
            paths: images; one that is not here is passed over.
            count: how many of each.

        Returns:
            pairs in the images' order; float32 products, not exact to the last digits.
        """
        places = {path: bisect_left(self.paths, path) for path in paths}
        here = [path for path, row in places.items() if row < len(self.paths) and self.paths[row] == path]
        unit = self.unit[[places[path] for path in here]]
        scores = unit @ unit.T
        np.fill_diagonal(scores, -np.inf)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : min(count, max(0, len(here) - 1))]
        pairs = {(min(one, other), max(one, other)): None for one, row in enumerate(best.tolist()) for other in row}
        return [(here[one], here[other], float(scores[one, other])) for one, other in pairs]

    def cosines(self, query: np.ndarray) -> np.ndarray:
        """Cosine of every image with a query vector float (dim,), any norm but zero; float32 (n,), not exact."""
        wanted = np.asarray(query, np.float64)
        return self.unit @ (wanted / np.linalg.norm(wanted)).astype(np.float32)

    def reranked(self, query: np.ndarray, *, limit: int, allowed: np.ndarray | None = None) -> list[tuple[str, float]]:
        """The best images for a query vector float (dim,), each with its rank score (a cosine of averaged vectors).

        Args:
            query: any norm but zero.
            limit: images wanted at most.
            allowed: bool (n,), the images that may answer.
        """
        order, _, scores = rerank(self.unit, query, self.rows, self.weights, self.norms, allowed=allowed, limit=limit)
        return [(self.paths[row], float(scores[row])) for row in order.tolist()]


_loaded: dict[tuple[Path, str], tuple[Stamp, Collection]] = {}
_lock = threading.Lock()


def load_collection(home: Home, space: str) -> Collection:
    """The collection as its tables are now; read once for the process until one of them changes.

    Raises:
        TableError: a table is missing, or of another space.
        StaleTableError: the neighbours are of other embeddings.
        SettingError: the vectors are larger than IMGRET_MEMORY_GB.
    """
    key = (home.warehouse, space)
    with _lock:
        stamp = _stamp(home, space)
        known = _loaded.get(key)
        if known is None or known[0] != stamp:
            _loaded.clear()
            _loaded[key] = known = (stamp, _load(home, space))
        return known[1]


def _load(home: Home, space: str) -> Collection:
    nearest = NEAREST.require(home.warehouse, space)
    _check_memory(home, space)
    # What can be told without the vectors comes first: the page asks again and again while a run is under way.
    listing = list_embeddings(home, space)
    if NEAREST.current_metadata(home.warehouse, space, listing.coverage) is None:
        raise StaleTableError(
            f"{nearest} is of other embeddings than there are now",
            remedy="materialise `nearest_neighbours`, or run `imgret run`; or ask with mode index or exact",
        )
    neighbours = load_neighbours(home, space)
    unit = read_vectors(home, space, listing)
    # In place, and without a copy in float64: the vectors may be most of what memory there is.
    unit /= row_norms(unit)[:, np.newaxis].astype(np.float32)
    weights = averaging_weights(neighbours.rows, neighbours.scores)
    return Collection(listing.paths, unit, neighbours.rows, weights, averaged_norms(unit, neighbours.rows, weights))


def _check_memory(home: Home, space: str) -> None:
    rows, dim = stored_size(home, space)
    # The vectors, and a shard's table while they are read.
    needed = 1.25 * 4 * rows * dim / _BYTES_PER_GB
    if needed > home.settings.memory_gb:
        raise SettingError(
            f"Ranking again needs the vectors of all {rows:,} images in memory, {needed:.1f} GB at most, and "
            f"IMGRET_MEMORY_GB is {home.settings.memory_gb:g}",
            remedy="raise IMGRET_MEMORY_GB, or ask with mode index",
        )


def _stamp(home: Home, space: str) -> Stamp:
    files = [*embeddings_files(home, space), tables.nearest_path(home.warehouse, space)]
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())

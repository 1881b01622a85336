"""The table of every image's nearest neighbours, whatever their score, kept equal to the embeddings.

Belongs here: what has to be searched again, the table. Not here: the search (`domain.cascade_nearest`), pairs above a
threshold (`domain.pairs`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from imgret_assets.domain import locks, tables
from imgret_assets.domain.home import Home
from imgret_assets.domain.pair_search import cosines
from imgret_assets.domain.pairs import Embeddings, load_embeddings
from imgret_assets.domain.progress import Listener, Progress
from imgret_assets.errors import StaleTableError

# Neighbours kept of every image: twice as many as pages and reports show, so that some may be left out there.
KEPT = 20
# Up to here the plain product is done before the cascade's compiled loops are loaded.
PLAIN_ROWS = 6000
_COVERED_SCHEMA = pa.schema([("path", pa.string()), ("vector", pa.string())])
_BLOCK_ROWS = 1024
_PART = 16384
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Neighbours:
    """The table as arrays.

    Attributes:
        paths: of the images, sorted.
        rows: int32 (n, k): each image's neighbours as rows of `paths`, nearest first; -1 where there are no more.
        scores: float64 (n, k): their cosines; -inf where there are no more.
    """

    paths: list[str]
    rows: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class NeighboursReport:
    """What a refresh of the neighbours did; `how` says in a line what was searched and why."""

    space: str
    images: int
    rows: int
    compared: int
    how: str
    written: bool
    seconds: float

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        there = f"{self.rows:,} nearest neighbours of {self.images:,} images"
        if not self.written:
            return f"{there}: {self.how}, nothing was computed."
        return f"{there}: {self.how}; {self.compared:,} pairs compared in {self.seconds:.1f} s."


def refresh_neighbours(
    home: Home, space: str, *, say: Callable[[str], None] | None = None, progress: Listener | None = None
) -> NeighboursReport:
    """Bring the table up to date: new images against all, and those that lost a neighbour, unless all is due.

    Args:
        home: the home.
        space: id of the embedding space.
        say: told in a line what is searched, and why.
        progress: told how many pairs have been decided.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or don't belong together.
        LockTimeoutError: another run writes pairs or the graph.
    """
    with locks.held(
        home.locks, [locks.GRAPH], timeout_s=home.settings.lock_timeout_s, purpose="finding nearest neighbours"
    ):
        started = time.monotonic()
        embeddings = load_embeddings(home, space)
        path, count = tables.nearest_path(home.warehouse, space), len(embeddings.paths)
        metadata = tables.read_metadata(path) if path.is_file() else {}
        known = _covered_hash(home, space)
        if (metadata.get("coverage"), metadata.get("kept"), known) == (
            embeddings.coverage,
            str(KEPT),
            embeddings.coverage,
        ):
            rows = tables.count_rows(path)
            return NeighboursReport(space, count, rows, 0, "nothing changed", False, 0.0)
        previous, how = _previous(home, space, embeddings, metadata)
        (say or (lambda _: None))(how)
        rows, scores, compared = _search(home, embeddings.vectors, previous, progress or (lambda _: None))
        table = _as_table(embeddings.paths, rows, scores)
        covered = pa.table({"path": embeddings.paths, "vector": embeddings.contents}, _COVERED_SCHEMA)
        # First the list of what is covered: the table's own hash tells whether the two belong together.
        tables.write(_covered_path(home, space), covered, {"coverage": embeddings.coverage})
        tables.write(path, table, {"space": space, "coverage": embeddings.coverage, "kept": str(KEPT)})
        return NeighboursReport(space, count, len(table), compared, how, True, time.monotonic() - started)


def load_neighbours(home: Home, space: str) -> Neighbours:
    """The table as arrays.

    Raises:
        TableError: the table is missing.
    """
    path = tables.require(tables.nearest_path(home.warehouse, space), "The nearest neighbours", "nearest_neighbours")
    if _covered_hash(home, space) != tables.read_metadata(path)["coverage"]:
        raise StaleTableError(
            f"What {path} covers is not known", remedy="materialise `nearest_neighbours`, or run `imgret run`"
        )
    paths = tables.read(_covered_path(home, space), ["path"])["path"].to_pylist()
    return Neighbours(paths, *_as_arrays(tables.read(path), paths))


def _covered_path(home: Home, space: str) -> Path:
    return home.work / "nearest" / f"{space}.parquet"


def _covered_hash(home: Home, space: str) -> str | None:
    path = _covered_path(home, space)
    return tables.read_metadata(path).get("coverage") if path.is_file() else None


def _as_arrays(table: pa.Table, paths: list[str]) -> tuple[np.ndarray, np.ndarray]:
    row_of = {path: row for row, path in enumerate(paths)}
    images = np.array([row_of[path] for path in table["path"].to_pylist()], np.int64)
    ranks = table["rank"].to_numpy().astype(np.int64) - 1
    width = int(ranks.max()) + 1 if len(ranks) else 0
    rows = np.full((len(paths), width), -1, np.int32)
    scores = np.full((len(paths), width), -np.inf)
    rows[images, ranks] = [row_of[path] for path in table["neighbour"].to_pylist()]
    scores[images, ranks] = table["score"].to_numpy()
    return rows, scores


def _as_table(paths: list[str], rows: np.ndarray, scores: np.ndarray) -> pa.Table:
    count, width = rows.shape
    names = pa.array(paths, pa.string())
    images, ranks = np.repeat(np.arange(count), width), np.tile(np.arange(1, width + 1, dtype=np.int16), count)
    columns = [names.take(pa.array(images)), pa.array(ranks), names.take(pa.array(rows.ravel())), scores.ravel()]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=tables.NEAREST_SCHEMA)


def _previous(
    home: Home, space: str, embeddings: Embeddings, metadata: dict[str, str]
) -> "tuple[tuple[np.ndarray, np.ndarray, np.ndarray] | None, str]":
    """Earlier lists in present row numbers with their scores and the rows that are new; None where all is due."""
    if not metadata or metadata.get("kept") != str(KEPT):
        return None, "all against all: there is no earlier table"
    if _covered_hash(home, space) != metadata.get("coverage"):
        return None, "all against all: what the earlier table covers is not known"
    covered = tables.read(_covered_path(home, space)).to_pydict()
    before = dict(zip(covered["path"], covered["vector"], strict=True))
    fresh = [row for row, path in enumerate(embeddings.paths) if before.get(path) != embeddings.contents[row]]
    count = len(embeddings.paths)
    if 2 * len(fresh) > count:
        return None, f"all against all: {len(fresh):,} of {count:,} images are new"
    old_rows, old_scores = _as_arrays(tables.read(tables.nearest_path(home.warehouse, space)), covered["path"])
    old_row_of = {path: row for row, path in enumerate(covered["path"])}
    present = np.full(len(covered["path"]) + 1, -1, np.int64)  # the last entry is for "none"
    for row, path in enumerate(embeddings.paths):
        if path in old_row_of:
            present[old_row_of[path]] = row
    was = np.array([old_row_of.get(path, -1) for path in embeddings.paths], np.int64)
    rows = np.where((was >= 0)[:, np.newaxis], present[old_rows[was]], -1)
    scores = np.where((was >= 0)[:, np.newaxis], old_scores[was], -np.inf)
    removed = len(before.keys() - set(embeddings.paths))
    return (rows, scores, np.array(fresh, np.int64)), (
        f"{len(fresh):,} new or changed images and those that lost a neighbour against all {count:,}; "
        f"{removed:,} removed"
    )


def _search(
    home: Home,
    vectors: np.ndarray,
    previous: "tuple[np.ndarray, np.ndarray, np.ndarray] | None",
    progress: Listener,
) -> tuple[np.ndarray, np.ndarray, int]:
    count = len(vectors)
    if count <= PLAIN_ROWS:
        rows, scores = plain_nearest(vectors, KEPT)
        return rows, scores, count * (count - 1) // 2
    from imgret_assets.domain.cascade import Options
    from imgret_assets.domain.cascade_nearest import NearestSearch, Previous

    options = Options(memory_bytes=int(home.settings.memory_gb * 2**30))
    given = None if previous is None else Previous(*previous)
    search = NearestSearch(vectors, KEPT, previous=given, options=options)
    started = time.monotonic()
    for done, block in enumerate(search.blocks, 1):
        search.step(block)
        decided = search.compared * done // len(search.blocks)
        progress(Progress("pairs", decided, search.compared, time.monotonic() - started))
    found = search.result()
    return found.rows, found.scores, search.compared


def plain_nearest(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The exact k nearest of every row by a blocked product in float64.

    Args:
        vectors: float32 (n, dim), finite, no zero rows.
        k: how many.

    Returns:
        rows int64 and cosines float64, both (n, min(k, n - 1)), best first, ties by lower row.
    """
    count = len(vectors)
    width = max(0, min(k, count - 1))
    rows, scores = np.empty((count, width), np.int64), np.empty((count, width))
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for start in range(0, count if width else 0, _BLOCK_ROWS):
        part = np.arange(start, min(start + _BLOCK_ROWS, count))
        product = unit[part] @ unit.T
        product[np.arange(len(part)), part] = -np.inf
        last = np.partition(product, count - width, axis=1)[:, count - width]
        # A product's last digits and those of a pair's own cosine may differ: what may be in is looked at once more.
        row, other = np.nonzero(product >= (last - _ROUNDING)[:, np.newaxis])
        own = np.concatenate(
            [
                cosines(vectors[part[row[some : some + _PART]]], vectors[other[some : some + _PART]])
                for some in range(0, len(row), _PART)
            ]
        )
        order = np.lexsort((other, -own, row))
        row, other, own = row[order], other[order], own[order]
        rank = np.arange(len(row)) - np.searchsorted(row, np.arange(len(part)))[row]
        best = rank < width
        rows[part] = other[best].reshape(len(part), width)
        scores[part] = own[best].reshape(len(part), width)
    return rows, scores

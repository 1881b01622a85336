"""The table of every image's nearest neighbours, whatever their score, kept equal to the embeddings.

Belongs here: what has to be searched again, the table. Not here: the search
(`domain.similarity.cascade.nearest_search`, of a few thousand `domain.similarity.brute_force`), pairs above a
threshold (`domain.similarity.pairs_table`).
"""

import hashlib
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.embeddings.table_reader import Listing, list_embeddings, read_vectors
from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.similarity.brute_force import plain_nearest, plain_update
from imgret_assets.domain.similarity.cascade.nearest_search import NearestSearch
from imgret_assets.domain.similarity.checkpoints import KeptBlocks, search_key
from imgret_assets.domain.similarity.neighbour_lists import Previous
from imgret_assets.domain.storage import atomic_files, locks, tables
from imgret_assets.domain.storage.derived_tables import NEAREST
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import read_snapshot, snapshot_matches, snapshot_path, write_snapshot
from imgret_assets.domain.storage.table_metadata import NearestMetadata
from imgret_assets.errors import StaleTableError

# Neighbours in the table of every image: twice as many as pages and reports show, so that some may be left out there.
KEPT = 20
# Known beyond those, in a file beside the table: a list that loses some of them still has what the table needs, and
# isn't searched anew. One image in a hundred gone or changed takes 0.24 of 24 in the mean; five are rarely one list's.
RESERVE = 4
# Up to here the plain product is done before the cascade's compiled loops are loaded.
PLAIN_ROWS = 6000
_KIND = "nearest"


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
    with home.hold([locks.GRAPH], "finding nearest neighbours"):
        started = time.monotonic()
        listing = list_embeddings(home, space)
        path, count = tables.nearest_path(home.warehouse, space), len(listing.paths)
        current = NEAREST.current_metadata(home.warehouse, space, listing.coverage)
        snapshot_is_current = snapshot_matches(home, _KIND, space, listing.coverage)
        if current is not None and current.kept == KEPT and snapshot_is_current:
            rows = tables.count_rows(path)
            return NeighboursReport(space, count, rows, 0, "nothing changed", False, 0.0)
        previous, how = _previous(home, space, listing, NEAREST.metadata(home.warehouse, space))
        (say or (lambda _: None))(how)
        vectors = read_vectors(home, space, listing)
        rows, scores, compared = _search(home, space, vectors, previous, progress or (lambda _: None))
        table = _as_table(listing.paths, rows[:, :KEPT], scores[:, :KEPT])
        # First what goes with the table: its own hash tells whether they belong together.
        write_snapshot(home, _KIND, space, listing.paths, listing.vector_keys, listing.coverage)
        _write_lists(home, space, rows, scores, listing.coverage)
        metadata = NearestMetadata(space=space, coverage=listing.coverage, kept=KEPT)
        tables.write(path, table, metadata.as_metadata())
        return NeighboursReport(space, count, len(table), compared, how, True, time.monotonic() - started)


def load_neighbours(home: Home, space: str) -> Neighbours:
    """The table as arrays.

    Raises:
        TableError: the table is missing.
    """
    path = NEAREST.require(home.warehouse, space)
    metadata = NEAREST.metadata(home.warehouse, space)
    if metadata is None or not snapshot_matches(home, _KIND, space, metadata.coverage):
        raise StaleTableError(
            f"What {path} covers is not known", remedy="materialise `nearest_neighbours`, or run `imgret run`"
        )
    paths = tables.read(snapshot_path(home, _KIND, space), ["path"])["path"]
    return Neighbours(paths.to_pylist(), *_as_arrays(tables.read(path), paths))


def _lists_path(home: Home, space: str) -> Path:
    return home.work / _KIND / f"{space}.lists.npz"


def _write_lists(home: Home, space: str, rows: np.ndarray, scores: np.ndarray, coverage: str) -> None:
    """Keep the lists with their reserve, by row, for the next refresh."""
    with atomic_files.replacing(_lists_path(home, space)) as temporary, temporary.open("wb") as opened:
        np.savez(opened, rows=rows.astype(np.int32), scores=scores, coverage=np.array(coverage))


def _read_lists(home: Home, space: str, coverage: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The lists of that coverage, int64 rows and float64 scores; None where there are none."""
    try:
        with np.load(_lists_path(home, space)) as held:
            if str(held["coverage"]) != coverage:
                return None
            return held["rows"].astype(np.int64), held["scores"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _as_arrays(table: pa.Table, paths: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    known = paths.combine_chunks()
    images, neighbours = (
        pc.index_in(table[column], value_set=known).to_numpy()  # type: ignore[attr-defined]
        for column in ("path", "neighbour")
    )
    ranks = table["rank"].to_numpy().astype(np.int64) - 1
    width = int(ranks.max()) + 1 if len(ranks) else 0
    rows = np.full((len(paths), width), -1, np.int32)
    scores = np.full((len(paths), width), -np.inf)
    rows[images, ranks] = neighbours
    scores[images, ranks] = table["score"].to_numpy()
    return rows, scores


def _as_table(paths: list[str], rows: np.ndarray, scores: np.ndarray) -> pa.Table:
    count, width = rows.shape
    names = pa.array(paths, pa.string())
    images, ranks = np.repeat(np.arange(count), width), np.tile(np.arange(1, width + 1, dtype=np.int16), count)
    columns = [names.take(pa.array(images)), pa.array(ranks), names.take(pa.array(rows.ravel())), scores.ravel()]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=tables.NEAREST_SCHEMA)


def _previous(
    home: Home, space: str, listing: Listing, metadata: NearestMetadata | None
) -> tuple[Previous | None, str]:
    """Earlier lists, None where all is due; and what is searched, in a line."""
    if metadata is None or metadata.kept != KEPT:
        return None, "all against all: there is no earlier table"
    lists = _read_lists(home, space, metadata.coverage)
    if lists is None or not snapshot_matches(home, _KIND, space, metadata.coverage):
        return None, "all against all: what the earlier table covers is not known"
    old_paths, old_contents = read_snapshot(home, _KIND, space)
    before = dict(zip(old_paths, old_contents, strict=True))
    fresh = [row for row, path in enumerate(listing.paths) if before.get(path) != listing.vector_keys[row]]
    count = len(listing.paths)
    if 2 * len(fresh) > count:
        return None, f"all against all: {len(fresh):,} of {count:,} images are new"
    old_rows, old_scores = lists
    old_row_of = {path: row for row, path in enumerate(old_paths)}
    was = np.array([old_row_of.get(path, -1) for path in listing.paths], np.int64)
    present = np.full(len(old_paths) + 1, -1, np.int64)  # the last entry is for "none"
    present[was[was >= 0]] = np.flatnonzero(was >= 0)
    rows = np.where((was >= 0)[:, np.newaxis], present[old_rows[was]], -1)
    scores = np.where((was >= 0)[:, np.newaxis], old_scores[was], -np.inf)
    removed = len(old_paths) - int((was >= 0).sum())
    return Previous(rows, scores, np.array(fresh, np.int64)), (
        f"{len(fresh):,} new or changed images and those that lost a neighbour against all {count:,}; "
        f"{removed:,} removed"
    )


def _search(
    home: Home,
    space: str,
    vectors: np.ndarray,
    previous: Previous | None,
    progress: Listener,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows and scores of the lists with their reserve, and how many pairs were compared."""
    count = len(vectors)
    if count <= PLAIN_ROWS:
        if previous is not None:
            return plain_update(vectors, KEPT + RESERVE, KEPT, previous)
        return *plain_nearest(vectors, KEPT + RESERVE), count * (count - 1) // 2
    from imgret_assets.domain.similarity.cascade.gpu_bounds import engine_for
    from imgret_assets.domain.similarity.cascade.sieve import Found, Options

    folder = home.work / _KIND
    options = Options(
        memory_bytes=int(home.settings.memory_gb * 2**30),
        engine=engine_for(home.settings.device),
        heads=folder / f"{space}.heads.npz",
    )
    search = NearestSearch(vectors, KEPT + RESERVE, wanted=KEPT, previous=previous, options=options)
    earlier = "" if previous is None else _digest(previous.rows, previous.scores, previous.fresh)
    key = search_key(search.digests, None, KEPT, RESERVE, search.block_rows, earlier)
    kept = KeptBlocks(folder / space, key)
    for answer, _ in kept.read():
        search.absorb(Found(*answer))
    resumed, blocks = kept.done, len(search.blocks)
    started = time.monotonic()
    for block in search.blocks[resumed:]:
        kept.add(search.step(block), block.number + 1)
        done, left = (search.compared * some // blocks for some in (block.number + 1 - resumed, blocks - resumed))
        progress(Progress("pairs", done, left, time.monotonic() - started))
    found = search.result()
    kept.forget()
    return found.rows, found.scores, search.compared


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

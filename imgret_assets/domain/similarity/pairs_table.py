"""The table of all pairs of images whose score is above a threshold, kept equal to the embeddings.

Belongs here: which images to compare again after a change, and the table. Not here: finding pairs
(`domain.similarity.pair_search`), relationships (`domain.graph.similar_to`), where tables are
(`domain.storage.tables`).

A pair whose two vectors have not changed keeps its row and its score. Scores of earlier versions were summed in another
order, so they may differ from today's exact scores by up to 3e-15. They stay until their pair is compared again; the
graph compares scores with a tolerance of 1e-9, so no relationship is written for such a difference.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.embeddings.table_reader import Listing, coverage_of, list_embeddings, read_vectors
from imgret_assets.domain.runtime.progress import Listener
from imgret_assets.domain.similarity.cascade import projections_path
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, among_best_neighbours, merge_pairs, no_pairs
from imgret_assets.domain.similarity.pair_search import SearchOptions, SearchResult, search_pairs
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import read_snapshot, snapshot_matches, snapshot_path, write_snapshot
from imgret_assets.domain.storage.table_metadata import PairsMetadata
from imgret_assets.errors import TableError

_KIND = "pairs"


@dataclass(frozen=True)
class PairsReport:
    """What a refresh of the pairs table did.

    Attributes:
        space: id of the embedding space.
        threshold: every pair's score is greater than this.
        images: number of images.
        pairs: number of rows of the table.
        compared: number of pairs that were compared.
        how: in a line, what was compared and why.
        written: False where the table was already equal to the embeddings.
        seconds: time the refresh took.
        left_out: number of pairs that the cap on neighbours left out. It is exact after all images were compared with
            all, and may count a pair twice after small changes, because pairs left out earlier are not compared again.
        algorithm: in a few words, how pairs were found; empty where nothing was compared.
    """

    space: str
    threshold: float
    images: int
    pairs: int
    compared: int
    how: str
    written: bool
    seconds: float
    left_out: int = 0
    algorithm: str = ""

    @property
    def summary(self) -> str:
        """The report in a line."""
        pairs = f"{self.pairs:,} pairs of {self.images:,} images above {self.threshold:g}"
        if not self.written:
            return f"{pairs}: {self.how}, nothing was computed."
        left_out = (
            f" About {self.left_out:,} pairs beyond IMGRET_MAX_NEIGHBOURS were left out." if self.left_out else ""
        )
        return f"{pairs}: {self.compared:,} pairs compared in {self.seconds:.1f} s ({self.algorithm}).{left_out}"


@dataclass(frozen=True)
class _Plan:
    """What to keep of the earlier table and what to compare.

    Attributes:
        kept: the pairs of the earlier table that still hold, in present row numbers.
        rows: int64, ascending: the rows to compare with all; None for all rows.
        how: the plan in a line.
    """

    kept: ScoredPairs
    rows: np.ndarray | None
    how: str


def refresh_pairs(
    home: Home,
    space: str,
    threshold: float,
    *,
    log: Callable[[str], None] | None = None,
    progress: Listener | None = None,
) -> PairsReport:
    """Make the pairs table equal to the embeddings; compare only new and changed images with all where that is enough.

    Args:
        home: the home.
        space: id of the embedding space.
        threshold: a cosine; a pair is in if its score is greater.
        log: called with a line that says what is compared, and why.
        progress: called with the number of pairs that have been compared.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or do not belong together.
        TooManyPairsError: more pairs than IMGRET_MAX_PAIRS; the earlier table stays.
        LockTimeoutError: another run writes pairs or the graph.
    """
    max_neighbours = home.settings.max_neighbours
    with home.hold([locks.GRAPH], "computing similarity pairs"):
        started = time.monotonic()
        listing = list_embeddings(home, space)
        current = PAIRS.current_metadata(home.warehouse, space, listing.coverage)
        if current is not None and (current.threshold, current.max_neighbours) == (threshold, max_neighbours):
            rows = tables.count_rows(tables.pairs_path(home.warehouse, space))
            count = len(listing.paths)
            report = PairsReport(space, threshold, count, rows, 0, "nothing changed", False, 0.0, current.cut)
        else:
            earlier = PAIRS.metadata(home.warehouse, space)
            report = _recompute(home, space, threshold, listing, earlier, log or (lambda _: None), progress, started)
        home.update(threshold=threshold)
        return report


def _recompute(
    home: Home,
    space: str,
    threshold: float,
    listing: Listing,
    earlier: PairsMetadata | None,
    log: Callable[[str], None],
    progress: Listener | None,
    started: float,
) -> PairsReport:
    plan = _plan(home, space, threshold, listing, earlier)
    log(plan.how)
    count, max_neighbours = len(listing.paths), home.settings.max_neighbours
    result = SearchResult(no_pairs(), 0, "nothing to compare")
    if plan.rows is None or len(plan.rows):
        result = search_pairs(
            read_vectors(home, space, listing),
            threshold,
            rows=plan.rows,
            options=_search_options(home),
            work_folder=home.work / _KIND / space,
            projections=projections_path(home.work / _KIND, space),
            progress=progress,
        )
    pairs, left_out = result.pairs, result.left_out
    if len(plan.kept):
        pairs = merge_pairs([plan.kept, pairs])
        if max_neighbours is not None:
            merged_count = len(pairs)
            pairs = pairs.where(among_best_neighbours(pairs, count, max_neighbours))
            left_out += merged_count - len(pairs)
        left_out += earlier.cut if earlier is not None else 0
    write_snapshot(home, _KIND, space, listing.paths, listing.vector_keys, listing.coverage)
    metadata = PairsMetadata(
        space=space,
        coverage=listing.coverage,
        threshold=threshold,
        images=count,
        max_neighbours=max_neighbours,
        cut=left_out,
    )
    tables.write(tables.pairs_path(home.warehouse, space), _as_table(pairs, listing.paths), metadata.as_metadata())
    row_count = count if plan.rows is None else len(plan.rows)
    compared = row_count * count - row_count * (row_count + 1) // 2
    seconds = time.monotonic() - started
    return PairsReport(
        space, threshold, count, len(pairs), compared, plan.how, True, seconds, left_out, result.algorithm
    )


def _search_options(home: Home) -> SearchOptions:
    settings = home.settings
    return SearchOptions(
        max_pairs=settings.max_pairs,
        max_neighbours=settings.max_neighbours,
        memory_bytes=int(settings.memory_gb * 2**30),
        device=settings.device,
        algorithm=settings.pair_search,
    )


def _plan(home: Home, space: str, threshold: float, listing: Listing, earlier: PairsMetadata | None) -> _Plan:
    """Compare the embeddings with those of the earlier table."""
    if earlier is None or not snapshot_path(home, _KIND, space).is_file():
        return _all_against_all("there is no earlier table")
    if not snapshot_matches(home, _KIND, space, earlier.coverage):
        return _all_against_all("what the earlier table covers is not known")
    if threshold < earlier.threshold:
        return _all_against_all(f"the threshold was lowered from {earlier.threshold}")
    if earlier.cut and _is_larger_cap(home.settings.max_neighbours, earlier.max_neighbours):
        return _all_against_all(f"more neighbours are wanted than the {earlier.max_neighbours} kept")
    earlier_contents = dict(zip(*read_snapshot(home, _KIND, space), strict=True))
    row_of = {path: row for row, path in enumerate(listing.paths)}
    changed = {row for path, row in row_of.items() if earlier_contents.get(path) != listing.vector_keys[row]}
    table = tables.read(tables.pairs_path(home.warehouse, space))
    unchanged_paths = pa.array([path for path, row in row_of.items() if row not in changed], pa.string())
    unchanged_rows = np.array([row_of[path] for path in unchanged_paths.to_pylist()], np.int64)
    # Row numbers, -1 for an image that is removed or changed.
    a, b = (_rows_of(table[column], unchanged_paths, unchanged_rows) for column in ("path_a", "path_b"))
    to_compare = set(changed)
    if earlier.cut:
        # An image that has lost a neighbour may get back one that the cap had left out.
        to_compare |= set(np.concatenate([a[(b < 0) & (a >= 0)], b[(a < 0) & (b >= 0)]]).tolist())
    if 2 * len(to_compare) > len(row_of):
        return _all_against_all(f"{len(to_compare):,} of {len(row_of):,} images are new")
    scores = table["score"].to_numpy()
    rows = np.array(sorted(to_compare), np.int64)
    # One more, for row number -1.
    is_compared = np.zeros(len(row_of) + 1, bool)
    is_compared[rows] = True
    keep = (a >= 0) & (b >= 0) & (scores > threshold) & ~is_compared[a] & ~is_compared[b]
    kept = ScoredPairs(a[keep], b[keep], scores[keep])
    removed = len(earlier_contents.keys() - row_of.keys())
    lost = len(to_compare) - len(changed)
    also = f" and {lost:,} that lost a neighbour" if lost else ""
    how = (
        f"{len(changed):,} new or changed images{also} against all {len(row_of):,}; "
        f"{removed:,} removed; {len(kept):,} pairs kept"
    )
    return _Plan(kept, rows, how)


def _all_against_all(reason: str) -> _Plan:
    return _Plan(no_pairs(), None, f"all against all: {reason}")


def _is_larger_cap(cap: int | None, earlier_cap: int | None) -> bool:
    """Return whether a cap on neighbours keeps more than an earlier one; None keeps all."""
    return earlier_cap is not None and (cap is None or cap > earlier_cap)


def _rows_of(paths: pa.ChunkedArray, known_paths: pa.Array, known_rows: np.ndarray) -> np.ndarray:
    """Return the row of each path, int64; -1 for a path that is not known."""
    places = pc.index_in(paths, value_set=known_paths).fill_null(-1)  # type: ignore[attr-defined]
    places = places.to_numpy().astype(np.int64)
    return np.where(places < 0, -1, known_rows[np.maximum(places, 0)] if len(known_rows) else -1)


def _as_table(pairs: ScoredPairs, paths: Sequence[str]) -> pa.Table:
    names = pa.array(paths, pa.string())
    return pa.Table.from_arrays(
        [names.take(pa.array(pairs.a)), names.take(pa.array(pairs.b)), pa.array(pairs.scores)],
        schema=tables.PAIRS_SCHEMA,
    )


def validate_pairs(home: Home, space: str, contents: dict[str, str]) -> float:
    """Check that a space's pairs table may be written to the graph, and return its threshold.

    Args:
        home: the home.
        space: id of the embedding space.
        contents: which vector each usable image has (`domain.embeddings.table_reader.vector_keys`), by path.

    Raises:
        TableError: the table is missing, holds a self pair, a doubled or a reversed pair, or an impossible score.
        StaleTableError: the table was made from other embeddings.
    """
    coverage = coverage_of(list(contents), list(contents.values()))
    threshold = PAIRS.require_current(home.warehouse, space, coverage).threshold
    path = tables.pairs_path(home.warehouse, space)
    table = tables.read(path)
    scores = table["score"].to_numpy()
    if not (np.isfinite(scores) & (scores > threshold) & (scores <= 1.0)).all():
        raise TableError(f"{path} has scores outside ({threshold}, 1]", remedy="remove it and run again")
    keys = list(zip(table["path_a"].to_pylist(), table["path_b"].to_pylist(), strict=True))
    if any(a >= b for a, b in keys) or len(set(keys)) != len(keys):
        raise TableError(f"{path} has a self, doubled or reversed pair", remedy="remove it and run again")
    if any(a not in contents or b not in contents for a, b in keys):
        raise TableError(f"{path} names images that have no embedding", remedy="remove it and run again")
    return threshold

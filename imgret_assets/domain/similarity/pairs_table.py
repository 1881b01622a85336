"""The table of all pairs of images whose cosine is above a threshold, kept equal to the embeddings: new against all.

Belongs here: loading vectors, deciding what has to be compared again, the table. Not here: finding pairs
(`domain.similarity.pair_search`), relationships (`domain.graph.image_nodes`), where tables are
(`domain.storage.tables`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.embeddings.table_reader import (
    Listing,
    coverage_of,
    list_embeddings,
    read_vectors,
)
from imgret_assets.domain.runtime.progress import Listener
from imgret_assets.domain.similarity.pair_search import Limits, Searched, search_pairs
from imgret_assets.domain.similarity.scored_pairs import Pairs, best_neighbours, joined, no_pairs
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import read_snapshot, snapshot_matches, snapshot_path, write_snapshot
from imgret_assets.domain.storage.table_metadata import PairsMetadata
from imgret_assets.errors import TableError

_KIND = "pairs"


@dataclass(frozen=True)
class PairsReport:
    """What a refresh of the pairs did.

    `how` says in a line what was computed and why, `means` by which of the exact means. `cut` counts the pairs that
    the cap on neighbours left out: exact after all were compared with all, a little more after small changes, since
    what was left out before is not looked at again.
    """

    space: str
    threshold: float
    images: int
    pairs: int
    compared: int
    how: str
    written: bool
    seconds: float
    cut: int = 0
    means: str = ""

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        there = f"{self.pairs:,} pairs of {self.images:,} images above {self.threshold:g}"
        if not self.written:
            return f"{there}: {self.how}, nothing was computed."
        cut = f" About {self.cut:,} pairs beyond IMGRET_MAX_NEIGHBOURS were left out." if self.cut else ""
        return f"{there}: {self.compared:,} pairs compared in {self.seconds:.1f} s ({self.means}).{cut}"


def refresh_pairs(
    home: Home,
    space: str,
    threshold: float,
    *,
    say: Callable[[str], None] | None = None,
    progress: Listener | None = None,
) -> PairsReport:
    """Bring the pairs table up to date: new and changed images against all, unless all is due.

    Args:
        home: the home.
        space: id of the embedding space.
        threshold: a pair's cosine is greater than this.
        say: told in a line what is computed, and why.
        progress: told how many pairs have been decided.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or don't belong together.
        TooManyPairsError: more pairs than IMGRET_MAX_PAIRS; the earlier table stays.
        LockTimeoutError: another run writes pairs or the graph.
    """
    most = home.settings.max_neighbours
    with home.hold([locks.GRAPH], "computing similarity pairs"):
        started = time.monotonic()
        listing = list_embeddings(home, space)
        current = PAIRS.current_metadata(home.warehouse, space, listing.coverage)
        if current is not None and (current.threshold, current.max_neighbours) == (threshold, most):
            rows = tables.count_rows(tables.pairs_path(home.warehouse, space))
            count = len(listing.paths)
            report = PairsReport(space, threshold, count, rows, 0, "nothing changed", False, 0.0, current.cut)
        else:
            tell = say or (lambda _: None)
            previous = PAIRS.metadata(home.warehouse, space)
            report = _recompute(home, space, threshold, listing, previous, tell, progress, started)
        home.update(threshold=threshold)
        return report


def _recompute(
    home: Home,
    space: str,
    threshold: float,
    listing: Listing,
    previous: PairsMetadata | None,
    say: Callable[[str], None],
    progress: Listener | None,
    started: float,
) -> PairsReport:
    kept, changed, how = _what_is_left(home, space, threshold, listing, previous)
    say(how)
    count, settings = len(listing.paths), home.settings
    limits = Limits(settings.max_pairs, settings.max_neighbours, int(settings.memory_gb * 2**30), settings.device)
    found = Searched(no_pairs(), 0, "nothing to compare")
    if changed is None or len(changed):
        found = search_pairs(
            read_vectors(home, space, listing),
            threshold,
            rows=changed,
            limits=limits,
            work=home.work / _KIND / space,
            heads=home.work / _KIND / f"{space}.heads.npz",
            progress=progress,
        )
    merged, cut = found.pairs, found.cut
    if kept is not None and len(kept):
        both = joined([kept, found.pairs])
        most = settings.max_neighbours
        merged = both if most is None else both.where(best_neighbours(both, count, most))
        cut += len(both) - len(merged) + (previous.cut if previous is not None else 0)
    write_snapshot(home, _KIND, space, listing.paths, listing.vector_keys, listing.coverage)
    metadata = PairsMetadata(
        space=space,
        coverage=listing.coverage,
        threshold=threshold,
        images=count,
        max_neighbours=settings.max_neighbours,
        cut=cut,
    )
    table = _as_table(merged, listing.paths)
    tables.write(tables.pairs_path(home.warehouse, space), table, metadata.as_metadata())
    new = count if changed is None else len(changed)
    compared = new * count - new * (new + 1) // 2
    seconds = time.monotonic() - started
    return PairsReport(space, threshold, count, len(merged), compared, how, True, seconds, cut, found.means)


def _what_is_left(
    home: Home, space: str, threshold: float, listing: Listing, previous: PairsMetadata | None
) -> tuple[Pairs | None, np.ndarray | None, str]:
    """Old pairs that still hold, as present rows; rows to compare with all (None: all with all); and why."""
    if previous is None or not snapshot_path(home, _KIND, space).is_file():
        return None, None, "all against all: there is no earlier table"
    if not snapshot_matches(home, _KIND, space, previous.coverage):
        return None, None, "all against all: what the earlier table covers is not known"
    if threshold < previous.threshold:
        return None, None, f"all against all: the threshold was lowered from {previous.threshold}"
    if previous.cut and _more(home.settings.max_neighbours, previous.max_neighbours):
        return None, None, f"all against all: more neighbours are wanted than the {previous.max_neighbours} kept"
    before = dict(zip(*read_snapshot(home, _KIND, space), strict=True))
    row_of = {path: row for row, path in enumerate(listing.paths)}
    changed = {row for path, row in row_of.items() if before.get(path) != listing.vector_keys[row]}
    old = tables.read(tables.pairs_path(home.warehouse, space))
    # As row numbers; -1 for images that are gone or changed.
    stable = pa.array([path for path, row in row_of.items() if row not in changed], pa.string())
    rows = np.array([row_of[path] for path in stable.to_pylist()], np.int64)
    a, b = (_rows_in(old[column], stable, rows) for column in ("path_a", "path_b"))
    fresh = len(changed)
    if previous.cut:
        # An image that has lost a neighbour may get one back that was left out for it.
        lost = np.concatenate([a[(b < 0) & (a >= 0)], b[(a < 0) & (b >= 0)]])
        changed |= set(lost.tolist())
    if 2 * len(changed) > len(row_of):
        return None, None, f"all against all: {len(changed):,} of {len(row_of):,} images are new"
    scores = old["score"].to_numpy()
    again = np.zeros(len(row_of) + 1, bool)
    again[sorted(changed)] = True
    keep = (a >= 0) & (b >= 0) & (scores > threshold) & ~again[a] & ~again[b]
    pairs = Pairs(a[keep], b[keep], scores[keep])
    removed = len(before.keys() - row_of.keys())
    also = f" and {len(changed) - fresh:,} that lost a neighbour" if len(changed) > fresh else ""
    how = (
        f"{fresh:,} new or changed images{also} against all {len(row_of):,}; "
        f"{removed:,} removed; {len(pairs):,} pairs kept"
    )
    return pairs, np.array(sorted(changed), np.int64), how


def _more(wanted: int | None, had: int | None) -> bool:
    return had is not None and (wanted is None or wanted > had)


def _rows_in(names: pa.ChunkedArray, known: pa.Array, rows: np.ndarray) -> np.ndarray:
    """The row of each name, -1 for one that is not known."""
    found = pc.index_in(names, value_set=known)  # type: ignore[attr-defined]
    places = found.fill_null(-1).to_numpy().astype(np.int64)
    return np.where(places < 0, -1, rows[np.maximum(places, 0)] if len(rows) else -1)


def _as_table(pairs: Pairs, paths: Sequence[str]) -> pa.Table:
    names = pa.array(paths, pa.string())
    return pa.Table.from_arrays(
        [names.take(pa.array(pairs.a)), names.take(pa.array(pairs.b)), pa.array(pairs.scores)],
        schema=tables.PAIRS_SCHEMA,
    )


def validate_pairs(home: Home, space: str, contents: dict[str, str]) -> float:
    """Check that a space's pairs table may reach the graph; its threshold.

    Raises:
        TableError: it is missing, or has a self pair, a doubled or reversed one, or a wrong score.
        StaleTableError: it was made from other embeddings.
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

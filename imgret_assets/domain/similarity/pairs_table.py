"""The table of all pairs of images whose score is above a threshold, kept equal to the embeddings.

Belongs here: which images to compare again after a change, and the table. Not here: finding pairs
(`domain.similarity.pair_search`), relationships (`domain.graph.similar_to`), where tables are
(`domain.storage.tables`).

A pair whose two vectors have not changed keeps its row and its score. Scores of earlier versions were summed in another
order, so they may differ from today's exact scores by up to 3e-15. They stay until their pair is compared again; the
graph compares scores with a tolerance of 1e-9, so no relationship is written for such a difference.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.cluster.ray_cluster import RayCluster
from imgret_assets.domain.embeddings.table_reader import Listing, coverage_of, list_embeddings, read_vectors
from imgret_assets.domain.runtime.progress import Listener
from imgret_assets.domain.similarity.approximate import method
from imgret_assets.domain.similarity.approximate.cells import require_faiss_for
from imgret_assets.domain.similarity.approximate.recall import recall_fields, recall_of_pairs
from imgret_assets.domain.similarity.cascade import CascadeOptions, projections_path
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, among_best_neighbours, merge_pairs, no_pairs
from imgret_assets.domain.similarity.pair_search import SearchOptions, SearchResult, search_pairs
from imgret_assets.domain.similarity.pieces.answers import AnswerFiles
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import read_snapshot, snapshot_matches, snapshot_path, write_snapshot
from imgret_assets.domain.storage.table_metadata import PairsMetadata
from imgret_assets.domain.storage.text_column import TextColumn, equal_texts
from imgret_assets.domain.storage.verification import discard_damaged
from imgret_assets.errors import TableError
from imgret_assets.wording import counted

_KIND = "pairs"
# Rows of the table that are read or written at a time.
_BATCH_ROWS = 1 << 20
_SIDES = ("path_a", "path_b")


@dataclass(frozen=True)
class PairsReport:
    """What a refresh of the pairs table did.

    Attributes:
        space: id of the embedding space.
        threshold: every pair's score is greater than this.
        images: number of images.
        pairs: number of rows of the table.
        compared: number of pairs that were compared, of images with equal vectors only one.
        how: in a line, what was compared and why.
        written: False where the table was already equal to the embeddings.
        seconds: time the refresh took.
        left_out: number of pairs that the cap on neighbours left out. It is exact after all images were compared with
            all, and may count a pair twice after small changes, because pairs left out earlier are not compared again.
        algorithm: in a few words, how pairs were found; empty where nothing was compared.
        metadata: those of the table.
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
    metadata: PairsMetadata | None = None

    @property
    def summary(self) -> str:
        """The report in a line."""
        pairs = f"{counted(self.pairs, 'pair')} of {counted(self.images, 'image')} above {self.threshold:g}"
        caveat = f" {self.metadata.caveat}" if self.metadata is not None and not self.metadata.exact else ""
        if not self.written:
            return f"{pairs}: {self.how}, nothing was computed.{caveat}"
        left_out = (
            f" About {self.left_out:,} pairs beyond IMGRET_MAX_NEIGHBOURS were left out." if self.left_out else ""
        )
        return (
            f"{pairs}: {counted(self.compared, 'pair')} compared in {self.seconds:.1f} s "
            f"({self.algorithm}).{left_out}{caveat}"
        )


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
    cluster: RayCluster | None = None,
    log: Callable[[str], None] | None = None,
    progress: Listener | None = None,
) -> PairsReport:
    """Make the pairs table equal to the embeddings; compare only new and changed images with all where that is enough.

    Args:
        home: the home.
        space: id of the embedding space.
        threshold: a cosine; a pair is in if its score is greater.
        cluster: where a long search is done; None for this process.
        log: called with a line that says what is compared, and why.
        progress: called with the number of pairs that have been compared.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or do not belong together.
        TooManyPairsError: more pairs than IMGRET_MAX_PAIRS; the earlier table stays.
        LockTimeoutError: another run writes pairs or the graph.
        ClusterError: no node of the cluster can work, or a piece was lost too often.
    """
    max_neighbours = home.settings.max_neighbours
    with home.hold([locks.GRAPH], "computing similarity pairs"):
        started = time.monotonic()
        discard_damaged(home, [tables.pairs_path(home.warehouse, space), snapshot_path(home, _KIND, space)])
        listing = list_embeddings(home, space)
        current = PAIRS.current_metadata(home.warehouse, space, listing.coverage)
        count = len(listing.paths)
        if (
            current is not None
            and (current.threshold, current.max_neighbours) == (threshold, max_neighbours)
            and method.answers_settings(home.settings, current, count)
        ):
            rows = tables.count_rows(tables.pairs_path(home.warehouse, space))
            report = PairsReport(
                space, threshold, count, rows, 0, "nothing changed", False, 0.0, current.cut, metadata=current
            )
        else:
            earlier = PAIRS.metadata(home.warehouse, space)
            report = _recompute(
                home, space, threshold, listing, earlier, cluster, log or (lambda _: None), progress, started
            )
        home.update(threshold=threshold)
        return report


def _recompute(
    home: Home,
    space: str,
    threshold: float,
    listing: Listing,
    earlier: PairsMetadata | None,
    cluster: RayCluster | None,
    log: Callable[[str], None],
    progress: Listener | None,
    started: float,
) -> PairsReport:
    plan = _plan(home, space, threshold, listing, earlier)
    if plan.rows is not None and earlier is not None:
        reason = method.reason_to_search_all(home.settings, earlier, len(listing.paths), len(plan.rows))
        plan = plan if reason is None else _all_against_all(reason)
    log(plan.how)
    count, max_neighbours = len(listing.paths), home.settings.max_neighbours
    if plan.rows is None:
        require_faiss_for(home.settings, count)
    result = SearchResult(no_pairs(), 0, "nothing to compare", 0)
    answers = AnswerFiles(home.work / _KIND / space)
    if plan.rows is None or len(plan.rows):
        result = search_pairs(
            read_vectors(home, space, listing),
            threshold,
            rows=plan.rows,
            shards=listing.shard_numbers,
            options=_search_options(home, space, cluster),
            answers=answers,
            progress=progress,
            may_overwrite=True,
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
        **_accuracy(home, space, threshold, listing, pairs, result.cells, earlier if plan.rows is not None else None),
    )
    write_pairs(home, space, pairs, listing.paths, metadata)
    answers.remove_all()
    seconds = time.monotonic() - started
    return PairsReport(
        space, threshold, count, len(pairs), result.compared, plan.how, True, seconds, left_out, result.algorithm,
        metadata,
    )  # fmt: skip


def _accuracy(
    home: Home,
    space: str,
    threshold: float,
    listing: Listing,
    pairs: ScoredPairs,
    cells: int | None,
    completed: PairsMetadata | None,
) -> dict[str, Any]:
    """Return the metadata that say whether the table is exact, and if not, how many of the true pairs it has.

    Args:
        home: the home.
        space: id of the embedding space.
        threshold: that of the pairs.
        listing: all images.
        pairs: those of the table.
        cells: number of cells of the search; None if it was exact.
        completed: metadata of an earlier table whose pairs are among these; None where all images were compared.
    """
    settings = home.settings
    if completed is not None and not completed.exact:
        cells = completed.cells
    if cells is None:
        return {}
    recall = recall_of_pairs(
        read_vectors(home, space, listing),
        pairs,
        threshold,
        max_neighbours=settings.max_neighbours,
        options=CascadeOptions(memory_bytes=int(settings.memory_gb * 2**30), device=settings.device),
    )
    searched = {"exact": False, "method": method.METHOD, "probes": settings.probes, "cells": cells}
    return searched | recall_fields(recall)


def _search_options(home: Home, space: str, cluster: RayCluster | None) -> SearchOptions:
    settings = home.settings
    return SearchOptions(
        max_pairs=settings.max_pairs,
        max_neighbours=settings.max_neighbours,
        memory_bytes=int(settings.memory_gb * 2**30),
        device=settings.device,
        algorithm=settings.pair_search,
        probes=settings.probes,
        projections=projections_path(home.work / _KIND, space),
        cluster=cluster,
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
    earlier_paths, earlier_keys = read_snapshot(home, _KIND, space)
    earlier_place = earlier_paths.places_of(listing.paths.array)
    is_changed = ~equal_texts(listing.vector_keys, earlier_keys, earlier_place)
    kept, lost_a_neighbour = _unchanged_pairs(home, space, threshold, listing.paths, np.flatnonzero(~is_changed))
    count, changed_count = len(listing.paths), int(is_changed.sum())
    is_compared = is_changed
    if earlier.cut:
        # An image that has lost a neighbour may get back one that the cap had left out.
        is_compared = is_changed | lost_a_neighbour
    rows = np.flatnonzero(is_compared)
    if 2 * len(rows) > count:
        return _all_against_all(f"{len(rows):,} of {count:,} images are new")
    del earlier_keys
    pa.default_memory_pool().release_unused()
    keep = ~is_compared[kept.a] & ~is_compared[kept.b]
    kept = kept if keep.all() else kept.where(keep)
    removed = len(earlier_paths) - int((earlier_place >= 0).sum())
    lost = len(rows) - changed_count
    also = f" and {lost:,} that lost a neighbour" if lost else ""
    how = (
        f"{counted(changed_count, 'new or changed image')}{also} against all {count:,}; "
        f"{removed:,} removed; {counted(len(kept), 'pair')} kept"
    )
    return _Plan(kept, rows, how)


def _all_against_all(reason: str) -> _Plan:
    return _Plan(no_pairs(), None, f"all against all: {reason}")


def _is_larger_cap(cap: int | None, earlier_cap: int | None) -> bool:
    """Return whether a cap on neighbours keeps more than an earlier one; None keeps all."""
    return earlier_cap is not None and (cap is None or cap > earlier_cap)


def _unchanged_pairs(
    home: Home, space: str, threshold: float, paths: TextColumn, unchanged_rows: np.ndarray
) -> tuple[ScoredPairs, np.ndarray]:
    """Read the pairs of the table above the threshold whose two images are unchanged.

    Args:
        home: the home.
        space: id of the embedding space.
        threshold: a cosine.
        paths: of all images.
        unchanged_rows: int64, ascending: the images that had the same vector when the table was made.

    Returns:
        The pairs, and for each image, bool, whether it is unchanged and has a pair with an image that is changed or
        removed.
    """
    file = tables.pairs_path(home.warehouse, space)
    row_count, kept_count = tables.count_rows(file), 0
    kept = ScoredPairs(*(np.empty(row_count, kind) for kind in (np.int32, np.int32, np.float64)))
    unchanged_paths = paths.take(unchanged_rows)
    # The last one is for a path that is not among them.
    rows = np.append(unchanged_rows, -1).astype(np.int32)
    lost_a_neighbour = np.zeros(len(paths), bool)
    for batch, *places in tables.batches_with_places(file, unchanged_paths, _SIDES, _BATCH_ROWS):
        a, b = (rows[of_side] for of_side in places)
        scores = batch["score"].to_numpy()
        lost_a_neighbour[a[(b < 0) & (a >= 0)]] = True
        lost_a_neighbour[b[(a < 0) & (b >= 0)]] = True
        keep = (a >= 0) & (b >= 0) & (scores > threshold)
        part = slice(kept_count, kept_count + int(keep.sum()))
        kept.a[part], kept.b[part], kept.scores[part] = a[keep], b[keep], scores[keep]
        kept_count = part.stop
    return kept.where(slice(kept_count)), lost_a_neighbour


def write_pairs(home: Home, space: str, pairs: ScoredPairs, paths: TextColumn, metadata: PairsMetadata) -> None:
    """Write the table in parts: the paths of all pairs at a time would take more memory than the pairs."""
    names = paths.array
    file = tables.pairs_path(home.warehouse, space)
    with tables.writer(file, tables.PAIRS_SCHEMA, metadata.as_metadata()) as opened:
        for start in range(0, len(pairs), _BATCH_ROWS):
            part = pairs.where(slice(start, start + _BATCH_ROWS))
            columns = [names.take(pa.array(part.a)), names.take(pa.array(part.b)), pa.array(part.scores)]
            opened.write_table(pa.Table.from_arrays(columns, schema=tables.PAIRS_SCHEMA))


def load_valid_pairs(home: Home, space: str, contents: Mapping[str, str]) -> tuple[ScoredPairs, float]:
    """Read a space's pairs table and its threshold after checking that it may be written to the graph.

    Args:
        home: the home.
        space: id of the embedding space.
        contents: which vector each usable image has (`domain.embeddings.table_reader.vector_keys`), by path. Row
            numbers of the pairs count the sorted paths.

    Raises:
        TableError: the table is missing, holds a self pair, a doubled or a reversed pair, or an impossible score.
        StaleTableError: the table was made from other embeddings.
    """
    coverage = coverage_of(list(contents), list(contents.values()))
    threshold = PAIRS.require_current(home.warehouse, space, coverage).threshold
    return _read_valid_pairs(tables.pairs_path(home.warehouse, space), sorted(contents), threshold), threshold


def _read_valid_pairs(path: Path, paths: Sequence[str], threshold: float) -> ScoredPairs:
    """Read a pairs table, its images as row numbers, after checking that it may be written to the graph.

    Args:
        path: file of the table.
        paths: of all images with an embedding, sorted; row numbers count them.
        threshold: every score must be greater.

    Raises:
        TableError: the table is damaged, or holds a self pair, a doubled or a reversed pair, an image without an
            embedding or an impossible score.
    """
    known_paths = TextColumn.of(paths)
    row_count, start = tables.count_rows(path), 0
    keys, scores = np.empty(row_count, np.int64), np.empty(row_count)
    for batch, a, b in tables.batches_with_places(path, known_paths, _SIDES, _BATCH_ROWS):
        part = slice(start, start + len(batch))
        scores[part] = batch["score"].to_numpy(zero_copy_only=False)
        if not (np.isfinite(scores[part]) & (scores[part] > threshold) & (scores[part] <= 1.0)).all():
            raise TableError(f"{path} has scores outside ({threshold}, 1]", remedy="remove it and run again")
        if ((a < 0) | (b < 0)).any():
            raise TableError(f"{path} names images that have no embedding", remedy="remove it and run again")
        if (a >= b).any():
            raise TableError(f"{path} has a self, doubled or reversed pair", remedy="remove it and run again")
        keys[part] = a << 32 | b
        start = part.stop
    if not (keys[1:] > keys[:-1]).all():
        order = np.argsort(keys)
        keys, scores = keys[order], scores[order]
        if (keys[1:] == keys[:-1]).any():
            raise TableError(f"{path} has a self, doubled or reversed pair", remedy="remove it and run again")
    return ScoredPairs.from_keys(keys, scores)

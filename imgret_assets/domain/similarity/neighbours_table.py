"""The table of every image's nearest neighbours, whatever their score, kept equal to the embeddings.

Belongs here: which images to search again after a change, the table, and the choice between brute force and the
cascade. Not here: the searches (`domain.similarity.brute_force`, `domain.similarity.cascade`), pairs above a threshold
(`domain.similarity.pairs_table`).

Images with equal vectors are searched once: the lists of the first image of each group of them (`equal_vectors`) are
searched, kept and updated, and the table is made from those. For the update such a list is one of a collection of these
images alone, so an image that was the first of its group and no longer is counts as removed from it.

An entry whose two vectors have not changed keeps its score. Scores of earlier versions were summed in another order, so
they may differ from today's exact scores by up to 3e-15.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.cluster.ray_cluster import RayCluster
from imgret_assets.domain.embeddings.table_reader import Listing, list_embeddings, read_vectors
from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.similarity.approximate import method
from imgret_assets.domain.similarity.approximate.cells import require_faiss_for
from imgret_assets.domain.similarity.approximate.recall import recall_fields, recall_of_neighbours
from imgret_assets.domain.similarity.approximate.searches import CellNeighbours, find_neighbours_in_cells
from imgret_assets.domain.similarity.brute_force import UpdatedLists, nearest_neighbours, update_neighbours
from imgret_assets.domain.similarity.cascade import CascadeOptions, NearestSearch, projections_path
from imgret_assets.domain.similarity.equal_vectors import (
    RowGroups,
    group_equal_rows,
    keep_first_rows,
    lists_of_rows,
)
from imgret_assets.domain.similarity.neighbour_lists import EarlierLists, NeighbourLists
from imgret_assets.domain.similarity.pieces.answers import DAMAGED_ARRAYS, AnswerFiles
from imgret_assets.domain.similarity.pieces.computing import Compute, ComputeHere, solve
from imgret_assets.domain.storage import atomic_files, locks, tables
from imgret_assets.domain.storage.derived_tables import NEAREST
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import (
    NEAREST_KIND,
    read_snapshot,
    snapshot_matches,
    snapshot_path,
    write_snapshot,
)
from imgret_assets.domain.storage.table_metadata import NearestMetadata
from imgret_assets.domain.storage.text_column import TextColumn, equal_texts
from imgret_assets.domain.storage.verification import discard_damaged
from imgret_assets.errors import StaleTableError
from imgret_assets.wording import counted

# Neighbours of each image in the table: twice as many as pages and reports show, so that some may be left out there.
KEPT = 20
# Neighbours beyond those, in a file in the work folder. A list that loses some entries then still has what the table
# needs and is not searched again. With one image in a hundred changed, a list of 24 loses 0.24 entries on average.
RESERVE = 4
# Rows of the table that are written or read at a time.
_BAND_ROWS = 1 << 20
# Up to so many images brute force takes less time than loading the cascade's compiled loops.
BRUTE_FORCE_ROWS = 6000


@dataclass(frozen=True)
class Neighbours:
    """The table as arrays.

    Attributes:
        paths: paths of the images, sorted.
        rows: int32 (n, k): each image's neighbours as rows of `paths`, nearest first; -1 after the last one.
        scores: float64 (n, k): their scores; -inf after the last one.
    """

    paths: Sequence[str]
    rows: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class NeighboursReport:
    """What a refresh of the table did.

    Attributes:
        space: id of the embedding space.
        images: number of images.
        rows: number of rows of the table.
        compared: number of pairs that were compared, of images with equal vectors only one.
        how: in a line, what was searched and why.
        written: False where the table was already equal to the embeddings.
        seconds: time the refresh took.
        metadata: those of the table.
    """

    space: str
    images: int
    rows: int
    compared: int
    how: str
    written: bool
    seconds: float
    metadata: NearestMetadata | None = None

    @property
    def summary(self) -> str:
        """The report in a line."""
        neighbours = f"{counted(self.rows, 'nearest neighbour')} of {counted(self.images, 'image')}"
        caveat = f" {self.metadata.caveat}" if self.metadata is not None and not self.metadata.exact else ""
        if not self.written:
            return f"{neighbours}: {self.how}, nothing was computed.{caveat}"
        return f"{neighbours}: {self.how}; {counted(self.compared, 'pair')} compared in {self.seconds:.1f} s.{caveat}"


def refresh_neighbours(
    home: Home,
    space: str,
    *,
    cluster: RayCluster | None = None,
    log: Callable[[str], None] | None = None,
    progress: Listener | None = None,
) -> NeighboursReport:
    """Make the table equal to the embeddings; search only new images and those that lost a neighbour where possible.

    Args:
        home: the home.
        space: id of the embedding space.
        cluster: where a long search is done; None for this process.
        log: called with a line that says what is searched, and why.
        progress: called with the number of pairs that have been compared.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or do not belong together.
        LockTimeoutError: another run writes pairs or the graph.
    """
    with home.hold([locks.GRAPH], "finding nearest neighbours"):
        started = time.monotonic()
        path = tables.nearest_path(home.warehouse, space)
        discard_damaged(home, [path, snapshot_path(home, NEAREST_KIND, space)])
        listing = list_embeddings(home, space)
        count = len(listing.paths)
        current = NEAREST.current_metadata(home.warehouse, space, listing.coverage)
        snapshot_is_current = snapshot_matches(home, NEAREST_KIND, space, listing.coverage)
        if (
            current is not None
            and current.kept == KEPT
            and snapshot_is_current
            and method.answers_settings(home.settings, current, count)
        ):
            rows = tables.count_rows(path)
            return NeighboursReport(space, count, rows, 0, "nothing changed", False, 0.0, current)
        require_faiss_for(home.settings, count)
        vectors = read_vectors(home, space, listing)
        groups = group_equal_rows(vectors)
        searched = groups.first_rows
        earlier_metadata = NEAREST.metadata(home.warehouse, space)
        earlier, how = _earlier_lists(home, space, listing, searched, earlier_metadata)
        if earlier is not None and earlier_metadata is not None:
            reason = method.reason_to_search_all(home.settings, earlier_metadata, count, len(earlier.new_rows))
            earlier, how = (earlier, how) if reason is None else (None, f"all against all: {reason}")
        if not groups.all_single:
            how += f"; {count - len(groups):,} images have the vector of an earlier path and are not searched"
        if log is not None:
            log(how)
        vectors = keep_first_rows(vectors, groups)
        shards = listing.shard_numbers[searched]
        probes, cells = home.settings.probes, None
        if earlier is None and method.is_approximate(home.settings.pair_search, len(vectors)):
            found = _search_in_cells(home, vectors, method.CellOptions(probes), progress)
            lists, compared, cells = found.lists, found.compared, found.cells
            how = f"approximate, {probes} of {cells:,} cells; {how}"
        else:
            lists, compared = _search(home, space, vectors, shards, earlier, progress or (lambda _: None), cluster)
            if earlier is not None and earlier_metadata is not None:
                cells = earlier_metadata.cells
        accuracy = _accuracy(home, vectors, lists, probes, cells)
        # The files that belong to the table come first: their hash shows whether they belong together.
        write_snapshot(home, NEAREST_KIND, space, listing.paths, listing.vector_keys, listing.coverage)
        _write_lists(home, space, lists, searched, listing.coverage)
        metadata = NearestMetadata(space=space, coverage=listing.coverage, kept=KEPT, **accuracy)
        rows = _write_table(path, listing.paths, lists_of_rows(lists, vectors, groups, KEPT), metadata)
        _answers(home, space).remove_all()
        return NeighboursReport(space, count, rows, compared, how, True, time.monotonic() - started, metadata)


def _search_in_cells(
    home: Home, vectors: np.ndarray, cells: method.CellOptions, progress: Listener | None
) -> CellNeighbours:
    """Return the lists with their reserve by an approximate search."""
    # The blocks of cells are too small for a GPU.
    options = CascadeOptions(memory_bytes=_memory_bytes(home))
    return find_neighbours_in_cells(vectors, KEPT + RESERVE, KEPT, cells, options=options, progress=progress)


def _accuracy(home: Home, vectors: np.ndarray, lists: NeighbourLists, probes: int, cells: int | None) -> dict[str, Any]:
    """Return the metadata that say whether lists are exact, and if not, how many of the true neighbours they have.

    Args:
        home: the home.
        vectors: float32 (n, dim), those of the lists.
        lists: the lists, or lists that were completed from approximate ones.
        probes: number of cells that a vector visited.
        cells: number of cells; None if all vectors were compared with all.
    """
    if cells is None:
        return {}
    recall = recall_of_neighbours(vectors, lists, KEPT, memory_bytes=_memory_bytes(home))
    return {"exact": False, "method": method.METHOD, "probes": probes, "cells": cells} | recall_fields(recall)


def load_neighbours(home: Home, space: str) -> Neighbours:
    """Read the table as arrays.

    Raises:
        TableError: the table is missing.
        StaleTableError: its images are not known.
    """
    path = NEAREST.require(home.warehouse, space)
    metadata = NEAREST.metadata(home.warehouse, space)
    if metadata is None or not snapshot_matches(home, NEAREST_KIND, space, metadata.coverage):
        raise StaleTableError(
            f"What {path} covers is not known", remedy="materialise `nearest_neighbours`, or run `imgret run`"
        )
    paths, _ = read_snapshot(home, NEAREST_KIND, space)
    return Neighbours(paths, *_read_arrays(path, paths, metadata.kept))


def load_neighbours_of_groups(
    home: Home, space: str, listing: Listing, vectors: np.ndarray, groups: RowGroups
) -> Neighbours:
    """Return the nearest neighbours among the first images of groups with equal vectors.

    The lists that the last refresh kept are used. Where they are missing, as after the work folder was emptied, or are
    those of an earlier version, they are searched and written. The caller holds the lock of the graph.

    Args:
        home: the home.
        space: id of the embedding space.
        listing: all images.
        vectors: float32 (g, dim), the vector of each group.
        groups: the groups of all images.

    Returns:
        The paths of the first images, and lists whose rows are groups.

    Raises:
        TableError, StaleTableError: as `load_neighbours`.
    """
    if groups.all_single:
        return load_neighbours(home, space)
    stored = _read_lists(home, space, listing.coverage)
    if stored is not None and np.array_equal(stored[1], groups.first_rows):
        lists = stored[0]
    else:
        metadata = NEAREST.metadata(home.warehouse, space)
        if metadata is not None and metadata.probes is not None and metadata.cells is not None:
            lists = _search_in_cells(home, vectors, method.CellOptions(metadata.probes, metadata.cells), None).lists
        else:
            shards = listing.shard_numbers[groups.first_rows]
            lists = _search(home, space, vectors, shards, None, lambda _: None).lists
        _write_lists(home, space, lists, groups.first_rows, listing.coverage)
        _answers(home, space).remove_all()
    paths = listing.paths.take(groups.first_rows)
    return Neighbours(paths, lists.rows[:, :KEPT].astype(np.int32), lists.scores[:, :KEPT])


def _lists_path(home: Home, space: str) -> Path:
    return home.work / NEAREST_KIND / f"{space}.lists.npz"


def _write_lists(home: Home, space: str, lists: NeighbourLists, images: np.ndarray, coverage: str) -> None:
    """Write the lists with their reserve for the next refresh.

    Args:
        home: the home.
        space: id of the embedding space.
        lists: lists of some images; their row numbers count these images only.
        images: int64, ascending: which of all images these are.
        coverage: of all images.
    """
    arrays = {"rows": lists.rows.astype(np.int32), "scores": lists.scores, "images": images.astype(np.int32)}
    with atomic_files.replacing(_lists_path(home, space)) as temporary, temporary.open("wb") as opened:
        np.savez(opened, **arrays, coverage=np.array(coverage))


def _read_lists(home: Home, space: str, coverage: str) -> tuple[NeighbourLists, np.ndarray] | None:
    """Read the lists of the embeddings with this coverage, and of which images they are; None where there are none."""
    try:
        with np.load(_lists_path(home, space)) as arrays:
            if str(arrays["coverage"]) != coverage:
                return None
            lists = NeighbourLists(arrays["rows"].astype(np.int64), arrays["scores"])
            # Earlier versions kept a list of every image.
            images = arrays["images"].astype(np.int64) if "images" in arrays else np.arange(len(lists.rows))
            return lists, images
    except DAMAGED_ARRAYS:
        return None


def _read_arrays(path: Path, paths: TextColumn, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `rows` and `scores` of `Neighbours`, from a table with at most `kept` neighbours of each image."""
    rows = np.full((len(paths), kept), -1, np.int32)
    scores = np.full((len(paths), kept), -np.inf)
    width = 0
    for batch, images, neighbours in tables.batches_with_places(path, paths, ("path", "neighbour"), _BAND_ROWS):
        ranks = batch["rank"].to_numpy().astype(np.int64) - 1
        width = max(width, int(ranks.max(initial=-1)) + 1)
        rows[images, ranks] = neighbours
        scores[images, ranks] = batch["score"].to_numpy()
    if width < kept:
        rows, scores = rows[:, :width].copy(), scores[:, :width].copy()
    return rows, scores


def _write_table(path: Path, paths: TextColumn, lists: NeighbourLists, metadata: NearestMetadata) -> int:
    """Write the table in bands of images, and return the number of its rows.

    Two paths for each entry of all lists at a time would take many times the memory of the lists.
    """
    names = paths.array
    count, width = lists.rows.shape
    band = max(1, _BAND_ROWS // max(1, width))
    with tables.writer(path, tables.NEAREST_SCHEMA, metadata.as_metadata()) as opened:
        for start in range(0, count if width else 0, band):
            rows, scores = lists.rows[start : start + band], lists.scores[start : start + band]
            images = np.repeat(np.arange(start, start + len(rows)), width)
            ranks = np.tile(np.arange(1, width + 1, dtype=np.int16), len(rows))
            columns = [names.take(pa.array(images)), pa.array(ranks), names.take(pa.array(rows.ravel()))]
            columns.append(pa.array(scores.ravel()))
            opened.write_table(pa.Table.from_arrays(columns, schema=tables.NEAREST_SCHEMA))
    return count * width


def _earlier_lists(
    home: Home, space: str, listing: Listing, searched: np.ndarray, metadata: NearestMetadata | None
) -> tuple[EarlierLists | None, str]:
    """Return what is known of the lists of some images from the earlier ones, and in a line what is searched.

    Args:
        home: the home.
        space: id of the embedding space.
        listing: all images.
        searched: int64, ascending: the images that have lists. Row numbers of the result count these images only.
        metadata: of the earlier table.

    Returns:
        The earlier lists; None where all images are searched.
    """
    if metadata is None or metadata.kept != KEPT:
        return None, "all against all: there is no earlier table"
    stored = _read_lists(home, space, metadata.coverage)
    if stored is None or not snapshot_matches(home, NEAREST_KIND, space, metadata.coverage):
        return None, "all against all: what the earlier table covers is not known"
    lists, listed = stored
    earlier_paths, earlier_keys = read_snapshot(home, NEAREST_KIND, space)
    is_new = ~equal_texts(listing.vector_keys, earlier_keys, earlier_paths.places_of(listing.paths.array))
    earlier_row = earlier_paths.take(listed).places_of(listing.paths.take(searched).array)
    is_known = earlier_row >= 0
    new_rows = np.flatnonzero(~is_known | is_new[searched])
    if 2 * len(new_rows) > len(searched):
        return None, f"all against all: {len(new_rows):,} of {len(searched):,} images are new"
    # Present row of each earlier row; the last entry is for row number -1.
    present_row = np.full(len(listed) + 1, -1, np.int64)
    present_row[earlier_row[is_known]] = np.flatnonzero(is_known)
    rows = np.where(is_known[:, np.newaxis], present_row[lists.rows[earlier_row]], -1)
    scores = np.where(is_known[:, np.newaxis], lists.scores[earlier_row], -np.inf)
    removed = int((listing.paths.places_of(earlier_paths.array) < 0).sum())
    return EarlierLists(rows, scores, new_rows), (
        f"{counted(int(is_new.sum()), 'new or changed image')} and those that lost a neighbour against all "
        f"{len(listing.paths):,}; {removed:,} removed"
    )


def _search(
    home: Home,
    space: str,
    vectors: np.ndarray,
    shards: np.ndarray,
    earlier: EarlierLists | None,
    progress: Listener,
    cluster: RayCluster | None = None,
) -> UpdatedLists:
    """Return the lists with their reserve, by the faster of two exact searches."""
    if len(vectors) <= BRUTE_FORCE_ROWS or home.settings.pair_search == "brute_force":
        return _search_by_brute_force(home, vectors, earlier, progress)
    options = CascadeOptions(
        memory_bytes=_memory_bytes(home),
        # The nodes of a cluster compare on their CPUs.
        device=home.settings.device if cluster is None else "cpu",
        on_cluster=cluster is not None,
        projections=projections_path(home.work / NEAREST_KIND, space),
    )
    search = NearestSearch(vectors, KEPT + RESERVE, required=KEPT, earlier=earlier, shards=shards, options=options)
    compute = (
        ComputeHere(search.answer) if cluster is None else search.compute_on(cluster, home.work / NEAREST_KIND / space)
    )
    return _search_by_cascade(search, _answers(home, space), compute, progress)


def _answers(home: Home, space: str) -> AnswerFiles:
    return AnswerFiles(home.work / NEAREST_KIND / space)


def _memory_bytes(home: Home) -> int:
    return int(home.settings.memory_gb * 2**30)


def _search_by_brute_force(
    home: Home, vectors: np.ndarray, earlier: EarlierLists | None, progress: Listener
) -> UpdatedLists:
    count, started = len(vectors), time.monotonic()

    def show(share: float) -> None:
        progress(Progress("images", round(count * share), count, time.monotonic() - started))

    memory_bytes = _memory_bytes(home)
    if earlier is not None:
        return update_neighbours(vectors, KEPT + RESERVE, KEPT, earlier, memory_bytes=memory_bytes, progress=show)
    lists = nearest_neighbours(vectors, KEPT + RESERVE, memory_bytes=memory_bytes, progress=show)
    return UpdatedLists(lists, count * (count - 1) // 2)


def _search_by_cascade(
    search: NearestSearch, answers: AnswerFiles, compute: Compute, progress: Listener
) -> UpdatedLists:
    started, done, done_before = time.monotonic(), 0, 0
    for wave in search.waves():
        # Closed at once after an error or an interrupt, so that pieces that are at work elsewhere end.
        with closing(solve(wave, answers, compute)) as solved:
            for piece, answer, was_finished in solved:
                search.add(piece, answer)
                done += 1
                if was_finished:
                    done_before, started = done, time.monotonic()
                    continue
                compared, to_compare = (
                    search.pair_count * (pieces - done_before) // search.piece_count
                    for pieces in (done, search.piece_count)
                )
                progress(Progress("pairs", compared, to_compare, time.monotonic() - started))
    return UpdatedLists(search.result(), search.pair_count)

"""All pairs of vectors whose score is above a threshold: exact, resumable, bounded in number.

Belongs here: the choice between brute force and the cascade, the cap on neighbours, the limit on pairs, going on after
a killed run. Not here: the two searches (`domain.similarity.brute_force`, `domain.similarity.cascade`), the pairs table
and what has changed since it was made (`domain.similarity.pairs_table`).

Of rows with equal vectors one is searched (`domain.similarity.equal_vectors`); the pairs of the others follow from its.

Both searches return the same pairs with the same scores, to the last bit: in both a pair is in if its exact score
(`domain.numerics.exact_scores.cosines`) is greater than the threshold. So the choice between them is only one of time.
"""

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imgret_assets.domain.cluster.ray_cluster import RayCluster
from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.similarity.approximate import method
from imgret_assets.domain.similarity.approximate.searches import search_pairs_in_cells
from imgret_assets.domain.similarity.brute_force import blocks_of_pairs, pairs_above
from imgret_assets.domain.similarity.cascade import CascadeOptions, PairSearch
from imgret_assets.domain.similarity.equal_vectors import group_equal_rows, keep_first_rows
from imgret_assets.domain.similarity.group_pairs import GroupPairs, group_pairs
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, among_best_neighbours, merge_pairs, too_many_pairs
from imgret_assets.domain.similarity.pieces.answers import AnswerFiles
from imgret_assets.domain.similarity.pieces.computing import Compute, ComputeHere, solve
from imgret_assets.errors import TooManyPairsError
from imgret_assets.settings import DEFAULT_PROBES

# Up to so many pairs brute force takes a second or so: less than loading the cascade's compiled loops.
BRUTE_FORCE_PAIRS = 30_000_000
# A cascade that knows most vectors from an earlier search is worth loading from fewer pairs on.
_BRUTE_FORCE_PAIRS_OF_SOME_ROWS = 16
_SAMPLE_ROWS = 2048


@dataclass(frozen=True)
class SearchOptions:
    """What a search may return and use.

    Attributes:
        max_pairs: more pairs than this are an error, before they fill memory and disk.
        max_neighbours: keep a pair only if it is among the best so many of one of its two images; None keeps all.
        memory_bytes: bound on what a search holds in addition to the vectors.
        device: value of IMGRET_DEVICE: `auto`, `cpu`, `cuda`, `mps`. Only `cuda` and `auto` may use a GPU.
        algorithm: value of IMGRET_PAIR_SEARCH: `cascade`, `brute_force` to compare every pair in full, or `approximate`
            to compare only pairs that share a cell, where all of many rows are compared.
        probes: number of cells that a row visits in an approximate search.
        projections: file with what the cascade has computed of each vector, for a later search of some rows.
        cluster: where the cascade compares; None for this process. A search that keeps answers can use one.
    """

    max_pairs: int = 50_000_000
    max_neighbours: int | None = None
    memory_bytes: int = 2 << 30
    device: str = "cpu"
    algorithm: str = "cascade"
    probes: int = DEFAULT_PROBES
    projections: Path | None = None
    cluster: RayCluster | None = None


@dataclass(frozen=True)
class SearchResult:
    """The pairs of a search.

    Attributes:
        pairs: the pairs.
        left_out: number of pairs that the cap on neighbours left out.
        algorithm: how they were found, in a few words.
        compared: number of pairs that were compared, of rows with equal vectors only one.
        cells: number of cells of an approximate search, which may have missed pairs; None for an exact one.
    """

    pairs: ScoredPairs
    left_out: int
    algorithm: str
    compared: int
    cells: int | None = None


def search_pairs(
    vectors: np.ndarray,
    threshold: float,
    *,
    rows: np.ndarray | None = None,
    shards: np.ndarray | None = None,
    options: SearchOptions | None = None,
    answers: AnswerFiles | None = None,
    progress: Listener | None = None,
    may_overwrite: bool = False,
) -> SearchResult:
    """Return all pairs whose score is greater than the threshold, by the faster of two exact searches.

    Only where `options` say so, and all of many rows are compared, is the search approximate: pairs may be missing.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm.
        threshold: a cosine in [-1, 1].
        rows: int64, ascending: only pairs with at least one of these rows; all pairs where None.
        shards: int (n,), the number of each row's shard; None if all are in one.
        options: limits, memory, device and algorithm.
        answers: answers of finished pieces, which a later call uses if this one is killed, whatever else has changed;
            None keeps none. The caller removes them once the pairs are safe. Brute force keeps no answers.
        progress: called with the number of pairs that have been compared.
        may_overwrite: `vectors` may be overwritten, so that no copy is made of those that are searched.

    Raises:
        TableError: a row is zero or not finite.
        TooManyPairsError: there are more pairs than `options` allow.
    """
    options = options or SearchOptions()
    progress = progress or (lambda _: None)
    is_chosen = None
    if rows is not None:
        is_chosen = np.zeros(len(vectors), bool)
        is_chosen[rows] = True
    # Pairs of a row that is chosen are others than those of an equal one that is not.
    groups = group_equal_rows(vectors, is_chosen)
    if not groups.all_single:
        vectors = keep_first_rows(vectors, groups) if may_overwrite else vectors[groups.first_rows]
        shards = None if shards is None else shards[groups.first_rows]
        rows = None if is_chosen is None else np.flatnonzero(is_chosen[groups.first_rows])
    count = len(vectors)
    to_compare = _pair_count(count if rows is None else len(rows), count)
    collector = PairCollector(group_pairs(groups, vectors, threshold, rows), options, to_compare)
    most = BRUTE_FORCE_PAIRS
    if _pair_count(count, count) > most:
        most //= _BRUTE_FORCE_PAIRS_OF_SOME_ROWS
    if options.max_neighbours is None and to_compare > most:
        _refuse_dense(vectors, threshold, to_compare, options)
    if rows is None and method.is_approximate(options.algorithm, count):
        return _search_in_cells(vectors, threshold, options, collector, progress)
    if to_compare <= most or options.algorithm == "brute_force":
        return _search_by_brute_force(vectors, threshold, rows, collector, progress)
    cascade_options = CascadeOptions(
        memory_bytes=options.memory_bytes,
        # The nodes of a cluster compare on their CPUs.
        device=options.device if options.cluster is None else "cpu",
        projections=options.projections,
        on_cluster=options.cluster is not None,
    )
    search = PairSearch(
        vectors,
        threshold,
        rows=rows,
        shards=shards,
        options=cascade_options,
        max_neighbours=options.max_neighbours,
        sizes=None if groups.all_single else groups.sizes,
    )
    answers = answers or AnswerFiles(None)
    compute = ComputeHere(search.answer)
    if options.cluster is not None and answers.folder is not None:
        limit = options.max_pairs if options.max_neighbours is None else None
        compute = search.compute_on(options.cluster, answers.folder, max_pairs=limit)
    return _search_by_cascade(search, collector, answers, compute, progress)


def _pair_count(row_count: int, count: int) -> int:
    """Return the number of pairs of `count` rows with at least one of `row_count` of them."""
    return row_count * count - row_count * (row_count + 1) // 2


class PairCollector:
    """The pairs of what has been compared, under the cap on neighbours and the limit on pairs.

    Args:
        grouped: what the pairs stand for.
        options: the cap and the limit.
        to_compare: number of pairs that are compared in all.

    Raises:
        TooManyPairsError: rows with equal vectors alone are more pairs than the limit.
    """

    def __init__(self, grouped: GroupPairs, options: SearchOptions, to_compare: int) -> None:
        self._grouped = grouped
        self._options = options
        self._to_compare = to_compare
        self._parts: list[ScoredPairs] = []
        self._row_pair_count = grouped.own_pair_count
        self._pair_count = 0
        self._pair_count_after_cap = 0
        if options.max_neighbours is None:
            self._require_limit(self._row_pair_count, 1.0)

    def add(self, pairs: ScoredPairs, share_done: float, left_out: int = 0) -> None:
        """Add pairs.

        Args:
            pairs: some pairs.
            share_done: the share of all pairs that have been compared with them.
            left_out: number of pairs of rows that the cap has left out already.

        Raises:
            TooManyPairsError: there are more pairs than the limit.
        """
        self._parts.append(pairs)
        self._pair_count += len(pairs)
        self._row_pair_count += self._grouped.row_pair_count(pairs) + left_out
        cap = self._options.max_neighbours
        # A pair that is not among the best of either row now can't be among them later.
        if cap is not None and self._pair_count > max(1.5 * self._pair_count_after_cap, 2_000_000):
            self._apply_cap(cap)
        self._require_limit(self._row_pair_count if cap is None else self._pair_count, share_done)

    def _require_limit(self, pair_count: int, share_done: float) -> None:
        if pair_count > self._options.max_pairs:
            raise _too_many_pairs(int(pair_count / max(share_done, 1e-9)), self._options)

    def _apply_cap(self, max_neighbours: int) -> ScoredPairs:
        pairs = merge_pairs(self._parts)
        # Before they are ranked: the parts take as much memory as the merged pairs.
        self._parts = []
        kept = pairs.where(among_best_neighbours(pairs, len(self._grouped.groups), max_neighbours))
        self._parts, self._pair_count, self._pair_count_after_cap = [kept], len(kept), len(kept)
        return kept

    def result(self, algorithm: str) -> SearchResult:
        """Return all pairs that were kept.

        Raises:
            TooManyPairsError: there are more pairs than the limit.
        """
        cap = self._options.max_neighbours
        if cap is None:
            pairs = self._grouped.row_pairs(self._parts.pop() for _ in range(len(self._parts)))
        else:
            pairs = self._apply_cap(cap)
            if not self._grouped.groups.all_single:
                pairs = self._grouped.best_row_pairs(pairs, cap)
                self._require_limit(len(pairs), 1.0)
        return SearchResult(pairs, self._row_pair_count - len(pairs), algorithm, self._to_compare)


def _too_many_pairs(expected: int, options: SearchOptions) -> TooManyPairsError:
    return too_many_pairs(f"About {expected:,} pairs are above the threshold", options.max_pairs)


def _search_by_brute_force(
    vectors: np.ndarray,
    threshold: float,
    rows: np.ndarray | None,
    collector: PairCollector,
    progress: Listener,
) -> SearchResult:
    to_compare = _pair_count(len(vectors) if rows is None else len(rows), len(vectors))
    started = time.monotonic()
    for pairs, share_done in blocks_of_pairs(vectors, threshold, rows=rows):
        collector.add(pairs, share_done)
        progress(Progress("pairs", round(to_compare * share_done), to_compare, time.monotonic() - started))
    return collector.result("brute force")


def _search_by_cascade(
    search: PairSearch, collector: PairCollector, answers: AnswerFiles, compute: Compute, progress: Listener
) -> SearchResult:
    total = max(1, sum(piece.size for piece in search.pieces))
    done = done_before = 0
    started = time.monotonic()
    # Closed at once after an error or an interrupt, so that pieces that are at work elsewhere end.
    with closing(solve(search.pieces, answers, compute)) as solved:
        for piece, answer, was_finished in solved:
            done += piece.size
            collector.add(search.pairs(piece, answer), done / total, answer.left_out)
            if was_finished:
                done_before, started = done, time.monotonic()
                continue
            compared, to_compare = (round(search.pair_count * (size - done_before) / total) for size in (done, total))
            progress(Progress("pairs", compared, to_compare, time.monotonic() - started))
    widths = "+".join(map(str, search.plan.widths))
    return collector.result(f"cascade of {widths} of {search.dim} coordinates")


def _search_in_cells(
    vectors: np.ndarray, threshold: float, options: SearchOptions, collector: PairCollector, progress: Listener
) -> SearchResult:
    cells = method.CellOptions(options.probes)
    # The blocks of cells are too small for a GPU.
    compared_by = CascadeOptions(memory_bytes=options.memory_bytes)
    found = search_pairs_in_cells(vectors, threshold, cells, options=compared_by, progress=progress)
    for pairs, share_done in found.parts(progress):
        collector.add(pairs, share_done)
    result = collector.result(f"approximate: {options.probes} of {found.cells:,} cells")
    return replace(result, compared=found.search.pair_count, cells=found.cells)


def _refuse_dense(vectors: np.ndarray, threshold: float, to_compare: int, options: SearchOptions) -> None:
    """Stop before hours of work where a sample shows that there are far too many pairs.

    Raises:
        TooManyPairsError: the sample's share of pairs, applied to all, is more than twice the limit.
    """
    if to_compare <= 2 * options.max_pairs:
        return
    rng = np.random.default_rng(2048)
    sampled = rng.choice(len(vectors), min(_SAMPLE_ROWS, len(vectors)), replace=False)
    sample = np.ascontiguousarray(vectors[np.sort(sampled)])
    share = len(pairs_above(sample, threshold)) / max(1, _pair_count(len(sample), len(sample)))
    expected = int(share * to_compare)
    if expected > 2 * options.max_pairs:
        raise _too_many_pairs(expected, options)

"""Approximate pairs and neighbours beside the exact ones: processor time, and how many are found.

Belongs here: the sets of vectors, the probes, the recall against all pairs. Not here: the recall that imgret itself
measures by a sample (`domain.similarity.approximate.recall`).
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.pairs import NEIGHBOURS, mixtures, real_vectors
from bench.report import Measure, Report
from imgret_assets.domain.similarity.approximate.method import CellOptions
from imgret_assets.domain.similarity.approximate.searches import find_neighbours_in_cells, search_pairs_in_cells
from imgret_assets.domain.similarity.cascade import NearestSearch, PairSearch
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, merge_pairs

_PROBES = (4, 16, 32, 64)
# Mixtures are grown so many at a time: on the way they take eight times the memory.
_PART = 20_000


def run(report: Report, sources: Sequence[Path], work: Path, *, say: Callable[[str], None]) -> None:
    """Measure and add to the report."""
    real = real_vectors(sources, work)
    _warm(real)
    _pairs(report, "photos and parts of them", real, 0.8, say)
    _pairs(report, "mixtures", mixtures(real, 40_000, 1280), 0.8, say)
    many = np.concatenate([mixtures(real, _PART, 1280, seed=seed) for seed in range(100_000 // _PART)])
    _pairs(report, "mixtures", many, 0.9, say)
    _neighbours(report, many, say)


def _warm(vectors: np.ndarray) -> None:
    """Load the compiled loops and FAISS."""
    list(search_pairs_in_cells(vectors, 0.9, CellOptions(2)).parts())
    find_neighbours_in_cells(vectors, NEIGHBOURS, NEIGHBOURS, CellOptions(2))
    _exact_pairs(vectors, 0.9)


def _exact_pairs(vectors: np.ndarray, threshold: float) -> ScoredPairs:
    search = PairSearch(vectors, threshold)
    return merge_pairs(search.pairs(piece, search.answer(piece)) for piece in search.pieces)


def _pairs(report: Report, title: str, vectors: np.ndarray, threshold: float, say: Callable[[str], None]) -> None:
    title = f"pairs of {len(vectors):,} {title} above {threshold:g}"
    started = time.process_time()
    exact = _exact_pairs(vectors, threshold)
    _add(report, f"{title}, exact", time.process_time() - started, None, say)
    keys = exact.a.astype(np.int64) << 32 | exact.b
    for probes in _PROBES:
        started = time.process_time()
        search = search_pairs_in_cells(vectors, threshold, CellOptions(probes))
        found = merge_pairs(pairs for pairs, _ in search.parts())
        seconds = time.process_time() - started
        place = np.searchsorted(keys, found.a.astype(np.int64) << 32 | found.b)
        assert np.array_equal(exact.scores[place], found.scores), "a score differs from the exact one"
        recall = len(found) / max(1, len(exact))
        _add(report, f"{title}, {min(probes, search.cells)} of {search.cells} cells", seconds, recall, say)


def _neighbours(report: Report, vectors: np.ndarray, say: Callable[[str], None]) -> None:
    title = f"nearest {NEIGHBOURS} of {len(vectors):,} mixtures"
    started = time.process_time()
    search = NearestSearch(vectors, NEIGHBOURS)
    for wave in search.waves():
        for piece in wave:
            search.add(piece, search.answer(piece))
    exact = search.result()
    _add(report, f"{title}, exact", time.process_time() - started, None, say)
    for probes in _PROBES:
        started = time.process_time()
        found = find_neighbours_in_cells(vectors, NEIGHBOURS, NEIGHBOURS, CellOptions(probes))
        seconds = time.process_time() - started
        recall = float((found.lists.scores >= exact.scores[:, -1:]).mean())
        _add(report, f"{title}, {probes} of {found.cells} cells", seconds, recall, say)


def _add(report: Report, title: str, seconds: float, recall: float | None, say: Callable[[str], None]) -> None:
    say(f"  {title}: {seconds:.1f} s of processor time" + ("" if recall is None else f", recall {recall:.4f}"))
    report.measures.append(Measure(f"{title}: processor time", seconds, unit="s"))
    if recall is not None:
        report.measures.append(Measure(f"{title}: recall", recall))

"""The gain of re-ranking, measured on labelled images by cross-validation.

Belongs here: precision with and without re-ranking. Not here: re-ranking itself (`domain.similarity.query_expansion`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.similarity.brute_force import nearest_neighbours
from imgret_assets.domain.similarity.query_expansion import (
    RANKING_NEIGHBOURS,
    averaged_norms,
    averaging_weights,
    rerank,
)

FOLDS = 10
_SEED = 20261122


@dataclass(frozen=True)
class Gain:
    """Ranking measures with and without re-ranking, for query images that are not in the searched collection.

    Attributes:
        first, first_reranked: share of query images whose first hit has their label.
        average, average_reranked: mean average precision of the query images.
        queries: number of query images.
    """

    first: float
    first_reranked: float
    average: float
    average_reranked: float
    queries: int

    @property
    def helps(self) -> bool:
        """True if re-ranking gains more than chance: a hundredth in mAP, and no loss in P@1."""
        return self.average_reranked >= self.average + 0.01 and self.first_reranked >= self.first


def measure_gain(
    vectors: np.ndarray, contents: Sequence[str], labels: Sequence[str | None], *, folds: int = FOLDS
) -> Gain | None:
    """Search for the labelled images of each fold among the images outside it, with and without re-ranking.

    Args:
        vectors: float32 (n, dim), finite, no zero rows.
        contents: content of each row; exact duplicates are in one fold, so that no image is found by its duplicate.
        labels: label of each row; None or empty if unknown.
        folds: number of parts of about equal size, the same for the same contents.

    Returns:
        None if there are no labels or too few images.
    """
    names = sorted(set(contents))
    if len(names) < 2 * folds:
        return None
    fold_of = dict(zip(names, np.random.default_rng(_SEED).permutation(len(names)) % folds, strict=True))
    fold = np.array([fold_of[name] for name in contents])
    unit = unit_rows(vectors)
    label = np.array([name or "" for name in labels])
    measures: list[tuple[float, float, float, float]] = []
    for number, (searched, rows, scores) in enumerate(_nearest_outside_each_fold(vectors, fold, folds)):
        weights = averaging_weights(rows, scores)
        searched_unit, searched_label = unit[searched], label[searched]
        norms = averaged_norms(searched_unit, rows, weights)
        for query in np.flatnonzero((fold == number) & (label != "")).tolist():
            relevant = searched_label == label[query]
            if not relevant.any():
                continue
            order, plain, _ = rerank(searched_unit, vectors[query], rows, weights, norms)
            plain_hits = relevant[np.argsort(-plain, kind="stable")]
            reranked_hits = relevant[order]
            measures.append(
                (
                    float(plain_hits[0]),
                    float(reranked_hits[0]),
                    _average_precision(plain_hits),
                    _average_precision(reranked_hits),
                )
            )
    if not measures:
        return None
    return Gain(*(float(value) for value in np.mean(measures, axis=0)), queries=len(measures))


def _nearest_outside_each_fold(
    vectors: np.ndarray, fold: np.ndarray, folds: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield for each fold the rows outside it, and their nearest neighbours among themselves, rows and scores.

    One search of all rows gives twice as many neighbours as are needed. Of these, the ones outside a fold are the
    nearest outside it. Only if a fold takes too many neighbours of a row, the rows outside it are searched again.
    """
    rows, scores = nearest_neighbours(vectors, 2 * RANKING_NEIGHBOURS)
    for number in range(folds):
        outside = np.flatnonzero(fold != number)
        place = np.full(len(vectors), -1, np.int64)
        place[outside] = np.arange(len(outside))
        remains = fold[rows[outside]] != number
        width = max(0, min(RANKING_NEIGHBOURS, len(outside) - 1))
        if (remains.sum(axis=1) < width).any():
            lists = nearest_neighbours(vectors[outside], RANKING_NEIGHBOURS)
            yield outside, lists.rows, lists.scores
            continue
        # A stable sort moves the remaining neighbours to the front in their order.
        order = np.argsort(~remains, axis=1, kind="stable")[:, :width]
        yield (
            outside,
            place[np.take_along_axis(rows[outside], order, axis=1)],
            np.take_along_axis(scores[outside], order, axis=1),
        )


def _average_precision(hits: np.ndarray) -> float:
    """Return the average precision of hits in rank order: bool (n,), True if relevant; at least one is."""
    places = np.flatnonzero(hits)
    return float(np.mean(np.arange(1, len(places) + 1) / (places + 1)))

"""Measure what re-ranking gains on labelled images.

Belongs here: cross-validated average precision. Not here: re-ranking itself (`domain.similarity.query_expansion`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.domain.similarity.query_expansion import OVER, averaged_norms, averaging_weights, rerank

FOLDS = 10
_SEED = 20261122


@dataclass(frozen=True)
class Gain:
    """Ranking measures of queries that are not in the collection they are asked of, plain and ranked again.

    `first`, `first_reranked`: share of queries whose first answer has their label; `average`, `average_reranked`:
    their mean average precision; `queries`: how many there were.
    """

    first: float
    first_reranked: float
    average: float
    average_reranked: float
    queries: int

    @property
    def helps(self) -> bool:
        """True where more is gained than by chance: a hundredth in mAP, and nothing lost in P@1."""
        return self.average_reranked >= self.average + 0.01 and self.first_reranked >= self.first


def measure_gain(
    vectors: np.ndarray, contents: Sequence[str], labels: Sequence[str | None], *, folds: int = FOLDS
) -> Gain | None:
    """Ask with the labelled images of each fold what the others look like, plain and ranked again.

    Args:
        vectors: float32 (n, dim), finite, no zero rows.
        contents: of each row; copies are in one fold, so that none is asked for itself.
        labels: of each row; None where it is not known.
        folds: parts of about equal size, the same for the same contents.

    Returns:
        None where there are no labels or too few images.
    """
    names = sorted(set(contents))
    if len(names) < 2 * folds:
        return None
    dealt = dict(zip(names, np.random.default_rng(_SEED).permutation(len(names)) % folds, strict=True))
    fold = np.array([dealt[name] for name in contents])
    unit = unit_rows(vectors)
    label = np.array([name or "" for name in labels])
    asked: list[tuple[float, float, float, float]] = []
    for number, (inside, rows, scores) in enumerate(_nearest_without_each_fold(vectors, fold, folds)):
        weights = averaging_weights(rows, scores)
        held, theirs = unit[inside], label[inside]
        norms = averaged_norms(held, rows, weights)
        for query in np.flatnonzero((fold == number) & (label != "")).tolist():
            right = theirs == label[query]
            if not right.any():
                continue
            order, plain, _ = rerank(held, vectors[query], rows, weights, norms)
            before = right[np.argsort(-plain, kind="stable")]
            after = right[order]
            asked.append((float(before[0]), float(after[0]), _average_precision(before), _average_precision(after)))
    if not asked:
        return None
    return Gain(*(float(value) for value in np.mean(asked, axis=0)), queries=len(asked))


def _nearest_without_each_fold(
    vectors: np.ndarray, fold: np.ndarray, folds: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each fold the rows outside it, and their `OVER` nearest among themselves with cosines, as `plain_nearest`.

    All rows are searched once, for more neighbours than are wanted: those outside a fold stay the nearest outside it.
    A fold that takes too many of some row's is searched anew.
    """
    from imgret_assets.domain.similarity.brute_force import plain_nearest

    rows, scores = plain_nearest(vectors, OVER + OVER)
    for number in range(folds):
        inside = np.flatnonzero(fold != number)
        place = np.full(len(vectors), -1, np.int64)
        place[inside] = np.arange(len(inside))
        kept = fold[rows[inside]] != number
        width = max(0, min(OVER, len(inside) - 1))
        if (kept.sum(axis=1) < width).any():
            yield inside, *plain_nearest(vectors[inside], OVER)
            continue
        # Stable: those that stay keep their order.
        order = np.argsort(~kept, axis=1, kind="stable")[:, :width]
        yield (
            inside,
            place[np.take_along_axis(rows[inside], order, axis=1)],
            np.take_along_axis(scores[inside], order, axis=1),
        )


def _average_precision(right: np.ndarray) -> float:
    places = np.flatnonzero(right)
    return float(np.mean(np.arange(1, len(places) + 1) / (places + 1)))

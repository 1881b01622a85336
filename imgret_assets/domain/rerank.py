"""Ranking all images again with the help of their nearest neighbours.

Belongs here: the arithmetic, and whether it helps where labels are known. Not here: nearest neighbours
(`domain.neighbours`), answering a query (`domain.search`).

Query and images are replaced by weighted means of themselves and their nearest: query expansion and database-side
augmentation (Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012;
Radenovic, Tolias and Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2018). No second set of
vectors is kept: with W the sparse table of nearest neighbours, its diagonal 1, the averaged images are W X, and their
cosines with a query q are (W (X q)) / (|W X| |q|), row by row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.unit_rows import unit_rows

OVER = 10
FOLDS = 10
_SEED = 20261122
_BLOCK_ROWS = 4096


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


def averaging_weights(rows: np.ndarray, scores: np.ndarray, over: int = OVER) -> np.ndarray:
    """What each of a row's nearest counts in its mean, float64 (n, min(over, k)): its cosine, 0 where negative."""
    return np.where(rows[:, :over] >= 0, np.maximum(scores[:, :over], 0.0), 0.0)


def averaged_norms(unit: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Length of each row's weighted mean, float64 (n,); kept, so that a query needs no averaged vectors.

    Args:
        unit: float32 (n, dim), unit rows.
        rows: int (n, k), neighbours; -1 where there are no more.
        weights: float64 (n, w), w <= k, of `averaging_weights`.
    """
    found = np.empty(len(unit))
    for start in range(0, len(unit), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        mean = unit[part].astype(np.float64)
        for column in range(weights.shape[1]):
            mean += weights[part, column, np.newaxis] * unit[np.maximum(rows[part, column], 0)]
        found[part] = np.linalg.norm(mean, axis=1)
    return found


def rerank(
    unit: np.ndarray,
    query: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    norms: np.ndarray,
    *,
    over: int = OVER,
    allowed: np.ndarray | None = None,
    limit: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank all images for a query by averaging on both sides; the plain first hit stays first.

    So the first answer is never worse than the plain one, and the averaging decides about the rest. It hurts families
    of three to five images, whose ten nearest are mostly others.

    Args:
        unit: float32 (n, dim), unit rows.
        query: float (dim,), any norm but zero.
        rows: int (n, k), nearest neighbours of each row; -1 where there are no more.
        weights: float64 (n, w), of `averaging_weights`.
        norms: float64 (n,), of `averaged_norms`.
        over: how many nearest images the query is averaged with.
        allowed: bool (n,), the rows that may answer, or be averaged with the query; all where None.
        limit: rows wanted at most; all that are allowed where None.

    Returns:
        order int64 (m,): the allowed rows, best first, ties by lower row; plain float64 (n,): cosine of each row with
        the query; rank_scores float64 (n,): cosine of the averaged row with the averaged query.
    """
    wanted = np.asarray(query, np.float64)
    wanted = wanted / np.linalg.norm(wanted)
    plain = (unit @ wanted.astype(np.float32)).astype(np.float64)
    answers = np.arange(len(unit)) if allowed is None else np.flatnonzero(allowed)
    nearest = answers[_best(plain[answers], over)]
    mean = wanted + np.maximum(plain[nearest], 0.0) @ unit[nearest].astype(np.float64)
    mean /= np.linalg.norm(mean)
    smooth = (unit @ mean.astype(np.float32)).astype(np.float64)
    held = rows[:, : weights.shape[1]]
    summed = smooth + np.einsum("ij,ij->i", weights, smooth[np.maximum(held, 0)])
    rank_scores = summed / norms
    order = answers[_best(rank_scores[answers], len(answers) if limit is None else limit)]
    if len(nearest):
        order = np.concatenate([nearest[:1], order[order != nearest[0]]])[:limit]
    return order, plain, rank_scores


def _best(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the greatest values, greatest first, ties by lower place; sorting only what is wanted."""
    if count >= len(values):
        return np.argsort(-values, kind="stable")
    least = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > least)
    places = np.union1d(above, np.flatnonzero(values == least)[: count - len(above)])
    return places[np.argsort(-values[places], kind="stable")]


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
    from imgret_assets.domain.nearest_plain import plain_nearest

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

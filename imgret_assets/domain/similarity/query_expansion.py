"""Ranking all images again with the help of their nearest neighbours.

Belongs here: the arithmetic, and whether it helps where labels are known. Not here: nearest neighbours
(`domain.similarity.neighbours_table`), answering a query (`domain.search.find_similar`).

Query and images are replaced by weighted means of themselves and their nearest: query expansion and database-side
augmentation (Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012;
Radenovic, Tolias and Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2018). No second set of
vectors is kept: with W the sparse table of nearest neighbours, its diagonal 1, the averaged images are W X, and their
cosines with a query q are (W (X q)) / (|W X| |q|), row by row.
"""

import numpy as np

from imgret_assets.domain.numerics.vectors import unit_rows

OVER = 10
_BLOCK_ROWS = 4096


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


AVERAGED_OVER = 5
_BLOCK_ROWS = 4096


def averaged(unit: np.ndarray, neighbours: np.ndarray, scores: np.ndarray, over: int = AVERAGED_OVER) -> np.ndarray:
    """Directions of each row with its nearest neighbours added, each by its cosine (0 where that is negative).

    Args:
        unit: float32 (n, dim), unit rows.
        neighbours: int (n, k), rows, nearest first; -1 where there are no more.
        scores: float64 (n, k), their cosines.
        over: how many of them are added.
    """
    rows = neighbours[:, :over]
    weights = np.where(rows >= 0, np.maximum(scores[:, :over], 0.0), 0.0).astype(np.float32)
    found = unit.copy()
    for start in range(0, len(unit), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        for column in range(rows.shape[1]):
            found[part] += weights[part, column, np.newaxis] * unit[np.maximum(rows[part, column], 0)]
    return unit_rows(found)

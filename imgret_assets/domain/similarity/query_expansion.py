"""Averages of vectors with their nearest neighbours, and rankings by them.

Belongs here: the average of a row and its neighbours, ranking images for a query by it. Not here: nearest neighbours
(`domain.similarity.neighbours_table`), whether re-ranking helps where labels are known (`domain.analysis.rerank_gain`),
grouping by averaged vectors (`domain.analysis.clustering`), answering a query (`domain.search.find_similar`).

Query and images are replaced by weighted means of themselves and their nearest neighbours: query expansion and
database-side augmentation (Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval",
CVPR 2012; Radenovic, Tolias and Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2018). No
second set of vectors is stored. With W the sparse matrix of neighbour weights, its diagonal 1, the averaged images are
W X, and their cosines with a query q are (W (X q)) / (|W X| |q|), row by row.
"""

from collections.abc import Iterator

import numpy as np

from imgret_assets.domain.numerics.vectors import unit_rows

# Neighbours that an image is averaged with to rank it, and that a query is averaged with.
RANKING_NEIGHBOURS = 10
# Neighbours that an image is averaged with to group it.
GROUPING_NEIGHBOURS = 5
_BLOCK_ROWS = 4096


def averaging_weights(rows: np.ndarray, scores: np.ndarray, neighbour_count: int = RANKING_NEIGHBOURS) -> np.ndarray:
    """Return the weight of each neighbour in a row's average: its score, 0 where that is negative.

    Args:
        rows: int (n, k), neighbours of each row, nearest first; -1 after the last one.
        scores: float64 (n, k), their scores.
        neighbour_count: number of neighbours to average with.

    Returns:
        float64 (n, min(neighbour_count, k)).
    """
    return np.where(rows[:, :neighbour_count] >= 0, np.maximum(scores[:, :neighbour_count], 0.0), 0.0)


def weighted_sums(unit: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the sum of each row and its weighted neighbours, block by block.

    Args:
        unit: float32 (n, dim), unit rows.
        rows: int (n, k), neighbours of each row; -1 after the last one.
        weights: float (n, w), w <= k, of `averaging_weights`. Its dtype is that of the sums.

    Yields:
        A slice of rows, and their sums (len(slice), dim).
    """
    for start in range(0, len(unit), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        sums = unit[part].astype(weights.dtype)
        for column in range(weights.shape[1]):
            sums += weights[part, column, np.newaxis] * unit[np.maximum(rows[part, column], 0)]
        yield part, sums


def averaged_norms(unit: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the length of each row's weighted sum, float64 (n,); with it a query needs no averaged vectors.

    Args:
        unit: float32 (n, dim), unit rows.
        rows: int (n, k), neighbours of each row; -1 after the last one.
        weights: float64 (n, w), w <= k, of `averaging_weights`.
    """
    norms = np.empty(len(unit))
    for part, sums in weighted_sums(unit, rows, weights):
        norms[part] = np.linalg.norm(sums, axis=1)
    return norms


def averaged_rows(
    unit: np.ndarray, rows: np.ndarray, scores: np.ndarray, neighbour_count: int = GROUPING_NEIGHBOURS
) -> np.ndarray:
    """Return each row averaged with its nearest neighbours, as unit rows float32 (n, dim).

    Args:
        unit: float32 (n, dim), unit rows.
        rows: int (n, k), neighbours of each row, nearest first; -1 after the last one.
        scores: float64 (n, k), their scores.
        neighbour_count: number of neighbours to average with.
    """
    weights = averaging_weights(rows, scores, neighbour_count).astype(np.float32)
    averaged = np.empty_like(unit)
    for part, sums in weighted_sums(unit, rows, weights):
        averaged[part] = sums
    return unit_rows(averaged)


def rerank(
    unit: np.ndarray,
    query: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    norms: np.ndarray,
    *,
    neighbour_count: int = RANKING_NEIGHBOURS,
    allowed: np.ndarray | None = None,
    limit: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank images for a query by averages on both sides; the first hit of the plain ranking stays first.

    So the first hit is never worse than without re-ranking. Averaging hurts families of three to five images, whose ten
    nearest neighbours are mostly images of other families.

    Args:
        unit: float32 (n, dim), unit rows.
        query: float (dim,), any norm but zero.
        rows: int (n, k), neighbours of each row; -1 after the last one.
        weights: float64 (n, w), of `averaging_weights`.
        norms: float64 (n,), of `averaged_norms`.
        neighbour_count: number of nearest images that the query is averaged with.
        allowed: bool (n,), the rows to rank and to average the query with; all where None.
        limit: number of rows to return, at most; all allowed rows where None.

    Returns:
        order int64 (m,): allowed rows, best first, ties by lower row; scores float64 (n,): cosine of each row with the
        query; rank_scores float64 (n,): cosine of the averaged row with the averaged query.
    """
    direction = np.asarray(query, np.float64)
    direction = direction / np.linalg.norm(direction)
    scores = (unit @ direction.astype(np.float32)).astype(np.float64)
    candidates = np.arange(len(unit)) if allowed is None else np.flatnonzero(allowed)
    nearest = candidates[_greatest(scores[candidates], neighbour_count)]
    averaged_query = direction + np.maximum(scores[nearest], 0.0) @ unit[nearest].astype(np.float64)
    averaged_query /= np.linalg.norm(averaged_query)
    products = (unit @ averaged_query.astype(np.float32)).astype(np.float64)
    neighbours = np.maximum(rows[:, : weights.shape[1]], 0)
    rank_scores = (products + np.einsum("ij,ij->i", weights, products[neighbours])) / norms
    order = candidates[_greatest(rank_scores[candidates], len(candidates) if limit is None else limit)]
    if len(nearest):
        order = np.concatenate([nearest[:1], order[order != nearest[0]]])[:limit]
    return order, scores, rank_scores


def _greatest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the `count` greatest values, greatest first, ties by lower place; sort only those."""
    if count >= len(values):
        return np.argsort(-values, kind="stable")
    smallest = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > smallest)
    places = np.union1d(above, np.flatnonzero(values == smallest)[: count - len(above)])
    return places[np.argsort(-values[places], kind="stable")]

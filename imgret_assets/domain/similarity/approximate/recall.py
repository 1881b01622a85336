"""The recall of an approximate table: a sample of images compared exactly with all.

Belongs here: the sample, its exact comparison, the lower limit. Not here: the approximate searches, where the figures
are stored (`domain.storage.table_metadata`) and shown.

Recall is the mean, over images, of the share of an image's true rows that the table has; images without true rows do
not count. So an image with a thousand near-duplicates, which are easily found, counts as much as one with a single
look-alike. Images are drawn at random and without regard to their number of rows; the shares of different images are
independent draws, those of the rows of one image are not. So the limit is one for the mean of numbers in [0, 1], with
images as the draws, whatever their distribution:

    P(sample mean >= m) <= exp(-n KL(m, mean))    (Hoeffding, 1963, theorem 1, before its last step; section 6 extends
                                                   it to draws without replacement)

with KL(m, p) = m ln(m / p) + (1 - m) ln((1 - m) / (1 - p)). The limit is the smallest mean for which the right side is
at least 5 %. Where the sample misses nothing, it is 0.05^(1/n), as for a proportion (Clopper and Pearson): 1,000 images
without a miss give 0.997.
"""

import math
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.similarity.brute_force import nearest_neighbours
from imgret_assets.domain.similarity.cascade import CascadeOptions, PairSearch
from imgret_assets.domain.similarity.neighbour_lists import NeighbourLists
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, merge_pairs
from imgret_assets.domain.storage.table_metadata import ComparedMetadata

CONFIDENCE = 0.95
# A full comparison of an image is dearer for neighbours, which have no threshold, and every image has some.
SAMPLED_FOR_PAIRS, SAMPLED_FOR_NEIGHBOURS = 2000, 1000
# Of an approximate table with less than this, a check warns.
LEAST_RECALL = 0.95
_SEED = 95


@dataclass(frozen=True)
class Recall:
    """The recall of a sample.

    Attributes:
        mean: mean share of an image's true rows that the table has; None where no sampled image has any.
        at_least: lower limit of the mean over all images, with `CONFIDENCE`; None likewise.
        images: number of sampled images that have true rows.
    """

    mean: float | None
    at_least: float | None
    images: int

    @classmethod
    def of(cls, shares: np.ndarray) -> "Recall":
        """Return the recall of a sample from the share of each sampled image that has true rows, float64 (n,)."""
        if not len(shares):
            return cls(None, None, 0)
        mean = float(shares.mean())
        return cls(mean, lower_limit(mean, len(shares)), len(shares))


def lower_limit(mean: float, count: int, *, confidence: float = CONFIDENCE) -> float:
    """Return the lower limit of a mean of numbers in [0, 1] from the mean of a sample of `count` of them."""
    allowed = -math.log(1 - confidence) / count

    def divergence(true_mean: float) -> float:
        misses = 1 - mean
        return (mean * math.log(mean / true_mean) if mean else 0.0) + (
            misses * math.log(misses / (1 - true_mean)) if misses > 0 else 0.0
        )

    low, high = 0.0, mean
    for _ in range(60):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if divergence(middle) > allowed:
            low = middle
        else:
            high = middle
    return low


def sampled_rows(count: int, sampled: int) -> np.ndarray:
    """Return row numbers drawn at random, int64, ascending; the same for the same count."""
    return np.sort(np.random.default_rng([_SEED, count]).choice(count, min(sampled, count), replace=False))


def recall_of_pairs(
    vectors: np.ndarray,
    pairs: ScoredPairs,
    threshold: float,
    *,
    max_neighbours: int | None = None,
    sampled: int = SAMPLED_FOR_PAIRS,
    options: CascadeOptions | None = None,
) -> Recall:
    """Return the recall of the pairs that were found above a threshold.

    Args:
        vectors: float32 (n, dim).
        pairs: what was found.
        threshold: that of the pairs.
        max_neighbours: where pairs are kept only if they are among this number of best pairs of one of their rows, an
            image's true rows are its best ones, which are always kept.
        sampled: number of images of the sample.
        options: how the exact comparison is done.
    """
    rows = sampled_rows(len(vectors), sampled)
    search = PairSearch(vectors, threshold, rows=rows, options=options)
    true_pairs = merge_pairs(search.pairs(piece, search.answer(piece)) for piece in search.pieces)
    is_sampled = np.zeros(len(vectors), bool)
    is_sampled[rows] = True
    found_keys = _keys(pairs.where(is_sampled[pairs.a] | is_sampled[pairs.b]))
    keys = _keys(true_pairs)
    place = np.minimum(np.searchsorted(found_keys, keys), max(0, len(found_keys) - 1))
    is_found = found_keys[place] == keys if len(found_keys) else np.zeros(len(keys), bool)
    # Each pair once for each of its rows that is in the sample.
    own = np.concatenate([true_pairs.a, true_pairs.b])
    other = np.concatenate([true_pairs.b, true_pairs.a])
    hits, scores = np.tile(is_found, 2), np.tile(true_pairs.scores, 2)
    counts = is_sampled[own]
    own, other, hits, scores = own[counts], other[counts], hits[counts], scores[counts]
    if max_neighbours is not None:
        order = np.lexsort((other, -scores, own))
        own, hits = own[order], hits[order]
        best = np.arange(len(own)) - np.searchsorted(own, own) < max_neighbours
        own, hits = own[best], hits[best]
    true_counts = np.bincount(own, minlength=len(vectors))
    found_counts = np.bincount(own, weights=hits, minlength=len(vectors))
    has_any = true_counts > 0
    return Recall.of(found_counts[has_any] / true_counts[has_any])


def recall_of_neighbours(
    vectors: np.ndarray,
    lists: NeighbourLists,
    k: int,
    *,
    sampled: int = SAMPLED_FOR_NEIGHBOURS,
    memory_bytes: int = 2 << 30,
) -> Recall:
    """Return the recall of the k nearest neighbours that were found; of equal scores any counts.

    Args:
        vectors: float32 (n, dim).
        lists: what was found for every row, at least min(k, n - 1) entries.
        k: number of neighbours that count.
        sampled: number of images of the sample.
        memory_bytes: bound on what the exact comparison holds.
    """
    rows = sampled_rows(len(vectors), sampled)
    exact = nearest_neighbours(vectors, k, rows=rows, memory_bytes=memory_bytes)
    width = exact.scores.shape[1]
    if not width:
        return Recall.of(np.empty(0))
    hits = lists.scores[rows, :width] >= exact.scores[:, -1:]
    return Recall.of(hits.mean(axis=1))


def recall_fields(recall: Recall) -> dict[str, float | int | None]:
    """Return the fields of `ComparedMetadata` with the recall of a table."""
    return {"recall": recall.mean, "recall_at_least": recall.at_least, "recall_images": recall.images}


def is_enough(metadata: ComparedMetadata) -> bool:
    """Return whether a table is exact, or its recall is at least `LEAST_RECALL` with `CONFIDENCE`."""
    return metadata.exact or metadata.recall_at_least is None or metadata.recall_at_least >= LEAST_RECALL


def _keys(pairs: ScoredPairs) -> np.ndarray:
    return pairs.a.astype(np.int64) << 32 | pairs.b

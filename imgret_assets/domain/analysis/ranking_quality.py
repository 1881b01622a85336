"""Ranking quality of a collection's vectors on labelled images.

Belongs here: ranking measures, how well cosines separate same and different labels. Not here: answering one query
(`domain.search.find_similar`), which embedding spaces a home has (`domain.embeddings.embedding_spaces`), drawing
(`domain.analysis.quality_plot`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgret_assets.domain.embeddings.table_reader import Embeddings

# Width of the bins in which cosines are counted. Medians are exact to half of it; the area under the curve takes pairs
# in one bin as equal.
BIN = 1e-4
_BINS = round(2 / BIN)
# Scores that are in memory at a time: 32 MB.
MAX_BLOCK_SCORES = 1 << 22
_BLOCK_COLUMNS = 4096


@dataclass(frozen=True)
class Precision:
    """Precision of the first hit and of the first ten hits, averaged over `images` labelled query images."""

    first: float
    first_ten: float
    images: int


@dataclass(frozen=True)
class Spread:
    """The distribution of the cosines of one kind of image pairs.

    Attributes:
        counts: int64 (20000,), pairs by cosine, in bins of `BIN` from -1 to 1.
        above: pairs whose cosine is greater than the threshold.
    """

    counts: np.ndarray
    above: int

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return int(self.counts.sum())

    @property
    def median(self) -> float | None:
        """The median cosine (the lower of two), exact to half of `BIN`; None if there is no pair."""
        if not self.pairs:
            return None
        middle = np.searchsorted(np.cumsum(self.counts), self.pairs / 2)
        return round(float(middle + 0.5) * BIN - 1, 5)

    @property
    def share_above(self) -> float | None:
        """Share of the pairs whose cosine is greater than the threshold; None if there is no pair."""
        return self.above / self.pairs if self.pairs else None

    def as_json(self) -> dict[str, Any]:
        """Return the figures without the bins."""
        return {"pairs": self.pairs, "median": self.median, "above": self.above, "share_above": self.share_above}


@dataclass(frozen=True)
class Quality:
    """Ranking measures and cosine distributions of a collection. Measures are None if too few labels are known.

    Attributes:
        images: number of images; `labelled` of them have one of `labels` labels.
        threshold: `Spread.above` counts pairs whose cosine is greater than this.
        precision_1: share of query images whose first hit has their label.
        precision_10: share of the first ten hits (or all, if there are fewer) that have the query image's label,
            averaged over the query images.
        mean_average_precision: the precision at the rank of every hit with the query image's label, averaged over
            these hits, then over the query images that have such a hit.
        same, different: pairs of images with the same and with different labels.
        all: all pairs, labelled or not.
    """

    images: int
    labelled: int
    labels: int
    threshold: float
    precision_1: float | None
    precision_10: float | None
    mean_average_precision: float | None
    same: Spread
    different: Spread
    all: Spread

    @property
    def auc(self) -> float | None:
        """Probability that a pair with the same label has a greater cosine than one with different labels.

        Equal cosines count as half. This is the area under the ROC curve (Hanley and McNeil, 1982; Fawcett, 2006): 0.5
        is chance, 1 is perfect separation. It depends on the order of the cosines only, so it compares embedding spaces
        with different ranges of cosines; d' would assume normal distributions.
        """
        if not self.same.pairs or not self.different.pairs:
            return None
        below = np.cumsum(self.different.counts) - self.different.counts / 2
        greater = float(np.dot(self.same.counts.astype(np.float64), below))
        return greater / self.same.pairs / self.different.pairs

    def as_json(self) -> dict[str, Any]:
        """Return the figures in the form in which `imgret models compare --json` prints them."""
        counts = ("images", "labelled", "labels")
        measures = ("precision_1", "precision_10", "mean_average_precision", "auc", "threshold")
        figures = {name: getattr(self, name) for name in (*counts, *measures)}
        return figures | {kind: getattr(self, kind).as_json() for kind in ("same", "different", "all")}


class _SpreadBuilder:
    """Counts of a `Spread` that grow block by block."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.counts = np.zeros(_BINS, np.int64)
        self.above = 0

    def add(self, scores: np.ndarray) -> None:
        bins = np.minimum(((scores + 1) / BIN).astype(np.int64), _BINS - 1)
        self.counts += np.bincount(bins, minlength=_BINS)
        self.above += int(np.count_nonzero(scores > self.threshold))

    @property
    def spread(self) -> Spread:
        return Spread(self.counts, self.above)


def measure_quality(
    vectors: np.ndarray,
    contents: Sequence[str],
    labels: Sequence[str | None],
    *,
    threshold: float = 0.8,
    block_rows: int | None = None,
) -> Quality:
    """Rank all images for every labelled image, and count the cosines of all pairs.

    Cosines are float64, computed from the stored vectors. The query image and its exact duplicates are left out,
    because every space finds them. Images without a label are candidates, but not query images. Equal scores are ranked
    by row.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm.
        contents: sha256 of each row's file; rows with equal contents are exact duplicates.
        labels: label of each row; None or empty if unknown.
        threshold: a cosine; pairs with a greater cosine are counted.
        block_rows: rows whose cosines are in memory at a time; None for `MAX_BLOCK_SCORES` cosines.
    """
    count = len(vectors)
    content = _numbered(contents)
    label = np.where([bool(name) for name in labels], _numbered([name or "" for name in labels]), -1)
    same, different, unknown = (_SpreadBuilder(threshold) for _ in range(3))
    precisions: list[tuple[float, float, float | None]] = []
    for start, scores in cosine_blocks(vectors, block_rows or max(1, MAX_BLOCK_SCORES // max(1, count))):
        rows = np.arange(start, start + len(scores))
        duplicates = content[rows][:, None] == content[None, :]
        same_label = label[rows][:, None] == label[None, :]
        # Each pair is counted once: from the earlier row to the later.
        counted = ~duplicates & (np.arange(count)[None, :] > rows[:, None])
        known = counted & (label[rows][:, None] >= 0) & (label[None, :] >= 0)
        same.add(scores[known & same_label])
        different.add(scores[known & ~same_label])
        unknown.add(scores[counted & ~known])
        for row in np.flatnonzero(label[rows] >= 0):
            if not duplicates[row].all():
                relevant = same_label[row] & ~duplicates[row]
                precisions.append(_precisions(scores[row], relevant, ~duplicates[row]))
    averages = [average for _, _, average in precisions if average is not None]
    return Quality(
        images=count,
        labelled=int(np.count_nonzero(label >= 0)),
        labels=len(np.unique(label[label >= 0])),
        threshold=threshold,
        precision_1=float(np.mean([first for first, _, _ in precisions])) if precisions else None,
        precision_10=float(np.mean([ten for _, ten, _ in precisions])) if precisions else None,
        mean_average_precision=float(np.mean(averages)) if averages else None,
        same=same.spread,
        different=different.spread,
        all=Spread(same.counts + different.counts + unknown.counts, same.above + different.above + unknown.above),
    )


def measure_precision(embeddings: Embeddings, labels: Sequence[str | None], *, block_rows: int = 1024) -> Precision:
    """Return the precision of the nearest hits of every labelled image, exact duplicates left out."""
    quality = measure_quality(embeddings.vectors, embeddings.vector_keys, labels, block_rows=block_rows)
    labelled = sum(bool(label) for label in labels)
    return Precision(quality.precision_1 or 0.0, quality.precision_10 or 0.0, labelled)


def _numbered(names: Sequence[str]) -> np.ndarray:
    """Return a number for each name, int64 (n,); equal names have equal numbers."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def cosine_blocks(
    vectors: np.ndarray, block_rows: int, *, block_columns: int = _BLOCK_COLUMNS
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the cosines of blocks of rows with all rows.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm.
        block_rows: rows of a block.
        block_columns: rows that are converted to float64 at a time on the other side.

    Yields:
        Number of the block's first row, and float64 (rows, n) cosines.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))

    def unit(start: int, rows: int) -> np.ndarray:
        return vectors[start : start + rows].astype(np.float64) / norms[start : start + rows, None]

    for start in range(0, len(vectors), block_rows):
        left = unit(start, block_rows)
        scores = np.empty((len(left), len(vectors)))
        for column in range(0, len(vectors), block_columns):
            right = unit(column, block_columns)
            np.matmul(left, right.T, out=scores[:, column : column + len(right)])
        yield start, np.clip(scores, -1.0, 1.0, out=scores)


def _precisions(scores: np.ndarray, relevant: np.ndarray, candidates: np.ndarray) -> tuple[float, float, float | None]:
    """Return precision at 1, precision at 10 and average precision of one query image.

    Args:
        scores: float64 (n,), cosine of each row with the query image.
        relevant: bool (n,), rows with its label.
        candidates: bool (n,), rows that are ranked.

    Returns:
        The three; average precision is None if no row is relevant.
    """
    ascending = np.sort(scores[candidates])
    rows = np.flatnonzero(relevant)
    low = np.searchsorted(ascending, scores[rows], side="left")
    high = np.searchsorted(ascending, scores[rows], side="right")
    ranks = len(ascending) - high + 1
    for place in np.flatnonzero(high - low > 1):
        row = rows[place]
        ranks[place] += np.count_nonzero(candidates[:row] & (scores[:row] == scores[row]))
    ranks.sort()
    shown = min(10, len(ascending))
    first, ten = float(np.any(ranks == 1)), np.count_nonzero(ranks <= shown) / shown
    return first, ten, float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else None

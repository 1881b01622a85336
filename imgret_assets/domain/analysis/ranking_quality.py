"""How good the vectors of a collection are, where labels are known.

Belongs here: ranking measures, how far same and different labels lie apart. Not here: answering one query
(`domain.search.find_similar`), which collections there are (`domain.embeddings.embedding_spaces`), drawing
(`domain.analysis.quality_plot`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgret_assets.domain.embeddings.table_reader import Embeddings

# Cosines are counted in bins this narrow: medians are known to half of it, the area under the curve as far as pairs of
# both kinds share a bin.
BIN = 1e-4
_BINS = round(2 / BIN)
_SCORES_AT_ONCE = 1 << 22
_COLUMNS_AT_ONCE = 4096


@dataclass(frozen=True)
class Precision:
    """Share of images whose nearest others have their label: the first one, and the first ten."""

    first: float
    first_ten: float
    images: int


@dataclass(frozen=True)
class Spread:
    """The cosines of one kind of pairs of images.

    Attributes:
        counts: int64 (20000,), pairs by cosine, in bins of `BIN` from -1 to 1.
        above: how many are greater than the threshold.
    """

    counts: np.ndarray
    above: int

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return int(self.counts.sum())

    @property
    def median(self) -> float | None:
        """The middle cosine (the lower of two), to half of `BIN`; None where there is no pair."""
        if not self.pairs:
            return None
        middle = np.searchsorted(np.cumsum(self.counts), self.pairs / 2)
        return round(float(middle + 0.5) * BIN - 1, 5)

    @property
    def share_above(self) -> float | None:
        """Share of the pairs that are greater than the threshold; None where there is no pair."""
        return self.above / self.pairs if self.pairs else None

    def as_json(self) -> dict[str, Any]:
        """Without the bins."""
        return {"pairs": self.pairs, "median": self.median, "above": self.above, "share_above": self.share_above}


@dataclass(frozen=True)
class Quality:
    """What a collection's vectors are worth. None stands where labels are missing to tell.

    Attributes:
        images: all images, of which `labelled` have one of `labels` labels.
        threshold: what `above` counts.
        precision_1, precision_10: share of the nearest others, the first and the first ten (or all, where there are
            fewer), that have the image's label, averaged over the images asked with.
        mean_average_precision: each image's precision at the rank of every other with its label, averaged over those,
            then over the images asked with that have such another.
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
        """Chance that a pair with the same label has a greater cosine than one with different labels; equal is half.

        The area under the ROC curve (Hanley and McNeil, 1982; Fawcett, 2006): 0.5 says nothing, 1 separates. It
        depends on the order of the cosines alone, so that spaces whose cosines lie elsewhere can be compared, which
        d' could not say without assuming that they are normally distributed.
        """
        if not self.same.pairs or not self.different.pairs:
            return None
        below = np.cumsum(self.different.counts) - self.different.counts / 2
        won = float(np.dot(self.same.counts.astype(np.float64), below))
        return won / self.same.pairs / self.different.pairs

    def as_json(self) -> dict[str, Any]:
        """As `imgret models compare --json` prints it."""
        counts, figures = ("images", "labelled", "labels"), ("precision_1", "precision_10", "mean_average_precision")
        said = {key: getattr(self, key) for key in (*counts, *figures, "auc", "threshold")}
        return said | {kind: getattr(self, kind).as_json() for kind in ("same", "different", "all")}


class _Counted:
    """A spread on its way."""

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


def measure(
    vectors: np.ndarray,
    contents: Sequence[str],
    labels: Sequence[str | None],
    *,
    threshold: float = 0.8,
    block_rows: int | None = None,
) -> Quality:
    """Ask with every labelled image for all others, and look at all pairs.

    Cosines are float64, computed from the stored vectors; the image asked with and exact copies of it are left out,
    for they would be found by anything. Images without a label are candidates, but not asked with. Equal scores are
    ranked by row.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm.
        contents: sha256 of each row's file; equal ones are copies.
        labels: of each row; None where it is not known.
        threshold: a cosine; how many pairs are greater is counted.
        block_rows: rows compared with all at once; as many as take 32 MB where None.
    """
    count = len(vectors)
    content = _numbered(contents)
    label = np.where([bool(name) for name in labels], _numbered([name or "" for name in labels]), -1)
    same, different, other = (_Counted(threshold) for _ in range(3))
    asked: list[tuple[float, float, float | None]] = []
    block = block_rows or max(1, _SCORES_AT_ONCE // max(1, count))
    for start, scores in _blocks(vectors, block):
        rows = np.arange(start, start + len(scores))
        copies = content[rows][:, None] == content[None, :]
        alike = label[rows][:, None] == label[None, :]
        # Each pair once: from the earlier row to the later.
        counted = ~copies & (np.arange(count)[None, :] > rows[:, None])
        known = counted & (label[rows][:, None] >= 0) & (label[None, :] >= 0)
        same.add(scores[known & alike])
        different.add(scores[known & ~alike])
        other.add(scores[counted & ~known])
        for row in np.flatnonzero(label[rows] >= 0):
            if not copies[row].all():
                asked.append(_answered(scores[row], alike[row] & ~copies[row], ~copies[row]))
    averages = [average for _, _, average in asked if average is not None]
    total = Spread(same.counts + different.counts + other.counts, same.above + different.above + other.above)
    return Quality(
        images=count,
        labelled=int(np.count_nonzero(label >= 0)),
        labels=len(np.unique(label[label >= 0])),
        threshold=threshold,
        precision_1=float(np.mean([first for first, _, _ in asked])) if asked else None,
        precision_10=float(np.mean([ten for _, ten, _ in asked])) if asked else None,
        mean_average_precision=float(np.mean(averages)) if averages else None,
        same=same.spread,
        different=different.spread,
        all=total,
    )


def precision(embeddings: Embeddings, labels: Sequence[str | None], *, block_rows: int = 1024) -> Precision:
    """Ask with every labelled image for its nearest others, exact copies left out; see `measure`."""
    found = measure(embeddings.vectors, embeddings.vector_keys, labels, block_rows=block_rows)
    asked = [label for label in labels if label]
    return Precision(found.precision_1 or 0.0, found.precision_10 or 0.0, len(asked))


def _numbered(names: Sequence[str]) -> np.ndarray:
    """A number for each name, the same for the same; int64 (n,)."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _blocks(vectors: np.ndarray, block_rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """First row and cosines float64 (rows, n) of some rows with all; vectors become float64 a part at a time."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    for start in range(0, len(vectors), block_rows):
        left = _unit(vectors, norms, start, block_rows)
        scores = np.empty((len(left), len(vectors)))
        for column in range(0, len(vectors), _COLUMNS_AT_ONCE):
            right = _unit(vectors, norms, column, _COLUMNS_AT_ONCE)
            np.matmul(left, right.T, out=scores[:, column : column + len(right)])
        yield start, np.clip(scores, -1.0, 1.0, out=scores)


def _unit(vectors: np.ndarray, norms: np.ndarray, start: int, rows: int) -> np.ndarray:
    return vectors[start : start + rows].astype(np.float64) / norms[start : start + rows, None]


def _answered(scores: np.ndarray, right: np.ndarray, candidates: np.ndarray) -> tuple[float, float, float | None]:
    """Precision at 1, at 10, and average precision (None where nothing is right) of one image's ranking."""
    ordered = np.sort(scores[candidates])
    wanted = np.flatnonzero(right)
    low = np.searchsorted(ordered, scores[wanted], side="left")
    high = np.searchsorted(ordered, scores[wanted], side="right")
    ranks = len(ordered) - high + 1
    for place in np.flatnonzero(high - low > 1):
        row = wanted[place]
        ranks[place] += np.count_nonzero(candidates[:row] & (scores[:row] == scores[row]))
    ranks.sort()
    shown = min(10, len(ordered))
    first, ten = float(np.any(ranks == 1)), np.count_nonzero(ranks <= shown) / shown
    return first, ten, float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else None

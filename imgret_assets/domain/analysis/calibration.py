"""Score distributions, and the threshold they suggest.

Belongs here: counting sampled scores, precision and recall, the suggestion. Not here: the stored report
(`domain.analysis.threshold_report`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.analysis.ranking_quality import measure
from imgret_assets.domain.analysis.rerank_gain import Gain, measure_gain
from imgret_assets.domain.analysis.sampling import SEED, dots, random_pairs
from imgret_assets.domain.numerics.vectors import unit_rows

THRESHOLDS = np.arange(50, 100) / 100
BINS = np.round(np.linspace(-1, 1, 101), 2)
# Up to here all pairs are counted; of more images so many are compared with all.
EXACT_IMAGES = 8_000
SAMPLED_IMAGES = 2_000
# Ranking again is tried on so many images at the most: ten folds search neighbours ten times.
GAIN_IMAGES = 4_000
GOOD_PRECISION = 0.9
_BLOCK_NUMBERS = 1 << 22


class Counted(NamedTuple):
    """Others above each threshold, for each row asked with: int64 (rows, thresholds); and how many there are at all.

    `every` counts all others, `known` those with a label while the row has one, `same` those with the row's own;
    `known_total` and `same_total`, int64 (rows,), whatever their cosine.
    """

    every: np.ndarray
    known: np.ndarray
    same: np.ndarray
    known_total: np.ndarray
    same_total: np.ndarray


@dataclass(frozen=True)
class Row:
    """What one threshold gives.

    Attributes:
        threshold: a pair's cosine is greater.
        pairs: unordered pairs; estimated where not all were counted.
        pairs_error: half the width of the estimate's 95 percent interval; 0 where all were counted.
        images: those with at least one pair.
        false_pairs: of them expected to be wrong: by the labels where there are some; else those that unlike images
            would give if their cosines were normally distributed, which is the least to expect: real tails are longer.
        precision, recall: share of the labelled pairs that are right, and of the right ones that are there; None
            without labels or pairs.
    """

    threshold: float
    pairs: float
    pairs_error: float
    images: int
    false_pairs: float
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Report:
    """What is known of a space's cosines.

    Attributes:
        space, images: of what; `labelled` of the images have a label.
        rows: by threshold, rising.
        random, nearest: pairs by cosine between the edges `BINS`: of random images; of images with their nearest.
        background, spread: median of random pairs, and the deviation of a normal distribution with their lower half.
        precision_1, precision_10, mean_average_precision: see `quality.measure`; None without labels. Of
            `ranked_images` images.
        gain: what ranking again with the neighbours gives; None without labels.
        suggested: a threshold; None where none can be advised. `why`: a sentence.
        changed_since: images that have come, gone or got another vector since the figures were computed.
        written, seconds: of this refresh.
    """

    space: str
    images: int
    labelled: int
    rows: list[Row]
    random: list[int]
    nearest: list[int]
    background: float
    spread: float
    precision_1: float | None
    precision_10: float | None
    mean_average_precision: float | None
    ranked_images: int
    gain: Gain | None
    suggested: float | None
    why: str
    changed_since: int = 0
    written: bool = True
    seconds: float = 0.0

    @property
    def summary(self) -> str:
        """The advice, in a line or two."""
        advice = f"Threshold {self.suggested:g}" if self.suggested is not None else "No threshold"
        since = f" ({self.changed_since:,} of the images have changed since.)" if self.changed_since else ""
        return f"{advice} for {self.space}: {self.why}{since}"

    def at(self, threshold: float) -> Row | None:
        """The row nearest to a threshold, if the table reaches there."""
        near = min(self.rows, key=lambda row: abs(row.threshold - threshold))
        return near if abs(near.threshold - threshold) <= 0.005 + 1e-9 else None


def count_above(
    vectors: np.ndarray, labels: Sequence[str | None], rows: np.ndarray, thresholds: np.ndarray = THRESHOLDS
) -> Counted:
    """Compare some rows with all others, cosines in float64.

    Args:
        vectors: float32 (n, dim), finite, no zero rows.
        labels: of each row; None where it is not known.
        rows: int64, the rows to ask with.
        thresholds: float64, rising.
    """
    count, wide = len(vectors), len(thresholds)
    names = np.unique([label or "" for label in labels], return_inverse=True)[1] if count else np.empty(0, np.int64)
    known = np.array([bool(label) for label in labels], bool)
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    every, labelled, same = (np.zeros((len(rows), wide), np.int64) for _ in range(3))
    block = max(1, _BLOCK_NUMBERS // max(1, count))
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        left = vectors[part].astype(np.float64) / norms[part, np.newaxis]
        for column in range(0, count, 4096):
            others = np.arange(column, min(column + 4096, count))
            scores = left @ (vectors[others].astype(np.float64) / norms[others, np.newaxis]).T
            row, other = np.nonzero(scores > thresholds[0])
            different = part[row] != others[other]
            row, other = row[different], other[different]
            # The last threshold that the cosine exceeds; below, all before it are counted too.
            last = np.searchsorted(thresholds, scores[row, other], side="left") - 1
            place = row * wide + last
            both = known[part[row]] & known[others[other]]
            alike = both & (names[part[row]] == names[others[other]])
            for total, kept in ((every, slice(None)), (labelled, both), (same, alike)):
                found = np.bincount(place[kept], minlength=len(part) * wide)
                total[start : start + len(part)] += found.reshape(len(part), wide)
    every, labelled, same = (np.cumsum(found[:, ::-1], axis=1)[:, ::-1] for found in (every, labelled, same))
    of_name = np.bincount(names[known], minlength=names.max() + 1 if count else 0)
    same_total = np.where(known[rows], of_name[names[rows]] - 1, 0) if len(rows) else np.empty(0, np.int64)
    return Counted(every, labelled, same, np.where(known[rows], int(known.sum()) - 1, 0), same_total)


def sampled_rows(count: int, *, exact: int = EXACT_IMAGES, sample: int = SAMPLED_IMAGES) -> np.ndarray:
    """All rows up to `exact`, else a sample of them, sorted, the same for the same count."""
    if count <= exact:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, size=sample, replace=False))


def threshold_rows(
    counted: Counted, count: int, nearest: np.ndarray, ground: float, spread: float, thresholds: np.ndarray = THRESHOLDS
) -> list[Row]:
    """What each threshold gives, from what was counted.

    Args:
        counted: of all rows or of a sample.
        count: images there are.
        nearest: float64 (count,), each image's greatest cosine with another.
        ground: median of the background, see `Report`.
        spread: its deviation.
        thresholds: those of `counted`.
    """
    asked = len(counted.every)
    share = 1 - asked / count if count else 0.0
    found = []
    for place, threshold in enumerate(thresholds.tolist()):
        others = counted.every[:, place].astype(np.float64)
        pairs = float(others.sum()) * (count / asked) / 2 if asked else 0.0
        error = 0.0
        if share > 0:
            error = 1.96 * float(others.std(ddof=1)) * math.sqrt(share / asked) * count / 2
        known, same = int(counted.known[:, place].sum()), int(counted.same[:, place].sum())
        there = int(counted.same_total.sum())
        precision = same / known if known else None
        if counted.known_total.sum():
            wrong = pairs * (1 - precision) if precision is not None else 0.0
        else:
            wrong = min(pairs, count * (count - 1) / 2 * _normal_tail(threshold, ground, spread))
        recall = same / there if there else None
        images = int(np.count_nonzero(nearest > threshold))
        found.append(Row(threshold, pairs, error, images, wrong, precision, recall))
    return found


def _normal_tail(threshold: float, ground: float, spread: float) -> float:
    return 0.5 * math.erfc((threshold - ground) / (spread * math.sqrt(2))) if spread else float(threshold < ground)


def lower_spread(cosines: np.ndarray) -> tuple[float, float]:
    """Median of random pairs' cosines, and the deviation that their lower half has.

    The upper half holds the pairs that are alike; the lower one tells how far unlike images scatter.
    """
    if not len(cosines):
        return 0.0, 0.0
    ground = float(np.median(cosines))
    below = cosines[cosines <= ground] - ground
    return ground, float(np.sqrt(np.mean(below**2)))


def suggestion(rows: Sequence[Row]) -> tuple[float | None, str]:
    """The lowest threshold from which on nine of ten pairs are right by the labels, and why."""
    good: list[Row] = []
    for row in reversed([row for row in rows if row.precision is not None]):
        if (row.precision or 0.0) < GOOD_PRECISION:
            break
        good.append(row)
    if not good:
        return None, f"no threshold from 0.5 to 0.99 gives pairs of which {GOOD_PRECISION:.0%} are right by the labels."
    row = good[-1]
    return row.threshold, (
        f"the lowest from 0.5 on at which at least {GOOD_PRECISION:.0%} of the pairs are right by the labels: "
        f"{row.precision or 0:.1%} of them are, and they are {row.recall or 0:.1%} of all right pairs; "
        f"{row.pairs:,.0f} pairs of {row.images:,} images."
    )


def suggestion_unlabelled(rows: Sequence[Row], ground: float) -> tuple[float | None, str]:
    """The threshold halfway from the cosine of two random images to 1, and why.

    For EfficientNet-Lite0 on photos of Caltech 101 that is 0.61, where nine of ten pairs are right.
    """
    at = round(ground + (1 - ground) / 2, 2)
    near = min(rows, key=lambda row: abs(row.threshold - at))
    return near.threshold, (
        f"halfway from the cosine of two random images ({ground:.2f}) to 1; there are no labels to tell how many pairs "
        f"are right, so look at some of them: about {near.pairs:,.0f} pairs of {near.images:,} images."
    )


def calibrate(
    space: str,
    vectors: np.ndarray,
    contents: Sequence[str],
    labels: Sequence[str | None],
    nearest: np.ndarray,
) -> Report:
    """Look at a collection's cosines; see `Report`.

    Args:
        space: id of the embedding space.
        vectors: float32 (n, dim), finite, no zero rows.
        contents: of each row: equal ones are copies.
        labels: of each row; None where it is not known.
        nearest: float64 (n,), each row's greatest cosine with another; -inf where there is none.
    """
    count = len(vectors)
    unit = unit_rows(vectors)
    cosines = dots(unit, unit, *random_pairs(count))
    ground, spread = lower_spread(cosines)
    labelled = sum(bool(label) for label in labels)
    rows = threshold_rows(count_above(vectors, labels, sampled_rows(count)), count, nearest, ground, spread)
    ranked: list[int] = sampled_rows(count, exact=EXACT_IMAGES, sample=EXACT_IMAGES).tolist() if labelled else []
    tried: list[int] = sampled_rows(count, exact=GAIN_IMAGES, sample=GAIN_IMAGES).tolist() if labelled else []
    quality = measure(vectors[ranked], *_chosen(contents, labels, ranked))
    labels_tell = any(row.precision is not None for row in rows)
    suggested, why = suggestion(rows) if labels_tell else suggestion_unlabelled(rows, ground)
    return Report(
        space=space,
        images=count,
        labelled=labelled,
        rows=rows,
        random=_histogram(cosines),
        nearest=_histogram(nearest[np.isfinite(nearest)]),
        background=round(ground, 6),
        spread=round(spread, 6),
        precision_1=quality.precision_1,
        precision_10=quality.precision_10,
        mean_average_precision=quality.mean_average_precision,
        ranked_images=len(ranked),
        gain=measure_gain(vectors[tried], *_chosen(contents, labels, tried)),
        suggested=suggested,
        why=why,
    )


def _chosen(
    contents: Sequence[str], labels: Sequence[str | None], rows: list[int]
) -> tuple[list[str], list[str | None]]:
    return [contents[row] for row in rows], [labels[row] for row in rows]


def _histogram(cosines: np.ndarray) -> list[int]:
    return np.histogram(np.clip(cosines, -1, 1), BINS)[0].tolist()

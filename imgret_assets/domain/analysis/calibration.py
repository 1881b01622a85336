"""The calibration of thresholds: how many pairs each threshold gives, how many are right, which one to use.

Belongs here: counting pairs above thresholds, precision and recall, the suggested threshold. Not here: the stored
report (`domain.analysis.threshold_report`), ranking measures (`domain.analysis.ranking_quality`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.analysis.duplicate_sets import select_distinct
from imgret_assets.domain.analysis.ranking_quality import measure_quality
from imgret_assets.domain.analysis.rerank_gain import Gain, measure_gain
from imgret_assets.domain.analysis.sampling import SEED, pair_dots, random_pairs
from imgret_assets.domain.numerics.vectors import unit_rows
from imgret_assets.wording import counted

THRESHOLDS = np.arange(50, 100) / 100
BINS = np.round(np.linspace(-1, 1, 101), 2)
# All pairs are counted for up to EXACT_IMAGES images; in a larger collection SAMPLED_IMAGES are compared with all.
EXACT_IMAGES = 8_000
SAMPLED_IMAGES = 2_000
# Re-ranking is measured on at most this many images: ten folds search neighbours ten times.
GAIN_IMAGES = 4_000
GOOD_PRECISION = 0.9
_BLOCK_SCORES = 1 << 22
_BLOCK_COLUMNS = 4096


class PairCounts(NamedTuple):
    """For each query row, how many other rows have a cosine above each threshold.

    Attributes:
        all: int64 (rows, thresholds), all other rows.
        duplicates: int64 (rows, thresholds), duplicates of the query row among them.
        labelled: int64 (rows, thresholds), other rows with a label; 0 if the query row has none.
        same_label: int64 (rows, thresholds), other rows with the label of the query row.
        labelled_total: int64 (rows,), as `labelled`, whatever the cosine.
        same_label_total: int64 (rows,), as `same_label`, whatever the cosine.
    """

    all: np.ndarray
    duplicates: np.ndarray
    labelled: np.ndarray
    same_label: np.ndarray
    labelled_total: np.ndarray
    same_label_total: np.ndarray


@dataclass(frozen=True)
class ThresholdRow:
    """The pairs that one threshold gives; the fields are the columns of the thresholds table.

    Attributes:
        threshold: a pair's cosine is greater than this.
        pairs: unordered pairs; an estimate if not all were counted.
        pairs_error: half the width of the estimate's 95 percent interval; 0 if all were counted.
        images: images with at least one pair.
        false_pairs: pairs that are expected to be wrong; pairs of duplicates are right. With labels, by the share among
            the labelled pairs. Without, the pairs that dissimilar images would give if their cosines were normally
            distributed: a lower bound, because real tails are longer.
        precision: share of the labelled pairs that are right; None without labelled pairs. Of a set of duplicates, one
            image counts as labelled.
        recall: share of all right pairs that are above the threshold; None without labels.
    """

    threshold: float
    pairs: float
    pairs_error: float
    images: int
    false_pairs: float
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class ThresholdReport:
    """What is known about the cosines of an embedding space. It is stored as JSON by its field names.

    Attributes:
        space: id of the embedding space.
        images: number of images; `labelled` of them have a label.
        rows: one for each threshold, ascending.
        random: random pairs by cosine, counted between the edges `BINS`.
        nearest: images by the cosine with their nearest neighbour, likewise.
        background: median cosine of random pairs.
        spread: deviation of a normal distribution with the lower half of the random pairs.
        precision_1, precision_10, mean_average_precision: as in `ranking_quality.Quality`, measured on `ranked_images`
            images; None without labels.
        gain: what re-ranking gains; None without labels.
        suggested: the suggested threshold; None if none can be suggested.
        why: the reason for it, a sentence.
        duplicates: images that are left out of all measures with labels, because they duplicate another one.
        changed_since: images that were added, removed or embedded again since the figures were computed.
        written: False if the stored report was reused.
        seconds: duration of this refresh.
        recomputed: why another version's figures were computed again, a sentence; empty otherwise.
    """

    space: str
    images: int
    labelled: int
    rows: list[ThresholdRow]
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
    duplicates: int = 0
    changed_since: int = 0
    written: bool = True
    seconds: float = 0.0
    recomputed: str = ""

    @property
    def summary(self) -> str:
        """The suggestion in one or two lines."""
        advice = f"Threshold {self.suggested:g}" if self.suggested is not None else "No threshold"
        changed = f" ({self.changed_since:,} of the images have changed since.)" if self.changed_since else ""
        recomputed = f"{self.recomputed} " if self.recomputed else ""
        left_out = ""
        if self.duplicates and self.labelled:
            left_out = f" {counted(self.duplicates, 'duplicate')} of other images left out."
        return f"{recomputed}{advice} for {self.space}: {self.why}{left_out}{changed}"

    def at(self, threshold: float) -> ThresholdRow | None:
        """Return the row of a threshold; None if it is outside the table."""
        nearest = min(self.rows, key=lambda row: abs(row.threshold - threshold))
        return nearest if abs(nearest.threshold - threshold) <= 0.005 + 1e-9 else None


def count_above(
    vectors: np.ndarray,
    sets: Sequence[str],
    labels: Sequence[str | None],
    rows: np.ndarray,
    thresholds: np.ndarray = THRESHOLDS,
) -> PairCounts:
    """Compare some rows with all others, with cosines in float64.

    Args:
        vectors: float32 (n, dim), finite, no zero rows.
        sets: key of each row; rows with equal keys are duplicates of each other.
        labels: label of each row; None or empty if unknown.
        rows: int64, the query rows.
        thresholds: float64, ascending.
    """
    count, wide = len(vectors), len(thresholds)
    names = np.unique([label or "" for label in labels], return_inverse=True)[1] if count else np.empty(0, np.int64)
    set_of = np.unique(np.asarray(sets, dtype=np.str_), return_inverse=True)[1] if count else np.empty(0, np.int64)
    known = np.array([bool(label) for label in labels], bool)
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    above, duplicates, labelled, same_label = (np.zeros((len(rows), wide), np.int64) for _ in range(4))
    block_rows = max(1, _BLOCK_SCORES // max(1, count))
    for start in range(0, len(rows), block_rows):
        part = rows[start : start + block_rows]
        left = vectors[part].astype(np.float64) / norms[part, np.newaxis]
        for column in range(0, count, _BLOCK_COLUMNS):
            columns = np.arange(column, min(column + _BLOCK_COLUMNS, count))
            scores = left @ (vectors[columns].astype(np.float64) / norms[columns, np.newaxis]).T
            row, place = np.nonzero(scores > thresholds[0])
            distinct = part[row] != columns[place]
            row, place = row[distinct], place[distinct]
            # Number of the last threshold below the cosine. The pair counts for all thresholds up to it.
            last = np.searchsorted(thresholds, scores[row, place], side="left") - 1
            cell = row * wide + last
            duplicate = set_of[part[row]] == set_of[columns[place]]
            both_labelled = known[part[row]] & known[columns[place]]
            equal_labels = both_labelled & (names[part[row]] == names[columns[place]])
            for total, kind in (
                (above, slice(None)),
                (duplicates, duplicate),
                (labelled, both_labelled),
                (same_label, equal_labels),
            ):
                cells = np.bincount(cell[kind], minlength=len(part) * wide)
                total[start : start + len(part)] += cells.reshape(len(part), wide)
    # From counts between two thresholds to counts above each.
    above, duplicates, labelled, same_label = (
        np.cumsum(total[:, ::-1], axis=1)[:, ::-1] for total in (above, duplicates, labelled, same_label)
    )
    images_of_name = np.bincount(names[known], minlength=names.max() + 1 if count else 0)
    same_total = np.where(known[rows], images_of_name[names[rows]] - 1, 0) if len(rows) else np.empty(0, np.int64)
    labelled_total = np.where(known[rows], int(known.sum()) - 1, 0)
    return PairCounts(above, duplicates, labelled, same_label, labelled_total, same_total)


def sample_rows(count: int, *, exact: int = EXACT_IMAGES, sample: int = SAMPLED_IMAGES) -> np.ndarray:
    """Return all rows if there are at most `exact`, otherwise a sorted sample, the same for the same count."""
    if count <= exact:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, size=sample, replace=False))


def threshold_rows(
    counts: PairCounts,
    images: int,
    nearest: np.ndarray,
    background: float,
    spread: float,
    thresholds: np.ndarray = THRESHOLDS,
) -> list[ThresholdRow]:
    """Return what each threshold gives, from counts of all rows or of a sample.

    Args:
        counts: counts of all rows or of a sample.
        images: number of images.
        nearest: float64 (images,), each image's greatest cosine with another.
        background: as in `ThresholdReport`.
        spread: as in `ThresholdReport`.
        thresholds: the thresholds of `counts`.
    """
    sampled = len(counts.all)
    unsampled_share = 1 - sampled / images if images else 0.0
    rows = []
    for place, threshold in enumerate(thresholds.tolist()):
        others = counts.all[:, place].astype(np.float64)
        pairs = float(others.sum()) * (images / sampled) / 2 if sampled else 0.0
        error = 0.0
        if unsampled_share > 0:
            error = 1.96 * float(others.std(ddof=1)) * math.sqrt(unsampled_share / sampled) * images / 2
        duplicates = float(counts.duplicates[:, place].sum()) * (images / sampled) / 2 if sampled else 0.0
        labelled, right = int(counts.labelled[:, place].sum()), int(counts.same_label[:, place].sum())
        all_right = int(counts.same_label_total.sum())
        precision = right / labelled if labelled else None
        if counts.labelled_total.sum():
            false_pairs = (pairs - duplicates) * (1 - precision) if precision is not None else 0.0
        else:
            false_pairs = min(pairs, images * (images - 1) / 2 * _normal_tail(threshold, background, spread))
        rows.append(
            ThresholdRow(
                threshold=threshold,
                pairs=pairs,
                pairs_error=error,
                images=int(np.count_nonzero(nearest > threshold)),
                false_pairs=false_pairs,
                precision=precision,
                recall=right / all_right if all_right else None,
            )
        )
    return rows


def _normal_tail(threshold: float, mean: float, deviation: float) -> float:
    if not deviation:
        return float(threshold < mean)
    return 0.5 * math.erfc((threshold - mean) / (deviation * math.sqrt(2)))


def background_spread(cosines: np.ndarray) -> tuple[float, float]:
    """Return the median of the cosines of random pairs, and the deviation of their lower half.

    The upper half includes the similar pairs; the lower half shows how far dissimilar images scatter.
    """
    if not len(cosines):
        return 0.0, 0.0
    median = float(np.median(cosines))
    below = cosines[cosines <= median] - median
    return median, float(np.sqrt(np.mean(below**2)))


def suggest_threshold(rows: Sequence[ThresholdRow]) -> tuple[float | None, str]:
    """Return the lowest threshold from which on nine of ten pairs are right by the labels, and the reason."""
    good: list[ThresholdRow] = []
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


def suggest_threshold_without_labels(rows: Sequence[ThresholdRow], background: float) -> tuple[float | None, str]:
    """Return the threshold halfway from the background score to 1, and the reason.

    For EfficientNet-Lite0 on the images of Caltech 101 this is 0.61, where nine of ten pairs are right.
    """
    halfway = round(background + (1 - background) / 2, 2)
    nearest = min(rows, key=lambda row: abs(row.threshold - halfway))
    return nearest.threshold, (
        f"halfway from the cosine of two random images ({background:.2f}) to 1; there are no labels to tell how many "
        f"pairs are right, so look at some of them: about {nearest.pairs:,.0f} pairs of {nearest.images:,} images."
    )


def calibrate(
    space: str,
    vectors: np.ndarray,
    sets: Sequence[str],
    labels: Sequence[str | None],
    nearest: np.ndarray,
) -> ThresholdReport:
    """Return the report on a collection's cosines.

    Args:
        space: id of the embedding space.
        vectors: float32 (n, dim), finite, no zero rows.
        sets: key of each row; rows with equal keys are duplicates of each other, exact or near.
        labels: label of each row; None or empty if unknown.
        nearest: float64 (n,), each row's greatest cosine with another; -inf if there is no other.
    """
    count = len(vectors)
    unit = unit_rows(vectors)
    cosines = pair_dots(unit, unit, *random_pairs(count))
    background, spread = background_spread(cosines)
    labelled = sum(bool(label) for label in labels)
    distinct = select_distinct(sets, labels)
    measured_labels: list[str | None] = [None] * count
    for row in distinct.tolist():
        measured_labels[row] = labels[row]
    counts = count_above(vectors, sets, measured_labels, sample_rows(count))
    rows = threshold_rows(counts, count, nearest, background, spread)
    ranked = _sample(distinct, EXACT_IMAGES) if labelled else []
    reranked = _sample(distinct, GAIN_IMAGES) if labelled else []
    quality = measure_quality(vectors[ranked], *_select(sets, labels, ranked))
    if any(row.precision is not None for row in rows):
        suggested, why = suggest_threshold(rows)
    else:
        suggested, why = suggest_threshold_without_labels(rows, background)
    return ThresholdReport(
        space=space,
        images=count,
        labelled=labelled,
        rows=rows,
        random=_histogram(cosines),
        nearest=_histogram(nearest[np.isfinite(nearest)]),
        background=round(background, 6),
        spread=round(spread, 6),
        precision_1=quality.precision_1,
        precision_10=quality.precision_10,
        mean_average_precision=quality.mean_average_precision,
        ranked_images=len(ranked),
        gain=measure_gain(vectors[reranked], *_select(sets, labels, reranked)),
        suggested=suggested,
        why=why,
        duplicates=count - len(distinct),
    )


def _sample(rows: np.ndarray, most: int) -> list[int]:
    """Return at most so many of the rows, the same for as many rows."""
    return rows[sample_rows(len(rows), exact=most, sample=most)].tolist()


def _select(sets: Sequence[str], labels: Sequence[str | None], rows: list[int]) -> tuple[list[str], list[str | None]]:
    return [sets[row] for row in rows], [labels[row] for row in rows]


def _histogram(cosines: np.ndarray) -> list[int]:
    return np.histogram(np.clip(cosines, -1, 1), BINS)[0].tolist()

"""Counts above thresholds against every pair written out, and the suggested threshold."""

import numpy as np
import pytest

from imgret_assets.domain.analysis.calibration import (
    BINS,
    THRESHOLDS,
    ThresholdRow,
    background_spread,
    calibrate,
    count_above,
    sample_rows,
    suggest_threshold,
    suggest_threshold_without_labels,
    threshold_rows,
)
from imgret_assets.domain.similarity.brute_force import nearest_neighbours
from imgret_tests.unit.analysis.sample_collections import cosines, labelled_collection


def numbered(count: int) -> list[str]:
    """Return keys of images that have no duplicates."""
    return [f"{number:04d}" for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 90])
def test_rows_equal_counting_every_pair(rng: np.random.Generator, count: int) -> None:
    vectors, labels = labelled_collection(rng, count)
    scores = cosines(vectors)
    nearest = nearest_neighbours(vectors, 1)[1][:, 0] if count > 1 else np.full(1, -np.inf)
    rows = threshold_rows(count_above(vectors, numbered(count), labels, np.arange(count)), count, nearest, 0.0, 0.1)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    labelled = [(a, b) for a, b in pairs if labels[a] and labels[b]]
    right = [(a, b) for a, b in labelled if labels[a] == labels[b]]
    assert [row.threshold for row in rows] == THRESHOLDS.tolist()
    for row in rows:
        above = [(a, b) for a, b in pairs if scores[a, b] > row.threshold]
        assert (row.pairs, row.pairs_error) == (len(above), 0.0)
        assert row.images == len({image for pair in above for image in pair})
        labelled_above = set(above) & set(labelled)
        if labelled_above:
            assert row.precision == pytest.approx(len(labelled_above & set(right)) / len(labelled_above))
            wrong = len(labelled_above) - len(labelled_above & set(right))
            assert row.false_pairs == pytest.approx(row.pairs * wrong / len(labelled_above))
        else:
            assert row.precision is None
        assert row.recall == (pytest.approx(len(set(above) & set(right)) / len(right)) if right else None)


def test_the_interval_of_a_sample_holds_the_true_count(rng: np.random.Generator) -> None:
    """At 95 percent, a dozen samples of ten thresholds each miss rarely."""
    vectors, labels = labelled_collection(rng, 600)
    nearest = nearest_neighbours(vectors, 1)[1][:, 0]
    thresholds = THRESHOLDS[:40:4]
    counts = count_above(vectors, numbered(600), labels, np.arange(600), thresholds)
    exact = threshold_rows(counts, 600, nearest, 0.0, 0.1, thresholds)
    inside = total = 0
    for _ in range(12):
        sample = np.sort(rng.choice(600, 150, replace=False))
        counts = count_above(vectors, numbered(600), labels, sample, thresholds)
        estimates = threshold_rows(counts, 600, nearest, 0.0, 0.1, thresholds)
        for truth, estimate in zip(exact, estimates, strict=True):
            assert estimate.pairs_error > 0
            inside += abs(estimate.pairs - truth.pairs) <= estimate.pairs_error
            total += 1
        assert estimates[0].pairs_error < exact[0].pairs
    assert inside / total > 0.85


def test_all_rows_up_to_a_limit_and_a_fixed_sample_above() -> None:
    assert sample_rows(30, exact=30, sample=5).tolist() == list(range(30))
    sample = sample_rows(31, exact=30, sample=5).tolist()
    assert len(set(sample)) == 5
    assert sample == sorted(sample) == sample_rows(31, exact=30, sample=5).tolist()


def test_the_spread_of_the_background_is_that_of_its_lower_half(rng: np.random.Generator) -> None:
    dissimilar = rng.normal(0.2, 0.05, 50_000)
    median, deviation = background_spread(np.concatenate([dissimilar, np.full(500, 0.9)]))
    assert median == pytest.approx(0.2, abs=0.005)
    assert deviation == pytest.approx(0.05, abs=0.005)
    assert background_spread(np.empty(0)) == (0.0, 0.0)


def test_without_labels_false_pairs_are_the_normal_tail(rng: np.random.Generator) -> None:
    vectors, _ = labelled_collection(rng, 50)
    nearest = nearest_neighbours(vectors, 1)[1][:, 0]
    rows = threshold_rows(count_above(vectors, numbered(50), [None] * 50, np.arange(50)), 50, nearest, 0.3, 0.1)
    # Two deviations above the mean: 2.275 percent.
    assert rows[0].false_pairs == pytest.approx(0.02275 * 1225, rel=1e-3)
    assert all(row.false_pairs <= row.pairs for row in rows)
    assert {(row.precision, row.recall) for row in rows} == {(None, None)}


def row(threshold: float, precision: float | None, pairs: float = 10.0) -> ThresholdRow:
    return ThresholdRow(threshold, pairs, 0.0, 5, 0.0, precision, None if precision is None else 0.25)


def test_the_lowest_threshold_from_which_on_all_are_precise_is_suggested() -> None:
    rows = [row(0.5, 0.95), row(0.6, 0.7), row(0.7, 0.91), row(0.8, 0.99), row(0.9, None, 0.0)]
    suggested, why = suggest_threshold(rows)
    assert suggested == 0.7
    assert "91.0% of them are" in why
    assert "25.0% of all right pairs" in why


def test_no_threshold_is_suggested_if_none_is_precise_enough() -> None:
    suggested, why = suggest_threshold([row(0.5, 0.1), row(0.9, 0.89)])
    assert suggested is None
    assert "no threshold" in why


def test_without_labels_the_middle_between_background_and_one_is_suggested() -> None:
    rows = [row(0.5, None), row(0.61, None), row(0.8, None)]
    suggested, why = suggest_threshold_without_labels(rows, 0.22)
    assert suggested == 0.61
    assert "no labels" in why


def test_histograms_count_all_pairs_and_all_images(rng: np.random.Generator) -> None:
    vectors, labels = labelled_collection(rng, 60)
    nearest = nearest_neighbours(vectors, 1)[1][:, 0]
    report = calibrate("space", vectors, numbered(60), labels, nearest)
    assert (sum(report.random), sum(report.nearest)) == (60 * 59 // 2, 60)
    scores = cosines(vectors)[np.triu_indices(60, 1)]
    assert report.random == np.histogram(scores, BINS)[0].tolist()
    assert report.precision_1 is not None
    assert report.gain is not None


def test_a_report_finds_the_row_of_a_threshold(rng: np.random.Generator) -> None:
    vectors, labels = labelled_collection(rng, 30)
    report = calibrate("space", vectors, numbered(30), labels, np.full(30, 0.9))
    found = report.at(0.8)
    assert found is not None
    assert found.threshold == 0.8
    assert report.at(0.3) is None


def test_pairs_of_duplicates_are_right_whatever_their_labels(rng: np.random.Generator) -> None:
    """Counted one by one: a third of the images has a copy without a label."""
    originals, labels = labelled_collection(rng, 60)
    copied = np.arange(0, 60, 3)
    vectors = np.concatenate([originals, originals[copied] + rng.normal(0, 0.01, (20, 12)).astype(np.float32)])
    labels = [*labels, *[None] * 20]
    sets = numbered(60) + [numbered(60)[row] for row in copied]
    nearest = nearest_neighbours(vectors, 1)[1][:, 0]
    scores = cosines(vectors)
    rows = threshold_rows(count_above(vectors, sets, labels, np.arange(80)), 80, nearest, 0.0, 0.1)
    pairs = [(a, b) for a in range(80) for b in range(a + 1, 80)]
    for row in rows:
        above = [(a, b) for a, b in pairs if scores[a, b] > row.threshold]
        distinct = [(a, b) for a, b in above if sets[a] != sets[b]]
        assert row.pairs == len(above)
        if row.precision is not None:
            assert row.false_pairs == pytest.approx(len(distinct) * (1 - row.precision))


def test_a_folder_of_backups_does_not_change_the_advice(rng: np.random.Generator) -> None:
    vectors = (np.repeat(rng.normal(size=(5, 48)), 12, axis=0) + rng.normal(0, 0.6, (60, 48))).astype(np.float32)
    labels: list[str | None] = [f"label{row // 12}" for row in range(60)]
    nearest = nearest_neighbours(vectors, 1)[1][:, 0]
    alone = calibrate("space", vectors, numbered(60), labels, nearest)
    backups = vectors[::2] + rng.normal(0, 0.02, (30, 48)).astype(np.float32)
    both, all_labels = np.concatenate([vectors, backups]), [*labels, *["backup"] * 30]
    nearest = nearest_neighbours(both, 1)[1][:, 0]
    report = calibrate("space", both, numbered(60) + numbered(60)[::2], all_labels, nearest)
    for field in ("suggested", "precision_1", "precision_10", "mean_average_precision", "gain"):
        assert getattr(report, field) == getattr(alone, field)
    assert [(row.precision, row.recall) for row in report.rows] == [(row.precision, row.recall) for row in alone.rows]
    assert (report.duplicates, alone.duplicates) == (30, 0)
    assert "30 duplicates of other images left out" in report.summary
    # The same images, taken for different ones.
    wrong = calibrate("space", both, numbered(90), all_labels, nearest)
    assert (wrong.suggested, wrong.mean_average_precision) != (alone.suggested, alone.mean_average_precision)

"""Ranking measures and cosine distributions against their definitions, written out pair by pair."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from imgret_assets.domain.analysis import ranking_quality
from imgret_assets.domain.analysis.ranking_quality import BIN, cosine_blocks, measure_precision, measure_quality
from imgret_assets.domain.embeddings.table_reader import Embeddings
from imgret_assets.domain.similarity.brute_force import pairs_above
from imgret_tests.unit.analysis.sample_collections import collection_with_duplicates, cosines


def measures_by_definition(
    vectors: np.ndarray, contents: Sequence[str], labels: Sequence[str | None]
) -> tuple[float, float, float]:
    """Return P@1, P@10 and mAP by sorting every image's candidates."""
    scores = cosines(vectors)
    first, ten, averages = [], [], []
    for row, label in enumerate(labels):
        candidates = [other for other in range(len(labels)) if contents[other] != contents[row]]
        if label is None or not candidates:
            continue
        candidates.sort(key=lambda other: (-scores[row, other], other))
        relevant = [labels[other] == label for other in candidates]
        first.append(relevant[0])
        ten.append(np.mean(relevant[:10]))
        precisions = [np.mean(relevant[: rank + 1]) for rank, hit in enumerate(relevant) if hit]
        if precisions:
            averages.append(np.mean(precisions))
    return float(np.mean(first)), float(np.mean(ten)), float(np.mean(averages))


@pytest.mark.parametrize("block_rows", [None, 1, 7, 1000])
@pytest.mark.parametrize("count", [2, 9, 120])
def test_ranking_measures_equal_their_definitions(rng: np.random.Generator, count: int, block_rows: int | None) -> None:
    vectors, contents, labels = collection_with_duplicates(rng, count)
    if count == 2:
        labels = ["a", "a"]
        contents = ["one", "two"]
    quality = measure_quality(vectors, contents, labels, block_rows=block_rows)
    expected = measures_by_definition(vectors, contents, labels)
    assert (quality.precision_1, quality.precision_10, quality.mean_average_precision) == pytest.approx(
        expected, abs=1e-12
    )
    assert (quality.images, quality.labelled) == (count, sum(label is not None for label in labels))
    assert quality.labels == len({label for label in labels if label})


def test_a_ranking_by_hand() -> None:
    """The hits of a are b (relevant), c, d (relevant): precision 1, average precision (1 + 2/3) / 2."""
    angles = np.radians([0, 10, 20, 30])
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    quality = measure_quality(vectors, list("abcd"), ["x", "x", "y", "x"])
    # The hits of b are a and c, which are equally far up to rounding, then d. No other image has the label of c. The
    # hits of d are c, b, a.
    scores_of_b = cosines(vectors)[1]
    average_of_b = (1 + 2 / 3) / 2 if scores_of_b[0] >= scores_of_b[2] else (1 / 2 + 2 / 3) / 2
    assert quality.precision_1 == 2 / 4
    assert quality.precision_10 == pytest.approx((2 / 3 + 2 / 3 + 0 + 2 / 3) / 4)
    assert quality.mean_average_precision == pytest.approx((5 / 6 + average_of_b + (1 / 2 + 2 / 3) / 2) / 3)


@pytest.mark.parametrize("block_rows", [None, 7])
def test_each_pair_is_counted_once_by_kind(rng: np.random.Generator, block_rows: int | None) -> None:
    vectors, contents, labels = collection_with_duplicates(rng, 90)
    quality = measure_quality(vectors, contents, labels, threshold=0.5, block_rows=block_rows)
    scores = cosines(vectors)
    kinds: dict[str, list[float]] = {"same": [], "different": [], "all": []}
    for a, b in itertools.combinations(range(90), 2):
        if contents[a] != contents[b]:
            kinds["all"].append(scores[a, b])
            if labels[a] and labels[b]:
                kinds["same" if labels[a] == labels[b] else "different"].append(scores[a, b])
    for kind, values in kinds.items():
        spread = getattr(quality, kind)
        assert (spread.pairs, spread.above) == (len(values), sum(value > 0.5 for value in values))
        assert spread.share_above == spread.above / len(values)
        assert spread.median == pytest.approx(sorted(values)[(len(values) - 1) // 2], abs=BIN / 2 + 1e-9)
    same, different = np.array(kinds["same"])[:, np.newaxis], np.array(kinds["different"])
    auc = np.mean((same > different) + (same == different) / 2)
    assert quality.auc == pytest.approx(auc, abs=1e-3)
    assert 0.55 < auc < 0.99


def test_pairs_above_the_threshold_are_those_of_the_pairs_table(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(200, 6)).astype(np.float32)
    quality = measure_quality(vectors, [str(row) for row in range(200)], [None] * 200, threshold=0.8)
    assert quality.all.above == len(pairs_above(vectors, 0.8)) > 20


def test_cosines_are_those_of_float64(rng: np.random.Generator) -> None:
    """A float32 product is off by up to 1e-7: enough to count a pair that the graph does not have."""
    vectors = rng.normal(size=(2, 300)).astype(np.float32)
    cosine = cosines(vectors)[0, 1]
    above = [
        measure_quality(vectors, list("ab"), [None] * 2, threshold=cosine + offset).all.above
        for offset in (-1e-12, 1e-12)
    ]
    assert above == [1, 0]


def test_the_area_under_the_curve_at_its_ends() -> None:
    apart = np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1]], np.float32)
    assert measure_quality(apart, list("abcd"), ["x", "x", "y", "y"]).auc == 1.0
    assert measure_quality(apart, list("abcd"), ["x", "y", "x", "y"]).auc == pytest.approx(0.25, abs=0.01)
    assert measure_quality(np.ones((4, 2), np.float32), list("abcd"), ["x", "x", "y", "y"]).auc == 0.5


def test_without_labels_there_are_only_cosines() -> None:
    vectors = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    quality = measure_quality(vectors, list("abc"), [None, "", None])
    measures = (quality.precision_1, quality.precision_10, quality.mean_average_precision, quality.auc)
    assert (*measures, quality.same.median) == (None,) * 5
    assert (quality.labelled, quality.labels, quality.all.pairs) == (0, 0, 3)
    assert quality.all.median == pytest.approx(0.5**0.5, abs=BIN)


def test_with_one_label_there_is_nothing_to_separate() -> None:
    quality = measure_quality(np.array([[1, 0], [1, 1]], np.float32), list("ab"), ["x", "x"])
    measures = (quality.precision_1, quality.mean_average_precision, quality.auc, quality.different.median)
    assert measures == (1, 1, None, None)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_have_no_measures(count: int) -> None:
    quality = measure_quality(np.ones((count, 4), np.float32), ["a"] * count, ["x"] * count)
    measures = (quality.images, quality.precision_1, quality.all.pairs, quality.all.share_above)
    assert measures == (count, None, 0, None)


def test_exact_duplicates_alone_have_no_measures() -> None:
    quality = measure_quality(np.ones((3, 4), np.float32), ["same"] * 3, ["x"] * 3)
    assert (quality.precision_1, quality.all.pairs) == (None, 0)


def test_cosines_at_the_ends_of_the_range_are_counted() -> None:
    quality = measure_quality(np.array([[1, 0], [2, 0], [-1, 0]], np.float32), list("abc"), ["x"] * 3)
    assert (quality.same.pairs, quality.same.counts[0], quality.same.counts[-1]) == (3, 2, 1)
    assert quality.same.above == 1
    equal = measure_quality(np.array([[1, 0], [2, 0]], np.float32), list("ab"), ["x"] * 2, threshold=1.0)
    assert equal.same.above == 0, "a pair counts if its cosine is greater than the threshold"


@pytest.mark.parametrize("block_columns", [1, 50, 4096])
def test_blocks_are_the_cosines_with_all_rows(rng: np.random.Generator, block_columns: int) -> None:
    vectors, _, _ = collection_with_duplicates(rng, 120)
    blocks = list(cosine_blocks(vectors, 50, block_columns=block_columns))
    assert [(start, scores.shape) for start, scores in blocks] == [(0, (50, 120)), (50, (50, 120)), (100, (20, 120))]
    np.testing.assert_allclose(np.concatenate([scores for _, scores in blocks]), cosines(vectors), atol=1e-12)


def test_the_scores_in_memory_are_bounded(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def blocks(vectors: np.ndarray, block_rows: int) -> Iterator[tuple[int, np.ndarray]]:
        for start, scores in cosine_blocks(vectors, block_rows):
            sizes.append(scores.size)
            yield start, scores

    monkeypatch.setattr(ranking_quality, "MAX_BLOCK_SCORES", 1000)
    monkeypatch.setattr(ranking_quality, "cosine_blocks", blocks)
    vectors, contents, labels = collection_with_duplicates(rng, 120)
    assert measure_quality(vectors, contents, labels).images == 120
    assert len(sizes) == 15
    assert max(sizes) <= 1000


def test_precision_is_measured_on_labelled_images() -> None:
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1]], np.float32)
    precision = measure_precision(Embeddings(list("abc"), list("abc"), vectors, ""), ["x", "x", None])
    assert (precision.first, precision.first_ten, precision.images) == (1.0, 0.5, 2)

"""Measures against their definitions, written out pair by pair."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.analysis import quality_plot, ranking_quality
from imgret_assets.domain.analysis.ranking_quality import BIN, Quality, measure, precision
from imgret_assets.domain.embeddings.table_reader import Embeddings


def scored(vectors: np.ndarray) -> np.ndarray:
    """All cosines, float64 (n, n)."""
    wide = vectors.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return np.clip(unit @ unit.T, -1, 1)


def by_definition(
    vectors: np.ndarray, contents: Sequence[str], labels: Sequence[str | None]
) -> tuple[float, float, float]:
    """P@1, P@10 and mAP, by sorting every image's candidates."""
    scores = scored(vectors)
    first, ten, averages = [], [], []
    for row, label in enumerate(labels):
        others = [other for other in range(len(labels)) if contents[other] != contents[row]]
        if label is None or not others:
            continue
        others.sort(key=lambda other: (-scores[row, other], other))
        right = [labels[other] == label for other in others]
        first.append(right[0])
        ten.append(np.mean(right[:10]))
        precisions = [np.mean(right[: rank + 1]) for rank, hit in enumerate(right) if hit]
        if precisions:
            averages.append(np.mean(precisions))
    return float(np.mean(first)), float(np.mean(ten)), float(np.mean(averages))


def collection(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[str], list[str | None]]:
    """Vectors of five loose groups, some exact copies, some equal vectors of other files, some without a label."""
    groups = rng.integers(0, 5, count)
    vectors = (rng.normal(size=(5, 12))[groups] + rng.normal(0, 1.2, (count, 12))).astype(np.float32)
    vectors *= rng.uniform(0.1, 30, (count, 1)).astype(np.float32)
    contents = [f"content{row}" for row in range(count)]
    for row in range(0, count - 1, 9):
        vectors[row + 1] = vectors[row]
        if row % 2:
            contents[row + 1] = contents[row]
    labels = [None if row % 7 == 3 else f"label{group}" for row, group in enumerate(groups)]
    return vectors, contents, labels


@pytest.mark.parametrize("block_rows", [None, 1, 7, 1000])
@pytest.mark.parametrize("count", [2, 9, 120])
def test_ranking_measures_are_their_definitions(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, count: int, block_rows: int | None
) -> None:
    monkeypatch.setattr(ranking_quality, "_COLUMNS_AT_ONCE", 50)
    vectors, contents, labels = collection(rng, count)
    if count == 2:
        labels = ["a", "a"]
        contents = ["one", "two"]
    found = measure(vectors, contents, labels, block_rows=block_rows)
    truth = by_definition(vectors, contents, labels)
    assert (found.precision_1, found.precision_10, found.mean_average_precision) == pytest.approx(truth, abs=1e-12)
    assert (found.images, found.labelled) == (count, sum(label is not None for label in labels))
    assert found.labels == len({label for label in labels if label})


def test_a_hand_made_ranking() -> None:
    """From `a`: b (right), c (wrong), d (right): precision 1, average precision (1 + 2/3) / 2."""
    angles = np.radians([0, 10, 20, 30])
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    found = measure(vectors, list("abcd"), ["x", "x", "y", "x"])
    # b: a and c are equally far, a comes first: 1, 1, then d. c has no other y. d: c (wrong), b, a.
    assert found.precision_1 == 2 / 4
    assert found.precision_10 == pytest.approx((2 / 3 + 2 / 3 + 0 + 2 / 3) / 4)
    assert found.mean_average_precision == pytest.approx((5 / 6 + by_b(vectors) + (1 / 2 + 2 / 3) / 2) / 3)


def by_b(vectors: np.ndarray) -> float:
    """Average precision of the second image, whose two neighbours differ by rounding alone."""
    scores = scored(vectors)[1]
    return (1 + 2 / 3) / 2 if scores[0] >= scores[2] else (1 / 2 + 2 / 3) / 2


@pytest.mark.parametrize("block_rows", [None, 7])
def test_pairs_are_counted_once_by_kind(rng: np.random.Generator, block_rows: int | None) -> None:
    vectors, contents, labels = collection(rng, 90)
    found = measure(vectors, contents, labels, threshold=0.5, block_rows=block_rows)
    scores = scored(vectors)
    kinds: dict[str, list[float]] = {"same": [], "different": [], "all": []}
    for a, b in itertools.combinations(range(90), 2):
        if contents[a] != contents[b]:
            kinds["all"].append(scores[a, b])
            if labels[a] and labels[b]:
                kinds["same" if labels[a] == labels[b] else "different"].append(scores[a, b])
    for kind, values in kinds.items():
        spread = getattr(found, kind)
        assert (spread.pairs, spread.above) == (len(values), sum(value > 0.5 for value in values))
        assert spread.share_above == spread.above / len(values)
        assert spread.median == pytest.approx(sorted(values)[(len(values) - 1) // 2], abs=BIN / 2 + 1e-9)
    same, different = np.array(kinds["same"])[:, np.newaxis], np.array(kinds["different"])
    won = np.mean((same > different) + (same == different) / 2)
    assert found.auc == pytest.approx(won, abs=1e-3)
    assert 0.55 < won < 0.99


def test_what_is_above_is_what_the_pairs_table_has(rng: np.random.Generator) -> None:
    from imgret_assets.domain.similarity.brute_force import pairs_above

    vectors = rng.normal(size=(200, 6)).astype(np.float32)
    found = measure(vectors, [str(row) for row in range(200)], [None] * 200, threshold=0.8)
    assert found.all.above == len(pairs_above(vectors, 0.8)) > 20


def test_cosines_are_those_of_float64(rng: np.random.Generator) -> None:
    """A float32 product is wrong by up to 1e-7: enough to count a pair that the graph has not."""
    vectors = rng.normal(size=(2, 300)).astype(np.float32)
    cosine = scored(vectors)[0, 1]
    counts = [measure(vectors, list("ab"), [None] * 2, threshold=cosine + off).all.above for off in (-1e-12, 1e-12)]
    assert counts == [1, 0]


def test_the_area_under_the_curve_at_its_ends() -> None:
    apart = np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1]], np.float32)
    assert measure(apart, list("abcd"), ["x", "x", "y", "y"]).auc == 1.0
    assert measure(apart, list("abcd"), ["x", "y", "x", "y"]).auc == pytest.approx(0.25, abs=0.01)
    assert measure(np.ones((4, 2), np.float32), list("abcd"), ["x", "x", "y", "y"]).auc == 0.5


def test_without_labels_there_are_cosines_only() -> None:
    vectors = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    found = measure(vectors, list("abc"), [None, "", None])
    figures = (found.precision_1, found.precision_10, found.mean_average_precision, found.auc, found.same.median)
    assert figures == (None,) * 5
    assert (found.labelled, found.labels, found.all.pairs) == (0, 0, 3)
    assert found.all.median == pytest.approx(0.5**0.5, abs=BIN)


def test_with_one_label_there_is_nothing_to_tell_apart() -> None:
    found = measure(np.array([[1, 0], [1, 1]], np.float32), list("ab"), ["x", "x"])
    assert (found.precision_1, found.mean_average_precision, found.auc, found.different.median) == (1, 1, None, None)


@pytest.mark.parametrize("count", [0, 1])
def test_of_nothing_there_is_nothing(count: int) -> None:
    found = measure(np.ones((count, 4), np.float32), ["a"] * count, ["x"] * count)
    assert (found.images, found.precision_1, found.all.pairs, found.all.share_above) == (count, None, 0, None)


def test_only_copies_are_nothing_to_ask_for() -> None:
    found = measure(np.ones((3, 4), np.float32), ["same"] * 3, ["x"] * 3)
    assert (found.precision_1, found.all.pairs) == (None, 0)


def test_cosines_at_the_ends_are_counted() -> None:
    found = measure(np.array([[1, 0], [2, 0], [-1, 0]], np.float32), list("abc"), ["x"] * 3)
    assert (found.same.pairs, found.same.counts[0], found.same.counts[-1]) == (3, 2, 1)
    assert found.same.above == 1
    at_most = measure(np.array([[1, 0], [2, 0]], np.float32), list("ab"), ["x"] * 2, threshold=1.0)
    assert at_most.same.above == 0, "a pair is in when its cosine is greater than the threshold"


def test_memory_is_bounded_by_blocks(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    blocks = ranking_quality._blocks

    def watched(vectors: np.ndarray, block_rows: int) -> object:
        for start, scores in blocks(vectors, block_rows):
            seen.append(scores.size)
            yield start, scores

    monkeypatch.setattr(ranking_quality, "_SCORES_AT_ONCE", 1000)
    monkeypatch.setattr(ranking_quality, "_blocks", watched)
    vectors, contents, labels = collection(rng, 120)
    assert measure(vectors, contents, labels).images == 120
    assert len(seen) == 15
    assert max(seen) <= 1000


def test_precision_is_of_labelled_images() -> None:
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1]], np.float32)
    found = precision(Embeddings(list("abc"), list("abc"), vectors, ""), ["x", "x", None])
    assert (found.first, found.first_ten, found.images) == (1.0, 0.5, 2)


def measured(rng: np.random.Generator, *, labelled: bool = True) -> Quality:
    vectors, contents, labels = collection(rng, 60)
    return measure(vectors, contents, labels if labelled else [None] * 60)


def test_the_plot_is_a_picture_with_a_panel_for_each_space(rng: np.random.Generator, tmp_path: Path) -> None:
    one, two = tmp_path / "one.png", tmp_path / "new" / "two.png"
    quality_plot.draw({"a-12345678": measured(rng)}, one)
    quality_plot.draw({"a-12345678": measured(rng), "b-12345678": measured(rng, labelled=False)}, two)
    with Image.open(one) as first, Image.open(two) as second:
        assert (first.format, second.format) == ("PNG", "PNG")
        assert second.height > 1.5 * first.height
        colours = np.unique(np.asarray(second.convert("RGB"), np.int64).reshape(-1, 3), axis=0)
    for wanted in ((0, 114, 178), (213, 94, 0), (85, 85, 85)):
        assert np.abs(colours - wanted).max(axis=1).min() < 16, "lines are smoothed"
    assert list(two.parent.iterdir()) == [two]

"""All scores are counted, and those from the minimum score on are marked."""

import numpy as np
import pytest

from imgret_assets.app.components.score_histogram import (
    BINS,
    SELECTION,
    count_scores,
    histogram_chart,
    selected_score,
)


def test_every_score_is_counted_once(rng: np.random.Generator) -> None:
    scores = rng.normal(0.2, 0.1, 5000).astype(np.float32)
    histogram = count_scores(scores)
    assert histogram.counts.sum() == 5000
    assert histogram.edges[0] == pytest.approx(scores.min())
    assert histogram.edges[-1] == pytest.approx(scores.max())


@pytest.mark.parametrize("scores", [[], [0.5], [0.5, 0.5]])
def test_few_or_equal_scores_make_a_chart(scores: list[float]) -> None:
    histogram = count_scores(np.array(scores, np.float32))
    assert histogram.counts.sum() == len(scores)
    assert (np.diff(histogram.edges) > 0).all()
    rows, _ = histogram_chart(histogram, min_score=None)
    assert sum(row["images"] for row in rows) == len(scores)


def test_bars_at_or_above_the_minimum_score_are_marked() -> None:
    rows, chart = histogram_chart(count_scores(np.linspace(0, 1, 601), bins=10), min_score=0.5)
    assert [row["included"] for row in rows] == [False] * 5 + [True] * 5
    assert len(chart["layer"]) == 3
    all_rows, unmarked = histogram_chart(count_scores(np.linspace(0, 1, 601), bins=10), min_score=None)
    assert all(row["included"] for row in all_rows)
    assert len(unmarked["layer"]) == 2


@pytest.mark.parametrize(("low", "high"), [(0.95, 0.99), (-0.2, 1.0), (0.5, 0.5)])
def test_ticks_differ_and_every_score_can_be_clicked(low: float, high: float) -> None:
    histogram = count_scores(np.linspace(low, high, 300))
    _, chart = histogram_chart(histogram, min_score=None)
    x = chart["layer"][0]["encoding"]["x"]
    start, end = x["scale"]["domain"]
    # At most so many ticks over the range, with two decimals.
    assert (end - start) / x["axis"]["tickCount"] >= 0.01
    assert x["axis"]["format"] == ".2~f"
    assert len(chart["layer"][1]["data"]["values"]) == BINS


@pytest.mark.parametrize(("most", "ticks"), [(1, [1, 2, 5]), (9, [1, 2, 5]), (10, [1, 10]), (4321, [1, 10, 100, 1000])])
def test_counts_have_ticks_that_differ(most: int, ticks: list[int]) -> None:
    _, chart = histogram_chart(count_scores(np.full(most, 0.5)), min_score=None)
    assert chart["layer"][0]["encoding"]["y"]["axis"]["values"] == ticks


def test_a_click_gives_a_minimum_that_the_bar_satisfies() -> None:
    rows, _ = histogram_chart(count_scores(np.linspace(0.1, 0.9371, 500)), min_score=None)
    for row in rows:
        score = selected_score({SELECTION: [row]})
        assert score is not None
        assert row["from"] - 0.001 < score <= row["from"]
    assert selected_score({}) is None
    assert selected_score({SELECTION: []}) is None

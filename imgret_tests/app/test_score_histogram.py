"""All scores are counted, and those from the minimum score on are marked."""

import numpy as np
import pytest

from imgret_assets.app.components.score_histogram import count_scores, histogram_chart


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
    assert len(chart["layer"]) == 2
    all_rows, unmarked = histogram_chart(count_scores(np.linspace(0, 1, 601), bins=10), min_score=None)
    assert all(row["included"] for row in all_rows)
    assert len(unmarked["layer"]) == 1

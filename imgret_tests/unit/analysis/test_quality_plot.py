"""The plot of cosines by label."""

from pathlib import Path

import numpy as np
from PIL import Image

from imgret_assets.domain.analysis.quality_plot import draw_quality
from imgret_assets.domain.analysis.ranking_quality import Quality, measure_quality
from imgret_tests.unit.analysis.sample_collections import collection_with_duplicates


def quality(rng: np.random.Generator, *, labelled: bool = True) -> Quality:
    vectors, contents, labels = collection_with_duplicates(rng, 60)
    return measure_quality(vectors, contents, labels if labelled else [None] * 60)


def test_the_plot_has_a_panel_for_each_space(rng: np.random.Generator, tmp_path: Path) -> None:
    one_panel, two_panels = tmp_path / "one.png", tmp_path / "new" / "two.png"
    draw_quality({"a-12345678": quality(rng)}, one_panel)
    draw_quality({"a-12345678": quality(rng), "b-12345678": quality(rng, labelled=False)}, two_panels)
    with Image.open(one_panel) as first, Image.open(two_panels) as second:
        assert (first.format, second.format) == ("PNG", "PNG")
        assert second.height > 1.5 * first.height
        colours = np.unique(np.asarray(second.convert("RGB"), np.int64).reshape(-1, 3), axis=0)
    for line in ((0, 114, 178), (213, 94, 0), (85, 85, 85)):
        assert np.abs(colours - line).max(axis=1).min() < 16, "lines are smoothed"
    assert list(two_panels.parent.iterdir()) == [two_panels]

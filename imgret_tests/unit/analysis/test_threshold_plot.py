"""The plot of a threshold report as a file and as Markdown."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.analysis.calibration import calibrate
from imgret_assets.domain.analysis.threshold_plot import as_markdown, draw_threshold_report
from imgret_tests.unit.analysis.sample_collections import labelled_collection


@pytest.fixture
def plot(rng: np.random.Generator, tmp_path: Path) -> Path:
    vectors, labels = labelled_collection(rng, 60)
    report = calibrate("space", vectors, [str(number) for number in range(60)], labels, np.full(60, 0.9))
    file = tmp_path / "similarity.png"
    draw_threshold_report(report, file)
    return file


def test_the_plot_is_a_png_with_the_colours_of_its_lines(plot: Path) -> None:
    with Image.open(plot) as image:
        assert (image.format, image.size) == ("PNG", (1040, 780))
        colours = np.unique(np.asarray(image.convert("RGB"), np.int64).reshape(-1, 3), axis=0)
    for line in ((0, 114, 178), (213, 94, 0), (85, 85, 85)):
        assert np.abs(colours - line).max(axis=1).min() < 16, "lines are smoothed"


def test_markdown_is_as_large_as_its_limit_allows(plot: Path) -> None:
    large, small = (as_markdown(plot, max_bytes=limit) for limit in (64 * 1024, 8 * 1024))
    assert large.startswith("![cosines](data:image/png;base64,")
    assert 0 < len(small) <= 8 * 1024 < len(large) <= 64 * 1024
    assert as_markdown(plot, max_bytes=100) == ""

"""The cosines of same and different labels as a picture, one panel for each embedding space.

Belongs here: drawing. Not here: measuring (`domain.analysis.ranking_quality`), what all drawings share
(`domain.analysis.figures`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imgret_assets.domain.analysis.figures import BLUE, GREY, VERMILION, finish, new_figure, write_png
from imgret_assets.domain.analysis.ranking_quality import BIN, Quality, Spread

_COLOURS = {"same label": BLUE, "different labels": VERMILION, "all pairs": GREY}
_BAR = 0.02


def draw(qualities: Mapping[str, Quality], file: Path) -> None:
    """Draw the histograms into a PNG file.

    Args:
        qualities: by the spaces' names, in the order of the panels; at least one.
        file: appears when it is whole.
    """
    figure = new_figure(8, 0.8 + 2.6 * len(qualities))
    panels = figure.subplots(len(qualities), 1, sharex=True, squeeze=False)[:, 0]
    low = min(_lowest(quality.all) for quality in qualities.values())
    for panel, (space, quality) in zip(panels, qualities.items(), strict=True):
        _panel(panel, space, quality)
        panel.set_xlim(low, 1.0)
    panels[-1].set_xlabel("cosine of a pair of images")
    write_png(figure, file)


def _panel(panel: Any, space: str, quality: Quality) -> None:
    kinds = {"same label": quality.same, "different labels": quality.different}
    if not quality.same.pairs and not quality.different.pairs:
        kinds = {"all pairs": quality.all}
    for name, spread in kinds.items():
        if spread.pairs:
            per_bar = round(_BAR / BIN)
            heights = spread.counts.reshape(-1, per_bar).sum(axis=1) / spread.pairs
            edges = np.linspace(-1, 1, len(heights) + 1)
            label = f"{name} ({spread.pairs:,}, median {spread.median:.3f})"
            panel.stairs(heights, edges, fill=True, alpha=0.35, color=_COLOURS[name])
            panel.stairs(heights, edges, color=_COLOURS[name], label=label)
    panel.axvline(quality.threshold, color="#000000", linewidth=0.8, linestyle=":", label=f"{quality.threshold:g}")
    figures = {
        "P@1": quality.precision_1,
        "P@10": quality.precision_10,
        "mAP": quality.mean_average_precision,
        "AUC": quality.auc,
    }
    said = [f"{name} {value:.3f}" for name, value in figures.items() if value is not None]
    panel.set_title("   ".join([space, f"{quality.images:,} images", *said]), fontsize=9, loc="left")
    panel.set_ylabel("share of pairs")
    finish(panel)


def _lowest(spread: Spread) -> float:
    """A round cosine below all."""
    there = np.flatnonzero(spread.counts)
    return float(np.floor((there[0] * BIN - 1) * 10) / 10) if len(there) else 0.0

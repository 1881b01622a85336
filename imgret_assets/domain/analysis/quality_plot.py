"""The plot of cosines of same and different labels, one panel for each embedding space.

Belongs here: drawing. Not here: measuring (`domain.analysis.ranking_quality`), what all plots share
(`domain.analysis.figures`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imgret_assets.domain.analysis.figures import BLUE, GREY, VERMILION, finish_axes, new_figure, write_png
from imgret_assets.domain.analysis.ranking_quality import BIN, Quality, Spread

_COLOURS = {"same label": BLUE, "different labels": VERMILION, "all pairs": GREY}
_BAR = 0.02


def draw_quality(qualities: Mapping[str, Quality], file: Path) -> None:
    """Draw the histograms into a PNG file.

    Args:
        qualities: by the name of the embedding space, in the order of the panels; at least one.
        file: appears when it is complete.
    """
    figure = new_figure(8, 0.8 + 2.6 * len(qualities))
    panels = figure.subplots(len(qualities), 1, sharex=True, squeeze=False)[:, 0]
    lowest = min(_lower_bound(quality.all) for quality in qualities.values())
    for axes, (space, quality) in zip(panels, qualities.items(), strict=True):
        _draw_panel(axes, space, quality)
        axes.set_xlim(lowest, 1.0)
    panels[-1].set_xlabel("cosine of a pair of images")
    write_png(figure, file)


def _draw_panel(axes: Any, space: str, quality: Quality) -> None:
    spreads = {"same label": quality.same, "different labels": quality.different}
    if not quality.same.pairs and not quality.different.pairs:
        spreads = {"all pairs": quality.all}
    for name, spread in spreads.items():
        if spread.pairs:
            bins_per_bar = round(_BAR / BIN)
            heights = spread.counts.reshape(-1, bins_per_bar).sum(axis=1) / spread.pairs
            edges = np.linspace(-1, 1, len(heights) + 1)
            label = f"{name} ({spread.pairs:,}, median {spread.median:.3f})"
            axes.stairs(heights, edges, fill=True, alpha=0.35, color=_COLOURS[name])
            axes.stairs(heights, edges, color=_COLOURS[name], label=label)
    axes.axvline(quality.threshold, color="#000000", linewidth=0.8, linestyle=":", label=f"{quality.threshold:g}")
    measures = {
        "P@1": quality.precision_1,
        "P@10": quality.precision_10,
        "mAP": quality.mean_average_precision,
        "AUC": quality.auc,
    }
    texts = [f"{name} {value:.3f}" for name, value in measures.items() if value is not None]
    axes.set_title("   ".join([space, f"{quality.images:,} images", *texts]), fontsize=9, loc="left")
    axes.set_ylabel("share of pairs")
    finish_axes(axes)


def _lower_bound(spread: Spread) -> float:
    """Return a round cosine below all pairs."""
    occupied = np.flatnonzero(spread.counts)
    return float(np.floor((occupied[0] * BIN - 1) * 10) / 10) if len(occupied) else 0.0

"""The plot of a threshold report: cosines of random and nearest pairs, and what each threshold gives.

Belongs here: drawing. Not here: the figures (`domain.analysis.calibration`), what all plots share
(`domain.analysis.figures`).
"""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgret_assets.domain.analysis.calibration import BINS, ThresholdReport
from imgret_assets.domain.analysis.figures import (
    BLUE,
    GREY,
    VERMILION,
    finish_axes,
    fix_layout,
    new_figure,
    smaller_png,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANDOM, _NEAREST = VERMILION, BLUE


def draw_threshold_report(report: ThresholdReport, file: Path) -> None:
    """Draw the report into a PNG file, which appears when it is complete."""
    write_png(_figure(report), file)


def as_markdown(file: Path, *, max_bytes: int) -> str:
    """Return a plot's file as Markdown with a data URI, as large as `max_bytes` allows; empty if none fits."""
    for share in (0.8, 0.6, 0.45, 0.3, 0.2):
        text = f"![cosines](data:image/png;base64,{base64.b64encode(smaller_png(file, share)).decode()})"
        if len(text) <= max_bytes:
            return text
    return ""


def _figure(report: ThresholdReport) -> "Figure":
    figure = new_figure(8, 6)
    upper, lower = figure.subplots(2, 1)
    _draw_cosines(upper, report)
    _draw_thresholds(lower, report)
    fix_layout(figure)
    return figure


def _draw_cosines(axes: Any, report: ThresholdReport) -> None:
    kinds = (("random pairs", report.random, _RANDOM), ("nearest neighbours", report.nearest, _NEAREST))
    for name, counts, colour in kinds:
        heights = np.array(counts) / max(1, sum(counts))
        axes.stairs(heights, BINS, fill=True, alpha=0.35, color=colour)
        axes.stairs(heights, BINS, color=colour, label=name)
    occupied = np.flatnonzero(np.array(report.random) + np.array(report.nearest))
    axes.set_xlim(BINS[occupied[0]] if len(occupied) else -1, 1)
    _draw_suggested(axes, report)
    axes.set_title(f"{report.space}   {report.images:,} images", fontsize=9, loc="left")
    axes.set_xlabel("cosine")
    axes.set_ylabel("share of pairs")
    finish_axes(axes)


def _draw_thresholds(axes: Any, report: ThresholdReport) -> None:
    thresholds = [row.threshold for row in report.rows]
    if any(row.pairs for row in report.rows):
        axes.set_yscale("log")
        pairs, errors = np.array([(row.pairs, row.pairs_error) for row in report.rows]).T
        axes.plot(thresholds, np.where(pairs > 0, pairs, np.nan), color=GREY, label="pairs")
        if errors.any():
            axes.fill_between(thresholds, np.maximum(pairs - errors, 0.5), pairs + errors, color=GREY, alpha=0.25)
        false = np.array([row.false_pairs for row in report.rows])
        visible = np.where(false > 0.5, false, np.nan)
        axes.plot(thresholds, visible, color=GREY, linestyle=":", label="expected false pairs")
    axes.set_xlabel("threshold")
    axes.set_ylabel("pairs")
    shares = axes.twinx()
    for name, colour in (("precision", _NEAREST), ("recall", _RANDOM)):
        values = [getattr(row, name) for row in report.rows]
        if any(value is not None for value in values):
            # The legend is on the other axes, which gets an empty line of this colour.
            axes.plot([], [], color=colour, label=name)
            shares.plot(thresholds, [np.nan if value is None else value for value in values], color=colour)
    shares.set_ylim(0, 1.02)
    shares.set_ylabel("share")
    shares.spines[["top"]].set_visible(False)
    _draw_suggested(axes, report)
    finish_axes(axes)


def _draw_suggested(axes: Any, report: ThresholdReport) -> None:
    if report.suggested is not None:
        axes.axvline(
            report.suggested, color="#000000", linewidth=0.8, linestyle="--", label=f"suggested {report.suggested:g}"
        )

"""A space's cosines as a picture: random and nearest pairs, and what each threshold gives.

Belongs here: drawing. Not here: counting (`domain.analysis.threshold_report`), what all drawings share
(`domain.analysis.figures`).
"""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgret_assets.domain.analysis.calibration import BINS, Report
from imgret_assets.domain.analysis.figures import (
    BLUE,
    GREY,
    VERMILION,
    finish,
    new_figure,
    settle,
    smaller_png,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANDOM, _NEAREST = VERMILION, BLUE


def draw(report: Report, file: Path) -> None:
    """Draw the report into a PNG file, which appears when it is whole."""
    write_png(_figure(report), file)


def markdown(file: Path, *, max_bytes: int) -> str:
    """A drawn report as Markdown with a data URI of at most `max_bytes`, as large as that allows; empty if too few."""
    for share in (0.8, 0.6, 0.45, 0.3, 0.2):
        said = f"![cosines](data:image/png;base64,{base64.b64encode(smaller_png(file, share)).decode()})"
        if len(said) <= max_bytes:
            return said
    return ""


def _figure(report: Report) -> "Figure":
    figure = new_figure(8, 6)
    upper, lower = figure.subplots(2, 1)
    _cosines(upper, report)
    _thresholds(lower, report)
    settle(figure)
    return figure


def _cosines(panel: Any, report: Report) -> None:
    kinds = (("random pairs", report.random, _RANDOM), ("nearest neighbours", report.nearest, _NEAREST))
    for name, counts, colour in kinds:
        heights = np.array(counts) / max(1, sum(counts))
        panel.stairs(heights, BINS, fill=True, alpha=0.35, color=colour)
        panel.stairs(heights, BINS, color=colour, label=name)
    there = np.flatnonzero(np.array(report.random) + np.array(report.nearest))
    panel.set_xlim(BINS[there[0]] if len(there) else -1, 1)
    _suggested(panel, report)
    panel.set_title(f"{report.space}   {report.images:,} images", fontsize=9, loc="left")
    panel.set_xlabel("cosine")
    panel.set_ylabel("share of pairs")
    finish(panel)


def _thresholds(panel: Any, report: Report) -> None:
    at = [row.threshold for row in report.rows]
    if any(row.pairs for row in report.rows):
        panel.set_yscale("log")
        pairs, errors = np.array([(row.pairs, row.pairs_error) for row in report.rows]).T
        panel.plot(at, np.where(pairs > 0, pairs, np.nan), color=GREY, label="pairs")
        if errors.any():
            panel.fill_between(at, np.maximum(pairs - errors, 0.5), pairs + errors, color=GREY, alpha=0.25)
        false = np.array([row.false_pairs for row in report.rows])
        panel.plot(at, np.where(false > 0.5, false, np.nan), color=GREY, linestyle=":", label="expected false pairs")
    panel.set_xlabel("threshold")
    panel.set_ylabel("pairs")
    shares = panel.twinx()
    for name, colour in (("precision", _NEAREST), ("recall", _RANDOM)):
        values = [getattr(row, name) for row in report.rows]
        if any(value is not None for value in values):
            panel.plot([], [], color=colour, label=name)
            shares.plot(at, [np.nan if value is None else value for value in values], color=colour)
    shares.set_ylim(0, 1.02)
    shares.set_ylabel("share")
    shares.spines[["top"]].set_visible(False)
    _suggested(panel, report)
    finish(panel)


def _suggested(panel: Any, report: Report) -> None:
    if report.suggested is not None:
        panel.axvline(
            report.suggested, color="#000000", linewidth=0.8, linestyle="--", label=f"suggested {report.suggested:g}"
        )

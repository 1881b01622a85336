"""The distribution of a query's scores over the library, with the minimum score marked.

Belongs here: counting, and the chart's description. Not here: the scores (`domain.search.vector_cache`), the page
(`app.views.search_page`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 60
INCLUDED, EXCLUDED, MARK = "#1c7ed6", "#adb5bd", "#e8590c"
# Name of the chart's selection.
SELECTION = "min_score"
# Where the axis of counts starts.
_LOWEST = 0.5
# Scores that hardly differ still get an axis of this length.
_MIN_RANGE = 0.1


@dataclass(frozen=True)
class Histogram:
    """Counts of scores in equal bins: `edges` float64 (bins + 1,), `counts` int64 (bins,)."""

    edges: np.ndarray
    counts: np.ndarray


def count_scores(scores: np.ndarray, bins: int = BINS) -> Histogram:
    """Count scores float (n,) in equal bins from the lowest to the highest score."""
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    counts, edges = np.histogram(scores, bins=bins, range=(low, max(high, low + _MIN_RANGE)))
    return Histogram(edges, counts)


def histogram_chart(histogram: Histogram, *, min_score: float | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return rows and Vega-Lite description of the chart: bars on a logarithmic scale, marked from `min_score` on.

    A click selects a bar, also where no image is: the selection `SELECTION` has its lowest score, `from`.
    """
    bins = [
        {
            "from": float(low),
            "to": float(high),
            "images": int(count),
            "included": min_score is None or float(high) > min_score,
        }
        for low, high, count in zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True)
    ]
    most = int(histogram.counts.max(initial=1))
    x = {
        "field": "from",
        "type": "quantitative",
        "bin": {"binned": True},
        "title": "score",
        # From the lowest score to the highest, wherever the mark is.
        "scale": {"domain": [float(histogram.edges[0]), float(histogram.edges[-1])], "nice": False, "clamp": True},
        "axis": {"format": ".2~f", "tickCount": 8, "labelOverlap": True},
    }
    # A logarithm has no zero: the axis starts where a bar of one image is still visible.
    y = {
        "field": "images",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [_LOWEST, max(2, 1.2 * most)]},
        "title": "images",
        "axis": {"values": _powers(most), "format": ",.0f"},
    }
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "binSpacing": 0},
            "encoding": {
                "x": x,
                "x2": {"field": "to"},
                "y": y,
                "y2": {"datum": _LOWEST},
                "color": {"condition": {"test": "datum.included", "value": INCLUDED}, "value": EXCLUDED},
            },
        },
        {
            # Where the pointer is: all of a bar's height, whatever its count.
            "data": {"values": bins},
            "params": [
                {"name": SELECTION, "select": {"type": "point", "fields": ["from"], "on": "click", "toggle": False}}
            ],
            "mark": {"type": "rect", "opacity": 0, "cursor": "pointer"},
            "encoding": {
                "x": x,
                "x2": {"field": "to"},
                "tooltip": [
                    {"field": "from", "title": "score from", "format": ".3f"},
                    {"field": "images", "title": "images", "format": ",.0f"},
                ],
            },
        },
    ]
    if min_score is not None:
        layers.append({"mark": {"type": "rule", "color": MARK, "size": 2}, "encoding": {"x": {"datum": min_score}}})
    return [row for row in bins if row["images"]], {"height": 160, "layer": layers}


def _powers(most: int) -> list[int]:
    """Return the counts that an axis up to `most` names: powers of ten, below ten also 2 and 5."""
    return [10**digits for digits in range(len(str(most)))] if most >= 10 else [1, 2, 5]


def selected_score(selection: Mapping[str, Any]) -> float | None:
    """Return the lowest score of the bar that was clicked, rounded down to thousandths; None if none is selected."""
    rows = selection.get(SELECTION) or []
    return math.floor(rows[0]["from"] * 1000) / 1000 if rows else None

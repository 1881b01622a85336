"""The distribution of a query's scores over the library, with the minimum score marked.

Belongs here: counting, and the chart's description. Not here: the scores (`domain.search.vector_cache`), the page
(`app.views.search_page`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 60
INCLUDED, EXCLUDED, MARK = "#1c7ed6", "#adb5bd", "#e8590c"
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
    """Return rows and Vega-Lite description of the chart: bars on a logarithmic scale, marked from `min_score` on."""
    rows = [
        {
            "from": float(low),
            "to": float(high),
            "images": int(count),
            "included": min_score is None or float(high) > min_score,
        }
        for low, high, count in zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True)
        if count
    ]
    x = {"field": "from", "type": "quantitative", "bin": {"binned": True}, "title": "score", "axis": {"format": ".1f"}}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "tooltip": True, "binSpacing": 0},
            "encoding": {
                "x": x,
                "x2": {"field": "to"},
                # A logarithm has no zero: the axis starts where a bar of one image is still visible.
                "y": {
                    "field": "images",
                    "type": "quantitative",
                    "scale": {"type": "log", "domainMin": 0.5},
                    "title": "images",
                    "axis": {"tickCount": 3, "format": ",.0f"},
                },
                "y2": {"datum": 0.5},
                "color": {"condition": {"test": "datum.included", "value": INCLUDED}, "value": EXCLUDED},
            },
        }
    ]
    if min_score is not None:
        layers.append({"mark": {"type": "rule", "color": MARK}, "encoding": {"x": {"datum": min_score}}})
    return rows, {"height": 160, "layer": layers}

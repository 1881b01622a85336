"""How a query's scores are spread over the library, with the lowest score asked for marked in it.

Belongs here: counting, and the chart's description. Not here: the scores (`domain.search.vector_cache`), the page
(`app.views.search_page`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 60
# The lowest and the highest score that a plain cosine of pictures takes in practice get bins of their own.
ABOVE, BELOW = "#1c7ed6", "#adb5bd"


@dataclass(frozen=True)
class Histogram:
    """Counts of scores in equal bins; `edges` float64 (bins + 1,), `counts` int64 (bins,), all images counted."""

    edges: np.ndarray
    counts: np.ndarray


def count_scores(scores: np.ndarray, bins: int = BINS) -> Histogram:
    """Scores float (n,) in equal bins from the lowest to the highest, at least a tenth apart."""
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    counts, edges = np.histogram(scores, bins=bins, range=(low, max(high, low + 0.1)))
    return Histogram(edges, counts)


def histogram_chart(histogram: Histogram, *, lowest: float | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and Vega-Lite description of the chart: bars on a logarithmic scale, those at or above `lowest` marked."""
    rows = [
        {"from": float(low), "to": float(high), "images": int(count), "in": lowest is None or float(high) > lowest}
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
                # A logarithm has no zero: the axis begins where a bar of one image still shows.
                "y": {
                    "field": "images",
                    "type": "quantitative",
                    "scale": {"type": "log", "domainMin": 0.5},
                    "title": "images",
                    "axis": {"tickCount": 3, "format": ",.0f"},
                },
                "y2": {"datum": 0.5},
                "color": {"condition": {"test": "datum.in", "value": ABOVE}, "value": BELOW},
            },
        }
    ]
    if lowest is not None:
        layers.append({"mark": {"type": "rule", "color": "#e8590c"}, "encoding": {"x": {"datum": lowest}}})
    return rows, {"height": 160, "layer": layers}

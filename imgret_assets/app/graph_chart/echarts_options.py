"""A graph view as options of the chart component.

Belongs here: positions, sizes, colours and texts of the drawn graph, and its legend. Not here: which nodes and edges
there are (`app.graph_chart.hit_graph`, `app.graph_chart.neighbourhood`), thumbnails (`app.components.thumbnails`).
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from imgret_assets.app.graph_chart.graph_view import HIT, QUERY, QUERY_SCORE, RELATED, GraphNode, GraphView
from imgret_assets.app.graph_chart.layout import lay_out
from imgret_assets.app.plain_text import chart_text
from imgret_assets.domain.graph.relationship_kinds import KINDS, LineStyle
from imgret_assets.domain.search.relations import NEAREST, Edge
from imgret_assets.wording import counted, score_text

# More scores or names than these cover each other; they are shown in tooltips only.
MAX_EDGE_LABELS = 24
MAX_NODE_LABELS = 40
# More images than these need a taller canvas, and still more the tallest.
_TALL_FROM, _TALLEST_FROM = MAX_NODE_LABELS + 1, 151
# Strong enough on a white page and on a black one.
FRAMES = {QUERY: "#e8590c", HIT: "#1c7ed6", RELATED: "#868e96"}
# Lines by their colours' names in Streamlit's Markdown, so that the legend shows the same.
LINE_COLOURS = {
    "gray": FRAMES[RELATED],
    "violet": "#ae3ec9",
    "blue": FRAMES[HIT],
    "green": "#2f9e44",
    "red": "#e03131",
    "orange": FRAMES[QUERY],
}
# Relationships that the page shows, by name.
SHOWN_LINES = {kind.name: kind.line for kind in KINDS if kind.line is not None}
# Edges that are no relationship.
_SCORE_KINDS = frozenset({QUERY_SCORE, NEAREST})
_SCORE_LINE = LineStyle("dotted", "orange")
# How strongly such an edge pulls in the layout; a relationship pulls with 1.
_SCORE_PULL = 0.3
_PROPORTION = {QUERY: 1.35, HIT: 1.0, RELATED: 0.75}
# The canvas is as wide as the page; this width is only what the layout counts with.
CANVAS_PX = (1040, 620)
# Distance of the images' centres from the canvas' left, right, top and bottom edge.
_MARGINS_PX = (80, 80, 60, 75)
_LABEL_PX, _CHARACTER_PX = (120, 14), 6.5
# Between images; wide where the scores of edges are shown.
_GAP_PX, _WIDE_GAP_PX = 10, 26

Position = tuple[float, float]
# Of code that runs in the browser. Text nodes, never markup: a file may be called like a tag.
TOOLTIP_CODE = """function (point) {
  const box = document.createElement('div');
  box.style.maxWidth = '420px'; box.style.whiteSpace = 'normal'; box.style.overflowWrap = 'anywhere';
  (point.data.lines || []).forEach(function (line) {
    const row = document.createElement('div'); row.textContent = line; box.appendChild(row);
  });
  return box;
}"""
LABEL_CODE = "function (point) { return point.data.name; }"


class Symbol(NamedTuple):
    """A node's image: a data URI, and the width and height in pixels in which it is drawn."""

    uri: str
    width: int
    height: int


def symbol_px(kind: str, count: int) -> int:
    """Return the longest side of an image in pixels if `count` of them share the canvas."""
    fitting = 0.5 * math.sqrt(CANVAS_PX[0] * canvas_height_px(count) / count)
    return round(min(max(fitting, 30), 84) * _PROPORTION[kind])


def canvas_height_px(count: int) -> int:
    """Return the height of the canvas for `count` images."""
    if count < _TALL_FROM:
        return CANVAS_PX[1]
    return CANVAS_PX[1] * 3 // 2 if count < _TALLEST_FROM else CANVAS_PX[1] * 2


def node_positions(
    view: GraphView, symbols: Sequence[Symbol], known: Mapping[str, Position] | None = None
) -> dict[str, Position]:
    """Return the position of each node by path, as shares of the canvas' width and height within its margins.

    Args:
        view: what is drawn.
        symbols: of its nodes, in their order.
        known: positions by path of images that are or were on the chart; see `layout.lay_out`.
    """
    width, height = _space_px(len(view.nodes))
    known_rows = {
        row: (known[node.path][0] * width, known[node.path][1] * height)
        for row, node in enumerate(view.nodes)
        if known and node.path in known
    }
    rows = {node.path: row for row, node in enumerate(view.nodes)}
    links = tuple(
        (rows[edge.source], rows[edge.target], (1.0 if _is_relationship(edge) else _SCORE_PULL) * max(edge.score, 0.05))
        for edge in view.edges
    )
    placed = _cached_layout(_box_sizes(view, symbols), links, (width, height), tuple(known_rows.items()))
    return {node.path: (x / width, y / height) for node, (x, y) in zip(view.nodes, placed, strict=True)}


def _space_px(count: int) -> Position:
    """Return width and height of the canvas within its margins."""
    left, right, top, bottom = _MARGINS_PX
    return CANVAS_PX[0] - left - right, canvas_height_px(count) - top - bottom


def _box_sizes(view: GraphView, symbols: Sequence[Symbol]) -> tuple[Position, ...]:
    """Return width and height that each node needs, its name and the gap to others included."""
    shows_names = len(view.nodes) <= MAX_NODE_LABELS
    gap = _WIDE_GAP_PX if shows_names else _GAP_PX
    sizes = []
    for node, symbol in zip(view.nodes, symbols, strict=True):
        width, height = symbol.width + gap, symbol.height + gap
        if shows_names:
            length = _CHARACTER_PX * len(node.name.rsplit("/", 1)[-1])
            width = max(width, min(length, _LABEL_PX[0]))
            height += math.ceil(length / _LABEL_PX[0]) * _LABEL_PX[1]
        sizes.append((width, height))
    return tuple(sizes)


@lru_cache(maxsize=64)
def _cached_layout(
    sizes: tuple[Position, ...],
    links: tuple[tuple[int, int, float], ...],
    box: Position,
    known: tuple[tuple[int, Position], ...],
) -> tuple[Position, ...]:
    # Streamlit draws the page again after every click, mostly with the same graph.
    placed = lay_out(np.array(sizes, dtype=np.float64).reshape(-1, 2), links, box=box, known=dict(known))
    return tuple((x, y) for x, y in placed.tolist())


def echarts_options(
    view: GraphView,
    symbols: Sequence[Symbol],
    positions: Mapping[str, Position],
    *,
    label_formatter: Any = None,
    tooltip_formatter: Any = None,
) -> dict[str, Any]:
    """Return the options of an ECharts graph with thumbnails as nodes.

    Args:
        view: what is drawn.
        symbols: of its nodes, in their order.
        positions: of its nodes by path, see `node_positions`.
        label_formatter: the component's code for a node's label, made of LABEL_CODE.
        tooltip_formatter: the component's code for a tooltip, made of TOOLTIP_CODE.
    """
    width, height = _space_px(len(view.nodes))
    data = [
        _node_data(node, row, symbol, (positions[node.path][0] * width, positions[node.path][1] * height))
        for row, (node, symbol) in enumerate(zip(view.nodes, symbols, strict=True))
    ]
    left, right, top, bottom = _MARGINS_PX
    return {
        "tooltip": {"formatter": tooltip_formatter, "confine": True},
        "animation": False,
        # Says to screen readers what the canvas is. File names, which may be like markup, are in the list beside it.
        "aria": {
            "enabled": True,
            "label": {
                "description": f"Graph of {counted(len(view.nodes), 'image')} and {counted(len(view.edges), 'line')}"
            },
        },
        "series": [
            {
                "type": "graph",
                "layout": "none",
                # All four, so that the positions fill any size of canvas.
                "left": left,
                "right": right,
                "top": top,
                "bottom": bottom,
                "roam": True,
                "draggable": True,
                "label": {
                    "show": len(view.nodes) <= MAX_NODE_LABELS,
                    "position": "bottom",
                    "fontSize": 11,
                    "lineHeight": _LABEL_PX[1],
                    "width": _LABEL_PX[0],
                    "overflow": "break",
                    "formatter": label_formatter,
                },
                "edgeSymbol": ["none", "none"],
                "emphasis": {"focus": "adjacency", "label": {"show": True}},
                "data": [*data, *_corners((width, height))],
                "links": _links(view),
            }
        ],
    }


def _node_data(node: GraphNode, row: int, symbol: Symbol, place: Position) -> dict[str, Any]:
    descriptions = {
        QUERY: "query image",
        HIT: f"score to the query: {score_text(node.score or 0)}",
        RELATED: "related to a hit",
    }
    description = descriptions[node.kind] if node.description is None else node.description
    return {
        "id": str(row),
        "path": chart_text(node.path),
        "name": chart_text(node.name.rsplit("/", 1)[-1]),
        "lines": [chart_text(node.name), chart_text(description)],
        "symbol": f"image://{symbol.uri}",
        "symbolSize": [symbol.width, symbol.height],
        "x": round(place[0], 1),
        "y": round(place[1], 1),
    }


def _corners(space: Position) -> list[dict[str, Any]]:
    """Return invisible nodes in two corners.

    ECharts stretches the smallest rectangle around all nodes over the canvas: without these, an image would move when
    the outermost one comes or goes.
    """
    return [
        {"id": f"corner-{name}", "name": "", "symbol": "none", "silent": True, "label": {"show": False}, "x": x, "y": y}
        for name, x, y in (("start", 0.0, 0.0), ("end", *space))
    ]


def _is_relationship(edge: Edge) -> bool:
    return edge.kind not in _SCORE_KINDS


def _links(view: GraphView) -> list[dict[str, Any]]:
    rows = {node.path: row for row, node in enumerate(view.nodes)}
    shows_label = len(view.edges) <= MAX_EDGE_LABELS
    links = []
    for relationships in (False, True):
        edges = [edge for edge in view.edges if _is_relationship(edge) == relationships]
        widths = line_widths([edge.score for edge in edges])
        links += [_link(edge, rows, width, shows_label=shows_label) for edge, width in zip(edges, widths, strict=True)]
    return links


def _link(edge: Edge, rows: Mapping[str, int], width: float, *, shows_label: bool) -> dict[str, Any]:
    line = SHOWN_LINES[edge.kind] if _is_relationship(edge) else _SCORE_LINE
    # Lines of further kinds are curved: the same two images are usually SIMILAR_TO as well.
    curve = list(SHOWN_LINES).index(edge.kind) if _is_relationship(edge) else 0
    return {
        "source": str(rows[edge.source]),
        "target": str(rows[edge.target]),
        "value": round(edge.score, 6),
        "lines": [f"{edge.kind} {score_text(edge.score)}"],
        "lineStyle": {
            "color": LINE_COLOURS[line.colour],
            "type": line.pattern,
            "curveness": 0.2 * curve,
            "width": width,
            "opacity": 0.7,
        },
        "label": {"show": shows_label, "formatter": f"{score_text(edge.score)}", "fontSize": 10},
        "emphasis": {"label": {"show": True}},
    }


def line_legend(dotted: str) -> str:
    """Return Markdown that names the kind of each line; `dotted` says what a dotted line is."""
    lines = [*SHOWN_LINES.items(), (dotted, _SCORE_LINE)]
    return ", ".join(
        f"{line.pattern} line: {name}" if line.colour == "gray" else f":{line.colour}[{line.pattern}]: {name}"
        for name, line in lines
    )


def line_widths(scores: Sequence[float]) -> list[float]:
    """Return widths of lines in pixels: 1 for the lowest of the scores, 4 for the highest."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [round(1 + 3 * ((score - low) / (high - low) if high > low else 0.5), 2) for score in scores]

"""An answer as a graph: which pictures and relations are drawn, and the chart's options.

Belongs here: pure functions from hits to nodes and links. Not here: reading pictures (`app.components.thumbnails`), the
component that draws (`app.components.relation_view`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from imgret_assets.app.graph_chart.layout import lay_out
from imgret_assets.app.plain_text import chart_text
from imgret_assets.domain.graph.relationship_kinds import KINDS, SIMILAR_TO, LineStyle
from imgret_assets.domain.search.query import Hit

MAX_NODES = 150
MAX_LINKS = 600
# More scores or names than these cover each other; they are then shown under the pointer only.
MAX_LINK_LABELS = 24
MAX_NODE_LABELS = 40

QUERY, HIT, RELATED = "query", "hit", "related"
# An uploaded picture has no path in the graph, and no path is empty.
_NO_PATH = ""
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
# A score to the query, or a near image without a relationship.
_SCORE_LINE = LineStyle("dotted", "orange")
_PROPORTION = {QUERY: 1.35, HIT: 1.0, RELATED: 0.75}
# The canvas is as wide as the page; this width is only what the layout counts with.
CANVAS_PX = (1040, 620)
_LABEL_PX, _CHARACTER_PX = (120, 14), 6.5
# Between pictures; wide where the lines' scores are to be read.
_GAP_PX, _WIDE_GAP_PX = 10, 26


@dataclass(frozen=True)
class GraphNode:
    """One picture: its path in the graph (empty for a query that isn't in it), its kind, its score to the query.

    `said` is the line under the pointer; a line on the query where it is None.
    """

    path: str
    kind: str
    score: float | None = None
    said: str | None = None


@dataclass(frozen=True)
class GraphLink:
    """Two pictures: a relation from `source` to `target`, or, `asked`, no relation but a score.

    `what` says which; SIMILAR_TO, or a hit's score to the query, where it is None.
    """

    source: str
    target: str
    score: float
    asked: bool = False
    what: str | None = None


@dataclass(frozen=True)
class GraphView:
    """What is drawn, and how much is not."""

    nodes: list[GraphNode]
    links: list[GraphLink]
    hidden_nodes: int = 0
    hidden_links: int = 0

    @property
    def hidden_text(self) -> str:
        """What is left out, in a line; empty where all is drawn."""
        parts = [
            f"+{count:,} {what if count != 1 else what[:-1]} hidden"
            for count, what in ((self.hidden_nodes, "pictures"), (self.hidden_links, "relations"))
            if count
        ]
        return ", ".join(parts)


def relations_of(hits: Sequence[Hit]) -> list[GraphLink]:
    """The hits' relations, each once and in its own direction, best first."""
    scores: dict[tuple[str, str], float] = {}
    for hit in hits:
        for relation in hit.relations or ():
            ends = (hit.path, relation.path) if relation.outgoing else (relation.path, hit.path)
            scores[ends] = relation.score
    links = [GraphLink(source, target, score) for (source, target), score in scores.items()]
    return sorted(links, key=lambda link: (-link.score, link.source, link.target))


def relation_graph(
    hits: Sequence[Hit], itself: Sequence[str] = (), *, max_nodes: int = MAX_NODES, max_links: int = MAX_LINKS
) -> GraphView:
    """Hits, what they are related to, and the query, as many as can be told apart.

    Args:
        hits: the answer, best first, with relations.
        itself: paths under which the query is in the graph; the first one is its node.
        max_nodes: pictures drawn; the query and the best hits first, then what is most related to them.
        max_links: lines drawn; the query's own first, then the highest scores.
    """
    query = itself[0] if itself else _NO_PATH
    relations = relations_of(hits)
    nodes = {query: GraphNode(query, QUERY)}
    for hit in hits:
        nodes.setdefault(hit.path, GraphNode(hit.path, HIT, hit.score))
    for relation in relations:
        for path in (relation.source, relation.target):
            nodes.setdefault(path, GraphNode(path, RELATED))
    shown = list(nodes.values())[:max_nodes]
    known = {node.path for node in shown}

    joined = {frozenset((relation.source, relation.target)) for relation in relations}
    asked = [
        GraphLink(query, hit.path, hit.score, asked=True)
        for hit in hits
        if hit.path != query and frozenset((query, hit.path)) not in joined
    ]
    links = [link for link in [*asked, *relations] if link.source in known and link.target in known]
    return GraphView(shown, links[:max_links], len(nodes) - len(shown), len(links) - len(links[:max_links]))


def symbol_px(kind: str, count: int) -> int:
    """Longest side of a picture in pixels, when `count` of them share the canvas."""
    fitting = 0.5 * math.sqrt(CANVAS_PX[0] * canvas_height(count) / count)
    return round(min(max(fitting, 30), 84) * _PROPORTION[kind])


def canvas_height(count: int) -> int:
    """Height of the canvas in pixels for so many pictures."""
    if count <= MAX_NODE_LABELS:
        return CANVAS_PX[1]
    return CANVAS_PX[1] * 3 // 2 if count <= MAX_NODES else CANVAS_PX[1] * 2


def echarts_options(
    view: GraphView,
    symbol_of: Callable[[GraphNode, int], tuple[str, int, int]],
    *,
    query_name: str,
    label_formatter: Any = None,
    tooltip_formatter: Any = None,
) -> dict[str, Any]:
    """Options of an ECharts graph with thumbnails as nodes.

    Args:
        view: what is drawn.
        symbol_of: a node's picture of at most so many pixels as a data URI, with its width and height.
        query_name: what an uploaded query is called.
        label_formatter: the component's code for a node's label.
        tooltip_formatter: the component's code for what is shown under the pointer.
    """
    count = len(view.nodes)
    symbols = [symbol_of(node, symbol_px(node.kind, count)) for node in view.nodes]
    names = [node.path or query_name for node in view.nodes]
    rows = {node.path: row for row, node in enumerate(view.nodes)}
    positions = _positions(view, rows, symbols, names)
    data = [
        _node(node, row, name, symbol, place.tolist())
        for row, (node, name, symbol, place) in enumerate(zip(view.nodes, names, symbols, positions, strict=True))
    ]
    return {
        "tooltip": {"formatter": tooltip_formatter, "confine": True},
        "animation": False,
        "series": [
            {
                "type": "graph",
                "layout": "none",
                # All four, so that the positions fill whatever canvas there is.
                "left": 80,
                "right": 80,
                "top": 60,
                "bottom": 75,
                "roam": True,
                "draggable": True,
                "label": {
                    "show": count <= MAX_NODE_LABELS,
                    "position": "bottom",
                    "fontSize": 11,
                    "lineHeight": _LABEL_PX[1],
                    "width": _LABEL_PX[0],
                    "overflow": "break",
                    "formatter": label_formatter,
                },
                "edgeSymbol": ["none", "none"],
                "emphasis": {"focus": "adjacency", "label": {"show": True}},
                "data": data,
                "links": _links(view, rows),
            }
        ],
    }


def _positions(
    view: GraphView, rows: dict[str, int], symbols: Sequence[tuple[str, int, int]], names: Sequence[str]
) -> np.ndarray:
    gap = _WIDE_GAP_PX if len(names) <= MAX_NODE_LABELS else _GAP_PX
    sizes = np.array([[width, height] for _, width, height in symbols], dtype=np.float64) + gap
    if len(names) <= MAX_NODE_LABELS:
        lengths = _CHARACTER_PX * np.array([len(name.rsplit("/", 1)[-1]) for name in names])
        lines = np.ceil(lengths / _LABEL_PX[0])
        widths = np.maximum(sizes[:, 0], np.minimum(lengths, _LABEL_PX[0]))
        sizes = np.column_stack((widths, sizes[:, 1] + lines * _LABEL_PX[1]))
    links = [
        (rows[link.source], rows[link.target], (0.3 if link.asked else 1.0) * max(link.score, 0.05))
        for link in view.links
    ]
    box = (CANVAS_PX[0] - 160, canvas_height(len(names)) - 135)
    return np.array(_places(tuple(map(tuple, sizes.tolist())), tuple(links), box)).reshape(-1, 2)


@lru_cache(maxsize=64)
def _places(
    sizes: tuple[tuple[float, float], ...], links: tuple[tuple[int, int, float], ...], box: tuple[float, float]
) -> tuple[float, ...]:
    # Every click draws the page anew, most of them the same graph.
    return tuple(lay_out(np.array(sizes), links, box=box).ravel().tolist())


def _node(node: GraphNode, row: int, name: str, symbol: tuple[str, int, int], place: list[float]) -> dict[str, Any]:
    said = {QUERY: "the query", HIT: f"similar to the query: {node.score or 0:.3f}", RELATED: "related to a hit"}
    uri, width, height = symbol
    return {
        "id": str(row),
        "path": chart_text(node.path),
        "name": chart_text(name.rsplit("/", 1)[-1]),
        "lines": [chart_text(name), chart_text(said[node.kind] if node.said is None else node.said)],
        "symbol": f"image://{uri}",
        "symbolSize": [width, height],
        "x": round(place[0], 1),
        "y": round(place[1], 1),
    }


def _links(view: GraphView, rows: dict[str, int]) -> list[dict[str, Any]]:
    shows_label = len(view.links) <= MAX_LINK_LABELS
    made = []
    for asked in (True, False):
        links = [link for link in view.links if link.asked == asked]
        widths = line_widths([link.score for link in links])
        made += [_link(link, rows, width, shows_label=shows_label) for link, width in zip(links, widths, strict=True)]
    return made


def _link(link: GraphLink, rows: dict[str, int], width: float, *, shows_label: bool) -> dict[str, Any]:
    what = link.what or ("score to the query" if link.asked else SIMILAR_TO.name)
    line = _SCORE_LINE if link.asked else SHOWN_LINES[what]
    # Lines of further kinds are curved: the same two images are usually SIMILAR_TO as well.
    curve = 0 if link.asked else list(SHOWN_LINES).index(what)
    return {
        "source": str(rows[link.source]),
        "target": str(rows[link.target]),
        "value": round(link.score, 6),
        "lines": [f"{what} {link.score:.3f}"],
        "lineStyle": {
            "color": LINE_COLOURS[line.colour],
            "type": line.pattern,
            "curveness": 0.2 * curve,
            "width": width,
            "opacity": 0.7,
        },
        "label": {"show": shows_label, "formatter": f"{link.score:.3f}", "fontSize": 10},
        "emphasis": {"label": {"show": True}},
    }


def line_legend() -> str:
    """Return Markdown that says which line is which kind of relationship."""
    names = [
        f"{line.pattern} line: {name}" if line.colour == "gray" else f":{line.colour}[{line.pattern}]: {name}"
        for name, line in SHOWN_LINES.items()
    ]
    return ", ".join(names)


def line_widths(scores: Sequence[float]) -> list[float]:
    """Widths of lines in pixels: 1 for the lowest of the scores, 4 for the highest."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [round(1 + 3 * ((score - low) / (high - low) if high > low else 0.5), 2) for score in scores]

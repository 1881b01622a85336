"""An answer as a graph: which pictures and relations are drawn, and the chart's options.

Belongs here: pure functions from hits to nodes and links. Not here: reading pictures (`app.picture_files`), the
component that draws (`app.relation_view`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from imgret_assets.app.plain_text import chart_text
from imgret_assets.domain.search import Hit

MAX_NODES = 150
MAX_LINKS = 600
# More scores than these cover each other; they are then shown under the pointer only.
MAX_LINK_LABELS = 40

QUERY, HIT, RELATED = "query", "hit", "related"
# An uploaded picture has no path in the graph, and no path is empty.
_NO_PATH = ""
# Strong enough on a white page and on a black one.
FRAMES = {QUERY: "#e8590c", HIT: "#1c7ed6", RELATED: "#868e96"}
_ASKED_LINE = "#e8590c"
_RELATION_LINE = "#868e96"


@dataclass(frozen=True)
class GraphNode:
    """One picture: its path in the graph (empty for a query that isn't in it), its kind, its score to the query."""

    path: str
    kind: str
    score: float | None = None


@dataclass(frozen=True)
class GraphLink:
    """Two pictures: a SIMILAR_TO relation from `source` to `target`, or, `asked`, a hit's score to the query."""

    source: str
    target: str
    score: float
    asked: bool = False


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


def echarts_options(
    view: GraphView,
    symbol_of: Callable[[GraphNode], tuple[str, int, int]],
    *,
    query_name: str,
    label_formatter: Any = None,
    tooltip_formatter: Any = None,
) -> dict[str, Any]:
    """Options of an ECharts graph with thumbnails as nodes.

    Args:
        view: what is drawn.
        symbol_of: a node's picture as a data URI, and its width and height in pixels.
        query_name: what an uploaded query is called.
        label_formatter: the component's code for a node's label.
        tooltip_formatter: the component's code for what is shown under the pointer.
    """
    numbers = {node.path: str(number) for number, node in enumerate(view.nodes)}
    widths = [
        *line_widths([link.score for link in view.links if link.asked]),
        *line_widths([link.score for link in view.links if not link.asked]),
    ]
    links = sorted(view.links, key=lambda link: not link.asked)
    shows_label = len(links) <= MAX_LINK_LABELS
    return {
        "tooltip": {"formatter": tooltip_formatter, "confine": True},
        "animation": False,
        "series": [
            {
                "type": "graph",
                "layout": "force",
                "roam": True,
                "draggable": True,
                # Circular, so that the same answer is drawn the same way again.
                "force": {
                    "initLayout": "circular",
                    "repulsion": 1200 if len(view.nodes) <= 60 else 450,
                    "edgeLength": [130, 230],
                    "gravity": 0.08,
                    "layoutAnimation": False,
                },
                "label": {
                    "show": len(view.nodes) <= 60,
                    "position": "bottom",
                    "fontSize": 11,
                    "width": 120,
                    "overflow": "break",
                    "formatter": label_formatter,
                },
                "edgeSymbol": ["none", "none"],
                "emphasis": {"focus": "adjacency", "label": {"show": True}},
                "data": [_node(node, numbers, symbol_of, query_name) for node in view.nodes],
                "links": [
                    _link(link, numbers, width, shows_label=shows_label)
                    for link, width in zip(links, widths, strict=True)
                ],
            }
        ],
    }


def _node(
    node: GraphNode, numbers: dict[str, str], symbol_of: Callable[[GraphNode], tuple[str, int, int]], query_name: str
) -> dict[str, Any]:
    uri, width, height = symbol_of(node)
    path = node.path or query_name
    said = {QUERY: "the query", HIT: f"similar to the query: {node.score or 0:.3f}", RELATED: "related to a hit"}
    return {
        "id": numbers[node.path],
        "name": chart_text(path.rsplit("/", 1)[-1]),
        "lines": [chart_text(path), said[node.kind]],
        "symbol": f"image://{uri}",
        "symbolSize": [width, height],
    }


def _link(link: GraphLink, numbers: dict[str, str], width: float, *, shows_label: bool) -> dict[str, Any]:
    what = "score to the query" if link.asked else "SIMILAR_TO"
    return {
        "source": numbers[link.source],
        "target": numbers[link.target],
        "value": round(link.score, 6),
        "lines": [f"{what} {link.score:.3f}"],
        "symbol": ["none", "none"] if link.asked else ["none", "arrow"],
        "symbolSize": 7,
        "lineStyle": {
            "color": _ASKED_LINE if link.asked else _RELATION_LINE,
            "type": "dotted" if link.asked else "solid",
            "width": width,
            "opacity": 0.75,
        },
        "label": {"show": shows_label, "formatter": f"{link.score:.3f}", "fontSize": 10},
    }


def line_widths(scores: Sequence[float]) -> list[float]:
    """Widths of lines in pixels: 1.5 for the lowest of the scores, 5 for the highest."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [round(1.5 + 3.5 * ((score - low) / (high - low) if high > low else 0.5), 2) for score in scores]

"""A part of the graph round an image or a group: which pictures and lines are shown.

Belongs here: pure functions from relations to nodes and links. Not here: asking the database
(`app.graph_access`), the chart (`app.graph_page`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from imgret_assets.app.graph_payload import HIT, QUERY, RELATED, GraphLink, GraphNode, GraphView

MAX_NODES = 300
MAX_LINKS = 900
# Of one picture so many relations are followed, the best ones, or a dense family would hide everything else.
BEST_OF_EACH = 20
SIMILAR_TO, DUPLICATE_OF, NEAREST = "SIMILAR_TO", "DUPLICATE_OF", "nearest"


@dataclass(frozen=True)
class Edge:
    """Two pictures, joined by a relationship (`SIMILAR_TO`, `DUPLICATE_OF`) or only near one another (`nearest`)."""

    source: str
    target: str
    score: float
    kind: str = SIMILAR_TO

    @property
    def ends(self) -> frozenset[str]:
        """Both paths."""
        return frozenset((self.source, self.target))


def unique_edges(edges: Iterable[Edge]) -> list[Edge]:
    """Each pair of pictures once by kind, best first; `nearest` only where nothing else joins the two."""
    found: dict[tuple[frozenset[str], str], Edge] = {}
    for edge in edges:
        if edge.source != edge.target:
            found.setdefault((edge.ends, edge.kind), edge)
    joined = {ends for ends, kind in found if kind != NEAREST}
    kept = [edge for (ends, kind), edge in found.items() if kind != NEAREST or ends not in joined]
    return sorted(kept, key=lambda edge: (-edge.score, edge.source, edge.target, edge.kind))


def neighbourhood(
    starts: Sequence[str],
    expanded: Iterable[str],
    edges: Iterable[Edge],
    *,
    least: float,
    totals: Mapping[str, int] | None = None,
    max_nodes: int = MAX_NODES,
    max_links: int = MAX_LINKS,
) -> GraphView:
    """The start, what it and the expanded pictures are joined to, and the lines among all of these.

    Args:
        starts: paths that are always shown, the first one marked; a group's members, or one image.
        expanded: further paths whose relations were followed.
        edges: all that are known.
        least: lines with a lower score are left out, copies apart.
        totals: how many relations a followed picture has in all, to tell how many were not followed.
        max_nodes: pictures shown, the start first, then those with the best lines.
        max_links: lines shown, the best first.
    """
    good = [edge for edge in unique_edges(edges) if edge.score >= least or edge.kind == DUPLICATE_OF]
    followed = {*starts, *expanded}
    nodes = {path: GraphNode(path, QUERY if place == 0 else HIT) for place, path in enumerate(starts)}
    for edge in good:
        if edge.ends & followed:
            for path in (edge.source, edge.target):
                nodes.setdefault(path, GraphNode(path, HIT if path in followed else RELATED))
    shown = dict(list(nodes.items())[:max_nodes])
    links = [
        GraphLink(edge.source, edge.target, edge.score, asked=edge.kind == NEAREST, what=edge.kind)
        for edge in good
        if edge.source in shown and edge.target in shown
    ]
    followed_of = {path: sum(path in edge.ends and edge.kind == SIMILAR_TO for edge in good) for path in totals or {}}
    unseen = sum(max(0, total - followed_of[path]) for path, total in (totals or {}).items())
    return GraphView(
        list(shown.values()),
        links[:max_links],
        len(nodes) - len(shown),
        len(links) - len(links[:max_links]) + (unseen if least <= -1 else 0),
    )

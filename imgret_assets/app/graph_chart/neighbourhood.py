"""The part of the graph round an image or a group.

Belongs here: which images and edges are shown, as pure functions of edges. Not here: reading edges (`app.data_access`),
the hits of a query (`app.graph_chart.hit_graph`), drawing (`app.views.graph_page`).
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

from imgret_assets.app.graph_chart.graph_view import HIT, QUERY, RELATED, GraphNode, GraphView
from imgret_assets.domain.search.relations import NEAREST, Edge

MAX_NODES = 300
MAX_EDGES = 900
# Only the best relationships of each image are followed; otherwise a dense group would hide everything else.
RELATIONSHIPS_PER_IMAGE = 20


def unique_edges(edges: Iterable[Edge]) -> list[Edge]:
    """Return each pair of images once by kind, best first; kind NEAREST only for images without a relationship."""
    unique: dict[tuple[frozenset[str], str], Edge] = {}
    for edge in edges:
        if edge.source != edge.target:
            unique.setdefault((edge.ends, edge.kind), edge)
    related = {ends for ends, kind in unique if kind != NEAREST}
    kept = [edge for (ends, kind), edge in unique.items() if kind != NEAREST or ends not in related]
    return sorted(kept, key=lambda edge: (-edge.score, edge.source, edge.target, edge.kind))


def neighbourhood(
    starts: Sequence[str],
    expanded: Iterable[str],
    edges: Iterable[Edge],
    *,
    min_score: float,
    totals: Mapping[str, int] | None = None,
    max_nodes: int = MAX_NODES,
    max_edges: int = MAX_EDGES,
) -> GraphView:
    """Return the start, the images that it and the expanded images are related to, and the edges among all of these.

    Args:
        starts: paths that are always shown, the first one marked; a group's members, or one image.
        expanded: further paths whose relationships were followed.
        edges: all that are known.
        min_score: edges with a lower score are left out, except relationships of a kind without a score.
        totals: by followed image, how many relationships of this score it has, known or not.
        max_nodes: images shown, the start first, then those with the best edges.
        max_edges: edges shown: those that connect an image to the start first, then the best of each image.
    """
    usable = [edge for edge in unique_edges(edges) if edge.score >= min_score or not edge.has_own_score]
    followed = {*starts, *expanded}
    nodes = {path: GraphNode(path, QUERY if place == 0 else HIT) for place, path in enumerate(starts)}
    connecting = set()
    for edge in usable:
        if edge.ends & followed:
            for path in (edge.source, edge.target):
                if path not in nodes:
                    nodes[path] = GraphNode(path, HIT if path in followed else RELATED)
                    connecting.add(edge)
    shown = dict(list(nodes.items())[:max_nodes])
    possible = [edge for edge in usable if edge.source in shown and edge.target in shown]
    drawn = _best_of_each(possible, connecting, max_edges)
    known = Counter(path for edge in usable if edge.kind != NEAREST for path in edge.ends)
    unknown = sum(max(0, total - known[path]) for path, total in (totals or {}).items())
    return GraphView(list(shown.values()), drawn, len(nodes) - len(shown), len(possible) - len(drawn) + unknown)


def _best_of_each(edges: Sequence[Edge], first: Container[Edge], count: int) -> list[Edge]:
    """Return `count` of the edges in their order: those in `first`, then the best of every image before any second."""
    if len(edges) <= count:
        return list(edges)
    seen: Counter[str] = Counter()
    priorities = []
    for edge in edges:
        priorities.append(-1 if edge in first else min(seen[path] for path in edge.ends))
        seen.update(edge.ends)
    kept = sorted(range(len(edges)), key=lambda row: (priorities[row], row))[:count]
    return [edges[row] for row in sorted(kept)]

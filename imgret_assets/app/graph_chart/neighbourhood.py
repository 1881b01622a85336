"""A part of the graph round an image or a group: which pictures and lines are shown.

Belongs here: pure functions from relations to nodes and links. Not here: asking the database
(`app.data_access`), the chart (`app.views.graph_page`).
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

from imgret_assets.app.graph_chart.echarts_options import HIT, QUERY, RELATED, GraphLink, GraphNode, GraphView
from imgret_assets.domain.search.relations import NEAREST, Edge

MAX_NODES = 300
MAX_LINKS = 900
# Of one picture so many relations are followed, the best ones, or a dense family would hide everything else.
BEST_OF_EACH = 20


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
        totals: of the followed pictures, how many relations of this score each has in all, known or not.
        max_nodes: pictures shown, the start first, then those with the best lines.
        max_links: lines shown: those that join a picture to the start first, then the best of each picture.
    """
    good = [edge for edge in unique_edges(edges) if edge.score >= least or not edge.has_own_score]
    followed = {*starts, *expanded}
    nodes = {path: GraphNode(path, QUERY if place == 0 else HIT) for place, path in enumerate(starts)}
    joining = set()
    for edge in good:
        if edge.ends & followed:
            for path in (edge.source, edge.target):
                if path not in nodes:
                    nodes[path] = GraphNode(path, HIT if path in followed else RELATED)
                    joining.add(edge)
    shown = dict(list(nodes.items())[:max_nodes])
    there = [edge for edge in good if edge.source in shown and edge.target in shown]
    drawn = _best_of_each(there, joining, max_links)
    known = Counter(path for edge in good if edge.kind != NEAREST for path in edge.ends)
    unknown = sum(max(0, total - known[path]) for path, total in (totals or {}).items())
    return GraphView(
        list(shown.values()),
        [GraphLink(edge.source, edge.target, edge.score, asked=edge.kind == NEAREST, what=edge.kind) for edge in drawn],
        len(nodes) - len(shown),
        len(there) - len(drawn) + unknown,
    )


def _best_of_each(edges: Sequence[Edge], first: Container[Edge], count: int) -> list[Edge]:
    """So many of some lines, in their order: the first ones, then every picture's best before any one's second best."""
    if len(edges) <= count:
        return list(edges)
    seen: Counter[str] = Counter()
    places = []
    for edge in edges:
        places.append(-1 if edge in first else min(seen[path] for path in edge.ends))
        seen.update(edge.ends)
    kept = sorted(range(len(edges)), key=lambda row: (places[row], row))[:count]
    return [edges[row] for row in sorted(kept)]

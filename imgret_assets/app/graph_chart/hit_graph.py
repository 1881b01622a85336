"""The hits of a query as a graph.

Belongs here: which images and edges are shown for an answer. Not here: the images round one image or group
(`app.graph_chart.neighbourhood`), how they are drawn (`app.graph_chart.echarts_options`).
"""

from collections.abc import Sequence

from imgret_assets.app.graph_chart.graph_view import HIT, QUERY, QUERY_SCORE, RELATED, GraphNode, GraphView
from imgret_assets.domain.search.query import Hit
from imgret_assets.domain.search.relations import Edge

MAX_NODES = 150
MAX_EDGES = 600
# An uploaded image has no path in the graph, and no path is empty.
_NO_PATH = ""


def hit_relationships(hits: Sequence[Hit]) -> list[Edge]:
    """Return the hits' relationships, each once and in its own direction, best first."""
    scores: dict[tuple[str, str], float] = {}
    for hit in hits:
        for relation in hit.relations or ():
            ends = (hit.path, relation.path) if relation.outgoing else (relation.path, hit.path)
            scores[ends] = relation.score
    edges = [Edge(source, target, score) for (source, target), score in scores.items()]
    return sorted(edges, key=lambda edge: (-edge.score, edge.source, edge.target))


def hit_graph(
    hits: Sequence[Hit],
    itself: Sequence[str] = (),
    *,
    query_name: str = "",
    max_nodes: int = MAX_NODES,
    max_edges: int = MAX_EDGES,
) -> GraphView:
    """Return the hits, the images they are related to, and the query image, as many as fit on a chart.

    Args:
        hits: of the answer, best first, with relations.
        itself: paths under which the query image is in the graph; the first one is its node.
        query_name: name of a query image that is not in the graph.
        max_nodes: images shown; the query image and the best hits first, then the images most related to them.
        max_edges: edges shown; those of the query image first, then those with the highest scores.
    """
    query = GraphNode(itself[0], QUERY) if itself else GraphNode(_NO_PATH, QUERY, label=query_name)
    relationships = hit_relationships(hits)
    nodes = {query.path: query}
    for hit in hits:
        nodes.setdefault(hit.path, GraphNode(hit.path, HIT, hit.score))
    for edge in relationships:
        for path in (edge.source, edge.target):
            nodes.setdefault(path, GraphNode(path, RELATED))
    shown = dict(list(nodes.items())[:max_nodes])

    related = {edge.ends for edge in relationships}
    query_scores = [
        Edge(query.path, hit.path, hit.score, QUERY_SCORE)
        for hit in hits
        if hit.path != query.path and frozenset((query.path, hit.path)) not in related
    ]
    edges = [edge for edge in [*query_scores, *relationships] if edge.source in shown and edge.target in shown]
    return GraphView(
        list(shown.values()), edges[:max_edges], len(nodes) - len(shown), len(edges) - len(edges[:max_edges])
    )

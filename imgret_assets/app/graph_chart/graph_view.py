"""The nodes and edges of a graph chart.

Belongs here: what a chart shows, as values. Not here: which images and edges are shown (`app.graph_chart.hit_graph`,
`app.graph_chart.neighbourhood`), how they are drawn (`app.graph_chart.echarts_options`).
"""

from dataclasses import dataclass

from imgret_assets.domain.search.relations import Edge

# Kinds of nodes.
QUERY, HIT, RELATED = "query", "hit", "related"
# The kind of an edge between the query image and a hit without a relationship.
QUERY_SCORE = "score to query"


@dataclass(frozen=True)
class GraphNode:
    """An image of the chart.

    Attributes:
        path: in the graph; empty for a query image that is not in it.
        kind: QUERY, HIT or RELATED.
        score: to the query image.
        label: shown instead of the path.
        description: second line of the tooltip; where None, a line on how the image is related to the query image.
    """

    path: str
    kind: str
    score: float | None = None
    label: str | None = None
    description: str | None = None

    @property
    def name(self) -> str:
        """The text that names the image."""
        return self.path if self.label is None else self.label


@dataclass(frozen=True)
class GraphView:
    """What is drawn, and how much is not.

    `edges` are relationships, and edges of the kinds QUERY_SCORE and `relations.NEAREST`, which are none.
    """

    nodes: list[GraphNode]
    edges: list[Edge]
    hidden_nodes: int = 0
    hidden_edges: int = 0

    @property
    def hidden_text(self) -> str:
        """The counts of what is not drawn; empty if all is drawn."""
        counts = ((self.hidden_nodes, "image"), (self.hidden_edges, "relationship"))
        return ", ".join(f"{count:,} more {noun}{'' if count == 1 else 's'} hidden" for count, noun in counts if count)

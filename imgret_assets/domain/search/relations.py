"""How images are related: relationships in the graph.

Belongs here: reading duplicates, the best relationships of images, relationships among images. Not here: statements
(`domain.graph.cypher`), which of them are drawn (`app.graph_chart.neighbourhood`), the relations of a query's hits
(`domain.search.find_similar`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.relationship_kinds import KINDS, SIMILAR_TO

# The kind of two images that are near one another but have no relationship.
NEAREST = "nearest"
_KINDS_WITHOUT_SCORE = frozenset(kind.name for kind in KINDS if not kind.has_score)


@dataclass(frozen=True)
class Edge:
    """Two images with a relationship of a kind of `KINDS`, or near one another without any (`nearest`).

    `score` is the raw cosine.
    """

    source: str
    target: str
    score: float
    kind: str = SIMILAR_TO.name

    @property
    def ends(self) -> frozenset[str]:
        """Both paths."""
        return frozenset((self.source, self.target))

    @property
    def has_own_score(self) -> bool:
        """False for a relationship of a kind without a score, which no lowest score excludes."""
        return self.kind not in _KINDS_WITHOUT_SCORE


def duplicates_of(database: Database, paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of duplicates (DUPLICATE_OF) of which one is among `paths`, that one first."""
    rows = database.rows(cypher.DUPLICATES_OF, {"paths": list(paths)})
    return [(row["path"], row["duplicate"]) for row in rows]


def best_relationships(
    database: Database, paths: Sequence[str], *, min_score: float, limit_per_image: int
) -> tuple[list[Edge], dict[str, int]]:
    """Return the best relationships of images, and how many each image has; an image without any is absent.

    Args:
        database: the graph.
        paths: the images.
        min_score: lowest score; kinds without a score are included whatever their cosine.
        limit_per_image: how many of each image are returned; all are counted.
    """
    parameters = {"paths": list(paths), "limit_per_image": limit_per_image, "min_score": min_score}
    rows = database.rows(cypher.BEST_RELATIONSHIPS_OF, parameters)
    edges = [Edge(**relationship) for row in rows for relationship in row["relationships"]]
    return edges, {row["path"]: row["total"] for row in rows}


def relationships_among(database: Database, paths: Sequence[str], *, limit: int) -> list[Edge]:
    """Return the best relationships between images of `paths`, of all shown kinds."""
    rows = database.rows(cypher.RELATIONSHIPS_AMONG, {"paths": list(paths), "limit": limit})
    return [Edge(**row) for row in rows]

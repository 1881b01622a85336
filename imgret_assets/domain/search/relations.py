"""How images are related: relationships in the graph.

Belongs here: reading duplicates, the best relationships of images, relationships among images. Not here: statements
(`domain.graph.cypher`), which of them are drawn (`app.graph_chart.neighbourhood`), the relations of a query's hits
(`domain.search.find_similar`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_state import read_state
from imgret_assets.domain.graph.relationship_kinds import KINDS, SIMILAR_TO
from imgret_assets.domain.numerics.exact_scores import cosines
from imgret_assets.domain.storage.home import Home

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
    database: Database, paths: Sequence[str], *, min_score: float, limit_per_image: int, home: Home | None = None
) -> tuple[list[Edge], dict[str, int]]:
    """Return the best relationships of images, and how many each image has; an image without any is absent.

    Args:
        database: the graph.
        paths: the images.
        min_score: lowest score; kinds without a score are included whatever their cosine.
        limit_per_image: how many of each image are returned; all are counted.
        home: the home, whose tables have the vectors if the graph has none; only needed then.
    """
    parameters = {"paths": list(paths), "limit_per_image": limit_per_image, "min_score": min_score}
    rows = database.rows(cypher.BEST_RELATIONSHIPS_OF, parameters)
    found = [[Edge(**relationship) for relationship in row["relationships"]] for row in rows]
    cosine_of = _missing_scores(database, [edge for edges in found for edge in edges], home)
    edges = [edge for of_image in found for edge in _scored(of_image, cosine_of)]
    return edges, {row["path"]: row["total"] for row in rows}


def relationships_among(
    database: Database, paths: Sequence[str], *, limit: int, home: Home | None = None
) -> list[Edge]:
    """Return the best relationships between images of `paths`, of all shown kinds; `home` as `best_relationships`."""
    rows = database.rows(cypher.RELATIONSHIPS_AMONG, {"paths": list(paths), "limit": limit})
    edges = [Edge(**row) for row in rows]
    return _scored(edges, _missing_scores(database, edges, home))


def _missing_scores(database: Database, edges: Sequence[Edge], home: Home | None) -> dict[frozenset[str], float]:
    """Return the cosine of each two images whose relationship has no score, since neither kind nor nodes have one."""
    pairs = {edge.ends for edge in edges if edge.score is None}
    state = read_state(database) if pairs else None
    if home is None or state is None:
        return {}
    # Not at module level: a graph with vectors needs none of the tables.
    from imgret_assets.domain.embeddings.table_reader import usable_embeddings

    with home.unchanged_shards():
        stored = usable_embeddings(home, state.model, frozenset().union(*pairs))
    known = [tuple(pair) for pair in pairs if pair <= stored.keys()]
    left, right = (np.array([stored[pair[side]][1] for pair in known]) for side in (0, 1))
    return dict(zip(map(frozenset, known), cosines(left, right).tolist(), strict=True)) if known else {}


def _scored(edges: Sequence[Edge], cosine_of: Mapping[frozenset[str], float]) -> list[Edge]:
    """Return relationships with their scores, best first; one of an image that is in no table any more is left out."""
    if all(edge.score is not None for edge in edges):
        return list(edges)
    scored = [edge if edge.score is not None else replace(edge, score=cosine_of.get(edge.ends)) for edge in edges]
    return sorted((edge for edge in scored if edge.score is not None), key=lambda edge: -edge.score)

"""What a relationship is to the page; reading them is tested on a real server (`server/test_relations.py`)."""

import pytest

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.search.relations import NEAREST, Edge, best_relationships
from imgret_tests.support.canned import CannedDatabase


@pytest.mark.parametrize(
    ("kind", "has_own_score"), [("SIMILAR_TO", True), ("DUPLICATE_OF", False), ("DECIDED", False), (NEAREST, True)]
)
def test_only_kinds_without_a_score_escape_a_lowest_score(kind: str, has_own_score: bool) -> None:
    assert Edge("a", "b", 0.5, kind).has_own_score is has_own_score


def test_the_two_directions_of_an_edge_have_the_same_ends() -> None:
    assert Edge("a", "b", 0.5).ends == Edge("b", "a", 0.5).ends


def test_images_without_relationships_are_absent_from_the_totals() -> None:
    row = {
        "path": "a",
        "total": 7,
        "relationships": [{"source": "b", "target": "a", "score": 0.9, "kind": "SIMILAR_TO"}],
    }
    database = CannedDatabase({cypher.BEST_RELATIONSHIPS_OF: [row]})
    edges, totals = best_relationships(database, ("a", "z"), min_score=0.5, limit_per_image=1)
    assert (edges, totals) == ([Edge("b", "a", 0.9)], {"a": 7})
    assert database.parameters_of(cypher.BEST_RELATIONSHIPS_OF) == [
        {"paths": ["a", "z"], "min_score": 0.5, "limit_per_image": 1}
    ]

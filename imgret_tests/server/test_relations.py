"""Relationships read from a real server: limited in number, above a lowest score, duplicates with their cosine."""

from collections.abc import Iterator

import numpy as np
import pytest
from neo4j import Driver

from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.domain.search.relations import best_relationships, duplicates_of, relationships_among
from imgret_assets.settings import Settings
from imgret_tests.support.chain import cosine

pytestmark = pytest.mark.server

VECTORS = {
    "a.png": [1.0, 0.0, 0.0],
    "b.png": [0.9, 0.1, 0.0],
    "c.png": [0.5, 0.5, 0.0],
    "d.png": [-0.2, 1.0, 0.3],
    "alone.png": [0.0, 0.0, 1.0],
}
SIMILAR = [("a.png", "b.png", 0.95), ("a.png", "c.png", 0.85), ("b.png", "c.png", 0.9), ("a.png", "d.png", 0.81)]
DUPLICATE, KEPT = "d.png", "a.png"


@pytest.fixture
def graph(database: Driver, server_settings: Settings) -> Iterator[Database]:
    """Five images, four SIMILAR_TO, and one DUPLICATE_OF between images whose cosine is negative."""
    database.execute_query("CREATE CONSTRAINT image_path FOR (n:Image) REQUIRE n.path IS UNIQUE")
    database.execute_query(
        "UNWIND $rows AS row CREATE (:Image:ImgretTest {path: row[0], embeddings: row[1]})",
        rows=[list(item) for item in VECTORS.items()],
    )
    database.execute_query(
        "UNWIND $rows AS row MATCH (a:Image {path: row[0]}), (b:Image {path: row[1]}) "
        "CREATE (a)-[:SIMILAR_TO {score: row[2]}]->(b)",
        rows=[list(row) for row in SIMILAR],
    )
    database.execute_query(
        "MATCH (a:Image {path: $duplicate}), (b:Image {path: $kept}) CREATE (a)-[:DUPLICATE_OF {kind: 'near'}]->(b)",
        duplicate=DUPLICATE,
        kept=KEPT,
    )
    with open_database(server_settings) as opened:
        yield opened


def best(graph: Database, path: str, *, limit: int = 20, min_score: float = -1.0) -> tuple[list, int]:
    """Ends and kind of an image's best relationships, and how many it has."""
    edges, totals = best_relationships(graph, [path], min_score=min_score, limit_per_image=limit)
    return [(edge.source, edge.target, edge.kind) for edge in edges], totals[path]


def test_relationships_of_both_directions_are_returned_best_first_in_their_own_direction(graph: Database) -> None:
    assert best(graph, "c.png") == ([("b.png", "c.png", "SIMILAR_TO"), ("a.png", "c.png", "SIMILAR_TO")], 2)


def test_an_image_without_relationships_and_an_unknown_path_are_absent(graph: Database) -> None:
    assert best_relationships(graph, ["alone.png", "nowhere.png"], min_score=-1.0, limit_per_image=9) == ([], {})


def test_only_the_best_are_returned_and_all_are_counted(graph: Database) -> None:
    assert best(graph, "a.png", limit=2) == ([("a.png", "b.png", "SIMILAR_TO"), ("a.png", "c.png", "SIMILAR_TO")], 4)


def test_lower_scores_are_neither_returned_nor_counted_but_duplicates_are(graph: Database) -> None:
    assert best(graph, "a.png", min_score=0.9) == (
        [("a.png", "b.png", "SIMILAR_TO"), ("d.png", "a.png", "DUPLICATE_OF")],
        2,
    )


def test_a_duplicate_has_the_raw_cosine_as_its_score(graph: Database) -> None:
    edges = relationships_among(graph, [DUPLICATE, KEPT], limit=10)
    assert [(edge.source, edge.target, edge.kind) for edge in edges] == [
        ("a.png", "d.png", "SIMILAR_TO"),
        ("d.png", "a.png", "DUPLICATE_OF"),
    ]
    expected = cosine(np.array(VECTORS["a.png"]), np.array(VECTORS["d.png"]))
    assert expected < 0
    assert [edge.score for edge in edges] == pytest.approx([0.81, expected], abs=1e-6)


def test_relationships_among_images_are_the_best_ones_and_have_both_ends_among_them(graph: Database) -> None:
    paths = ["a.png", "b.png", "c.png"]
    edges = relationships_among(graph, paths, limit=10)
    assert [(edge.source, edge.target, edge.score) for edge in edges] == [
        ("a.png", "b.png", 0.95),
        ("b.png", "c.png", 0.9),
        ("a.png", "c.png", 0.85),
    ]
    assert len(relationships_among(graph, paths, limit=2)) == 2


def test_duplicates_are_returned_from_either_side(graph: Database) -> None:
    assert duplicates_of(graph, [KEPT, "b.png"]) == [(KEPT, DUPLICATE)]
    assert duplicates_of(graph, [DUPLICATE]) == [(DUPLICATE, KEPT)]

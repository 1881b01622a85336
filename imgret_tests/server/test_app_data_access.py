"""The statements of the page Graph on a real server: bounded, from a score on, copies with their cosine."""

from collections.abc import Iterator

import numpy as np
import pytest
from neo4j import Driver

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database, open_database
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
RELATIONS = [("a.png", "b.png", 0.95), ("a.png", "c.png", 0.85), ("b.png", "c.png", 0.9), ("a.png", "d.png", 0.81)]
COPY = ("d.png", "a.png")


@pytest.fixture
def graph(database: Driver, server_settings: Settings) -> Iterator[Database]:
    """Five images, four relations, and one copy that is no relation's like: its cosine is negative."""
    database.execute_query("CREATE CONSTRAINT image_path FOR (n:Image) REQUIRE n.path IS UNIQUE")
    database.execute_query(
        "UNWIND $rows AS row CREATE (:Image:ImgretTest {path: row[0], embeddings: row[1]})",
        rows=[list(item) for item in VECTORS.items()],
    )
    database.execute_query(
        "UNWIND $rows AS row MATCH (a:Image {path: row[0]}), (b:Image {path: row[1]}) "
        "CREATE (a)-[:SIMILAR_TO {score: row[2]}]->(b)",
        rows=[list(row) for row in RELATIONS],
    )
    database.execute_query(
        "MATCH (a:Image {path: $copy}), (b:Image {path: $keep}) CREATE (a)-[:DUPLICATE_OF {kind: 'near'}]->(b)",
        copy=COPY[0],
        keep=COPY[1],
    )
    with open_database(server_settings) as opened:
        yield opened


def best(graph: Database, paths: list[str], *, best: int = 20, least: float = -1.0) -> dict[str, tuple[list, int]]:
    rows = graph.rows(cypher.BEST_RELATIONSHIPS_OF, {"paths": paths, "limit_per_image": best, "min_score": least})
    return {
        row["path"]: ([(one["source"], one["target"], one["kind"]) for one in row["relationships"]], row["total"])
        for row in rows
    }


def test_relations_go_both_ways_best_first_with_their_own_direction(graph: Database) -> None:
    assert best(graph, ["c.png", "alone.png", "nowhere.png"]) == {
        "c.png": ([("b.png", "c.png", "SIMILAR_TO"), ("a.png", "c.png", "SIMILAR_TO")], 2)
    }


def test_only_the_best_are_given_and_all_are_counted(graph: Database) -> None:
    assert best(graph, ["a.png"], best=2) == {
        "a.png": ([("a.png", "b.png", "SIMILAR_TO"), ("a.png", "c.png", "SIMILAR_TO")], 4)
    }


def test_lower_scores_are_neither_given_nor_counted_but_copies_are(graph: Database) -> None:
    assert best(graph, ["a.png"], least=0.9) == {
        "a.png": ([("a.png", "b.png", "SIMILAR_TO"), ("d.png", "a.png", "DUPLICATE_OF")], 2)
    }


def test_a_copy_has_the_raw_cosine_for_its_score(graph: Database) -> None:
    rows = graph.rows(cypher.RELATIONSHIPS_AMONG, {"paths": list(COPY), "limit": 10})
    assert [(row["source"], row["target"], row["kind"]) for row in rows] == [
        ("a.png", "d.png", "SIMILAR_TO"),
        ("d.png", "a.png", "DUPLICATE_OF"),
    ]
    expected = cosine(np.array(VECTORS["a.png"]), np.array(VECTORS["d.png"]))
    assert expected < 0
    assert [row["score"] for row in rows] == pytest.approx([0.81, expected], abs=1e-6)


def test_lines_among_images_are_the_best_ones_and_lead_nowhere_else(graph: Database) -> None:
    parameters = {"paths": ["a.png", "b.png", "c.png"], "limit": 10}
    rows = graph.rows(cypher.RELATIONSHIPS_AMONG, parameters)
    assert [(row["source"], row["target"], row["score"]) for row in rows] == [
        ("a.png", "b.png", 0.95),
        ("b.png", "c.png", 0.9),
        ("a.png", "c.png", 0.85),
    ]
    assert len(graph.rows(cypher.RELATIONSHIPS_AMONG, parameters | {"limit": 2})) == 2

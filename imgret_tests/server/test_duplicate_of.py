"""DUPLICATE_OF on a real Neo4j: as the table says, whatever happened to files or graph."""

import shutil
from typing import LiteralString

import pytest
from neo4j import Driver

from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.graph.cypher import SHOW_SIMILARITY_GRAPH
from imgret_assets.domain.graph.duplicate_of import check_relationships, sync_relationships
from imgret_assets.domain.graph.image_nodes import sync_nodes
from imgret_assets.domain.storage import tables
from imgret_assets.errors import StaleTableError
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.scenes import encode, near_duplicates_of, scene
from imgret_tests.support.tree import put

pytestmark = pytest.mark.server


@pytest.fixture
def graph(tested_server: TestedServer, database: Driver, tmp_path: object) -> Graph:
    """Twelve pictures, two scenes with near copies, two exact copies; brought up to date."""
    chain = chain_on(tested_server, tmp_path)  # type: ignore[arg-type]
    write_pictures(chain.root, 12)
    for seed in range(2):
        put(chain.root, f"scene{seed}.png", encode(scene(seed)))
        for name, data in near_duplicates_of(scene(seed)).items():
            put(chain.root, f"copies/{seed}-{name}", data)
    shutil.copy(chain.root / "scene0.png", chain.root / "scene0-again.png")
    shutil.copy(chain.root / "copies/1-half.png", chain.root / "copies/1-half-again.png")
    graph = Graph(chain, database)
    refresh(graph)
    return graph


def refresh(graph: Graph) -> tuple[int, int]:
    graph.refresh()
    refresh_duplicates(graph.chain.home, graph.chain.space.id)
    with graph.database() as database:
        report = sync_relationships(graph.chain.home, database, graph.chain.space)
    return report.created, report.deleted


def links(graph: Graph) -> list[tuple[object, ...]]:
    found = graph.rows(
        "MATCH (a)-[r:DUPLICATE_OF]->(b) RETURN a.path AS a, b.path AS b, r.kind AS k, r.distance AS d, r.reason AS r"
    )
    return sorted(tuple(row.values()) for row in found)


def expected(graph: Graph) -> list[tuple[object, ...]]:
    columns = ["path_from", "path_keep", "kind", "distance", "reason"]
    rows = tables.read(tables.duplicates_path(graph.chain.home.warehouse), columns).to_pylist()
    return sorted(tuple(row[name] for name in columns) for row in rows)


def test_relationships_are_the_rows_and_a_second_run_writes_nothing(graph: Graph) -> None:
    assert links(graph) == expected(graph)
    assert len(links(graph)) == 10
    before = graph.identities()
    assert refresh(graph) == (0, 0)
    assert graph.identities() == before
    kinds = {row["r"][1] for row in graph.rows(SHOW_SIMILARITY_GRAPH)}
    assert kinds == {"SIMILAR_TO"}


DAMAGE: dict[str, LiteralString] = {
    "created": "MATCH (a:Image), (b:Image) WHERE a.path < b.path WITH a, b LIMIT 5 CREATE (a)-[:DUPLICATE_OF]->(b)",
    "doubled": "MATCH (a)-[r:DUPLICATE_OF]->(b) WITH a, b, properties(r) AS p "
    "CREATE (a)-[d:DUPLICATE_OF]->(b) SET d = p",
    "removed": "MATCH ()-[r:DUPLICATE_OF]->() WITH r LIMIT 3 DELETE r",
    "reversed": "MATCH (a)-[r:DUPLICATE_OF]->(b) WITH a, b, r LIMIT 2 CREATE (b)-[:DUPLICATE_OF]->(a) DELETE r",
    "other kind": "MATCH ()-[r:DUPLICATE_OF]->() WITH r LIMIT 3 SET r.kind = 'mine'",
    "more properties": "MATCH ()-[r:DUPLICATE_OF]->() WITH r LIMIT 3 SET r.mine = 1",
    "self": "MATCH (a:Image) WITH a LIMIT 2 CREATE (a)-[:DUPLICATE_OF]->(a)",
    "to no image": "MATCH (a:Image) WITH a LIMIT 2 CREATE (a)-[:DUPLICATE_OF]->(:ImgretTest)",
}


def test_what_was_changed_by_hand_is_found_and_repaired(graph: Graph) -> None:
    for kind, statement in DAMAGE.items():
        graph.rows(statement)
        with graph.database() as database:
            assert not check_relationships(graph.chain.home, database, graph.chain.space.id).passed, kind
            report = sync_relationships(graph.chain.home, database, graph.chain.space)
            assert report.created + report.deleted > 0, kind
            assert check_relationships(graph.chain.home, database, graph.chain.space.id).passed, kind
        assert links(graph) == expected(graph), kind


def test_replaced_and_removed_files_lose_theirs_at_once(graph: Graph) -> None:
    put(graph.root, "scene0-again.png", picture_bytes(77))
    (graph.root / "scene1.png").unlink()
    graph.refresh()
    gone = {"scene0-again.png", "scene1.png"}
    assert not [row for row in links(graph) if gone & {row[0], row[1]}]
    with graph.database() as database, pytest.raises(StaleTableError, match="older than the embeddings"):
        sync_relationships(graph.chain.home, database, graph.chain.space)
    refresh(graph)
    assert links(graph) == expected(graph)
    assert len(links(graph)) == 8


def test_nodes_of_an_older_content_are_refused(graph: Graph) -> None:
    graph.rows("MATCH (n:Image {path: 'scene0.png'}) SET n.sha256 = 'x'")
    graph.rows("MATCH ()-[r:DUPLICATE_OF]->() DELETE r")
    with graph.database() as database, pytest.raises(StaleTableError, match="nodes have another content"):
        sync_relationships(graph.chain.home, database, graph.chain.space)


def test_another_model_takes_the_old_ones_away_and_brings_its_own(graph: Graph) -> None:
    other = graph.with_model("small")
    other.refresh()
    assert links(graph) == []
    refresh(other)
    assert links(other) == expected(other)
    assert len(links(other)) == 10


def test_a_run_makes_both_and_the_check_passes(graph: Graph) -> None:
    put(graph.root, "a-longer-name.png", encode(scene(0)))
    outcome = graph.chain.run()
    assert outcome.checks["relationships_equal_duplicates"].passed
    [made] = outcome.metadata("duplicate_of")
    assert (made["created"], made["dagster/row_count"]) == (1, 11)
    assert links(graph) == expected(graph)
    with graph.database() as database:
        sync_nodes(graph.chain.home, database, graph.chain.space)
    assert links(graph) == expected(graph)

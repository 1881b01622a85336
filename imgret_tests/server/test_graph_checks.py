"""The checks of the graph: each passes on what the chain made, and fails on what was damaged since."""

from typing import LiteralString

import pytest
from neo4j import Driver

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.tables import pairs_path
from imgret_tests.support.chain import Chain
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer, empty
from imgret_tests.support.pictures import write_pictures

pytestmark = pytest.mark.server

CHECKED = ("image_nodes", "similar_to")
NODES, RELATIONSHIPS, NO_BAD = "nodes_equal_usable_rows", "relationships_equal_pairs", "no_self_or_doubled_pair"


@pytest.fixture(scope="module")
def chain(tested_server: TestedServer, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    chain = chain_on(tested_server, tmp_path_factory.mktemp("checks"))
    write_pictures(chain.root, 16)
    return chain


@pytest.fixture
def built(chain: Chain, shared_database: Driver) -> Graph:
    """The graph as it should be, whatever the test before did to it."""
    graph = Graph(chain, shared_database)
    empty(shared_database)
    graph.refresh()
    return graph


def failing(graph: Graph) -> set[str]:
    return {name for name, check in graph.chain.check(*CHECKED).items() if not check.passed}


def test_all_pass_on_what_the_chain_made(built: Graph) -> None:
    checks = built.chain.check(*CHECKED)
    assert {name: check.passed for name, check in checks.items()} == {NODES: True, RELATIONSHIPS: True, NO_BAD: True}
    assert checks[NODES].metadata["rows"].value == 16
    assert checks[RELATIONSHIPS].metadata["pairs"].value == len(built.scores()) > 0


DAMAGE: dict[str, tuple[LiteralString, set[str]]] = {
    "node missing": ("MATCH (n:Image) WITH n LIMIT 1 DETACH DELETE n", {NODES, RELATIONSHIPS}),
    "node too many": ("CREATE (:Image {path: 'x', shard: '00', embeddings: [1.0]})", {NODES}),
    "stray node": ("CREATE (:Image {path: 'x', embeddings: [1.0]})", {NODES}),
    "other content": ("MATCH (n:Image) WITH n LIMIT 1 SET n.sha256 = 'x'", {NODES}),
    "other model": ("MATCH (n:Image) WITH n LIMIT 1 SET n.model = 'x'", {NODES}),
    "vector missing": ("MATCH (n:Image) WITH n LIMIT 1 REMOVE n.embeddings", {NODES}),
    "vector too short": ("MATCH (n:Image) WITH n LIMIT 1 SET n.embeddings = [1.0]", {NODES}),
    "relationship missing": ("MATCH ()-[r:SIMILAR_TO]->() WITH r LIMIT 1 DELETE r", {RELATIONSHIPS}),
    "wrong score": ("MATCH ()-[r:SIMILAR_TO]->() WITH r LIMIT 1 SET r.score = 0.81", {RELATIONSHIPS}),
    "no score": ("MATCH ()-[r:SIMILAR_TO]->() WITH r LIMIT 1 REMOVE r.score", {RELATIONSHIPS}),
    "doubled": (
        "MATCH (a)-[r:SIMILAR_TO]->(b) WITH a, b, r.score AS s LIMIT 1 CREATE (a)-[:SIMILAR_TO {score: s}]->(b)",
        {RELATIONSHIPS, NO_BAD},
    ),
    "both directions": (
        "MATCH (a)-[r:SIMILAR_TO]->(b) WITH a, b, r.score AS s LIMIT 1 CREATE (b)-[:SIMILAR_TO {score: s}]->(a)",
        {RELATIONSHIPS, NO_BAD},
    ),
    "self": (
        "MATCH (a:Image) WITH a LIMIT 1 CREATE (a)-[:SIMILAR_TO {score: 1.0}]->(a)",
        {RELATIONSHIPS, NO_BAD},
    ),
    "to no image": (
        "MATCH (a:Image) WITH a LIMIT 1 CREATE (a)-[:SIMILAR_TO {score: 1.0}]->(:ImgretTest)",
        {RELATIONSHIPS, NO_BAD},
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_fails_the_checks_that_look_for_it(built: Graph, kind: str) -> None:
    statement, expected = DAMAGE[kind]
    built.rows(statement)
    assert failing(built) == expected


def test_a_pairs_table_that_must_not_reach_the_graph_fails(built: Graph) -> None:
    path = pairs_path(built.chain.home.warehouse, built.chain.space.id)
    before = path.read_bytes()
    table = tables.read(path)
    tables.write(
        path,
        table.slice(0, 1).select(["path_a", "path_a", "score"]).rename_columns(table.column_names),
        tables.read_metadata(path),
    )
    try:
        checks = built.chain.check(*CHECKED)
        assert not checks[RELATIONSHIPS].passed
        assert "self, doubled or reversed pair" in (checks[RELATIONSHIPS].description or "")
    finally:
        path.write_bytes(before)


def test_no_data_fails_without_an_error(
    shared_database: Driver, tested_server: TestedServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty(shared_database)
    nothing = chain_on(tested_server, tmp_path_factory.mktemp("nothing"))
    checks = nothing.check(*CHECKED)
    assert not checks[NODES].passed
    assert not checks[RELATIONSHIPS].passed

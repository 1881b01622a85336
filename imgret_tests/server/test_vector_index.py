"""The vector index: with the properties of filters, replaced while queries go on, finished after a killed run."""

from typing import Any

import numpy as np
import pytest
from neo4j import Driver

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_state import GraphState
from imgret_assets.domain.graph.image_nodes import sync_nodes
from imgret_assets.domain.search.find_similar import nearest
from imgret_assets.domain.search.query import Hit, Query
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import write_pictures

pytestmark = pytest.mark.server

OPTIONS = "OPTIONS {indexConfig: {`vector.dimensions`: 48, `vector.similarity_function`: 'cosine'}}"
OF_EARLIER_VERSIONS = f"CREATE VECTOR INDEX image_embeddings FOR (n:Image) ON (n.embeddings) {OPTIONS}"
INTERIM = (
    "CYPHER 25 CREATE VECTOR INDEX image_embeddings_interim FOR (n:Image) ON (n.embeddings) "
    f"WITH [n.label, n.shard] {OPTIONS}"
)
SHOW = "SHOW VECTOR INDEXES YIELD name, properties, options, state RETURN name, properties, state"
WANTED = [{"name": "image_embeddings", "properties": ["embeddings", "label"], "state": "ONLINE"}]
FAMILIES = 6


@pytest.fixture(scope="module")
def graph(shared_database: Driver, tested_server: TestedServer, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    graph = Graph(chain_on(tested_server, tmp_path_factory.mktemp("index")), shared_database)
    write_pictures(graph.root, 120, families=FAMILIES)
    graph.refresh()
    return graph


def use(graph: Graph, *statements: str) -> None:
    """Replace the index by what statements create."""
    for name in ("image_embeddings", "image_embeddings_interim"):
        graph.rows(f"DROP INDEX {name} IF EXISTS")
    for statement in statements:
        graph.rows(statement)
    graph.rows("CALL db.awaitIndexes(60)")


def hits(graph: Graph, database: Database, **query: Any) -> tuple[list[Hit], str]:
    state = GraphState(**graph.state())
    return nearest(database, state, np.linspace(-1, 1, state.dim, dtype=np.float32), Query(**query))


def sync(graph: Graph) -> None:
    with graph.database() as database:
        sync_nodes(graph.chain.home, database, graph.chain.space)


def test_a_new_graph_has_the_properties_of_all_filters(graph: Graph) -> None:
    assert graph.rows(SHOW) == WANTED
    assert cypher.INDEXED_PROPERTIES == ("label",)


def test_a_filtered_query_gives_the_answers_of_every_node(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    rows = Database.rows

    def recording(self: Database, statement: str, parameters: dict[str, object] | None = None) -> object:
        asked.append(statement)
        return rows(self, statement, parameters)

    monkeypatch.setattr(Database, "rows", recording)
    with graph.database() as database:
        for number in range(FAMILIES):
            for top_k in (1, 7, 50):
                query = {"label": f"family{number}", "top_k": top_k}
                by_index, mode = hits(graph, database, **query)
                assert (by_index, "exact") == hits(graph, database, **query, mode="exact")
                assert mode == "index"
                assert len(by_index) == min(top_k, 120 // FAMILIES)
        assert hits(graph, database, label="nobody's") == ([], "index")
    filtered = cypher.nearest_by_search("image_embeddings", cypher.FILTERS[:1])
    assert asked.count(filtered) == 3 * FAMILIES + 1
    # The index says itself that it has no more.
    assert cypher.COUNT_MATCHING not in asked


def test_an_index_of_an_earlier_version_is_replaced_once_while_queries_go_on(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(graph, OF_EARLIER_VERSIONS)
    nodes = graph.identities()
    queries = [{"label": "family3"}, {"top_k": 30}]
    with graph.database() as other:
        expected = [hits(graph, other, **query) for query in queries]
        assert [mode for _, mode in expected] == ["index", "index"]
        schema, sent = Database.schema, []

        def asking_after(self: Database, statement: str, parameters: dict[str, Any] | None = None) -> None:
            schema(self, statement, parameters)
            sent.append(statement)
            assert [hits(graph, other, **query) for query in queries] == expected

        monkeypatch.setattr(Database, "schema", asking_after)
        sync(graph)
        assert len(sent) == 4
        assert graph.rows(SHOW) == WANTED
        sync(graph)
        assert len(sent) == 4
    assert graph.identities() == nodes


@pytest.mark.parametrize(
    "left",
    [
        (),
        (INTERIM,),
        (OF_EARLIER_VERSIONS, INTERIM),
        (cypher.create_vector_index("image_embeddings", ("label",)).replace("$options", OPTIONS[8:]), INTERIM),
        (OF_EARLIER_VERSIONS, INTERIM.replace("n.label, ", "")),
        (OF_EARLIER_VERSIONS.replace("48", "12"), INTERIM.replace("48", "12")),
        (OF_EARLIER_VERSIONS.replace("48", "12"), INTERIM),
    ],
    ids=[
        "nothing",
        "interim alone",
        "interim beside the old",
        "interim beside the new",
        "interim of other properties",
        "both of another dimension",
        "old of another dimension",
    ],
)
def test_what_a_killed_replacement_has_left_is_finished(graph: Graph, left: tuple[str, ...]) -> None:
    use(graph, *left)
    sync(graph)
    assert graph.rows(SHOW) == WANTED


def test_the_interim_index_serves_queries_until_the_next_run(graph: Graph) -> None:
    with graph.database() as database:
        expected = hits(graph, database, label="family2", top_k=9)
        use(graph, INTERIM)
        assert hits(graph, database, label="family2", top_k=9) == expected
        use(graph)
        assert hits(graph, database, label="family2", top_k=9) == (expected[0], "exact")
    sync(graph)


def test_an_index_of_a_user_beside_it_is_left_alone(graph: Graph) -> None:
    mine = "CYPHER 25 CREATE VECTOR INDEX image_embeddings_mine FOR (n:Image) ON (n.embeddings) WITH [n.engine] "
    use(graph, OF_EARLIER_VERSIONS, mine + OPTIONS)
    try:
        sync(graph)
        assert [row["name"] for row in graph.rows(SHOW)] == ["image_embeddings", "image_embeddings_mine"]
    finally:
        graph.rows("DROP INDEX image_embeddings_mine")


def test_an_older_server_keeps_its_index(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    use(graph, OF_EARLIER_VERSIONS)
    monkeypatch.setattr(Database, "has_search", False)
    sync(graph)
    assert graph.rows(SHOW) == [{"name": "image_embeddings", "properties": ["embeddings"], "state": "ONLINE"}]
    use(graph)
    sync(graph)
    assert graph.rows(SHOW) == [{"name": "image_embeddings", "properties": ["embeddings"], "state": "ONLINE"}]
    with graph.database() as database:
        by_procedure = hits(graph, database, label="family1", top_k=9)
        monkeypatch.undo()
        sync(graph)
        assert hits(graph, database, label="family1", top_k=9) == by_procedure

"""How often a client waits for the server: what a slow connection costs."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from neo4j import Driver

from imgret_assets.defs import execute_refresh
from imgret_assets.domain.graph import cypher, image_nodes, similar_to
from imgret_assets.domain.graph.connection import keep_connections, open_database
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Query, read_query
from imgret_assets.errors import DatabaseError
from imgret_assets.settings import Settings
from imgret_tests.support.fakes import FakeEmbedderResource
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import write_pictures
from imgret_tests.support.slow_proxy import SlowProxy, slow_proxy

pytestmark = pytest.mark.server

PICTURES = 40


@pytest.fixture(scope="module")
def graph(tested_server: TestedServer, shared_database: Driver, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A complete graph over some pictures in four shards."""
    chain = chain_on(tested_server, tmp_path_factory.mktemp("round-trips"))
    write_pictures(chain.root, PICTURES)
    graph = Graph(chain, shared_database)
    graph.chain.run()
    return graph


@pytest.fixture
def proxy(tested_server: TestedServer) -> Iterator[SlowProxy]:
    server = urlsplit(tested_server.connection.uri)
    with slow_proxy((server.hostname or "", server.port or 7687)) as proxy:
        yield proxy


@pytest.fixture
def far_away(graph: Graph, proxy: SlowProxy, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of the graph's home, whose server is behind the proxy; a run in this process reads the same."""
    settings = graph.chain.settings
    uri = f"bolt://{proxy.address}"
    for name, value in {
        "IMGRET_HOME": str(settings.home),
        "IMGRET_IMAGES": str(graph.root),
        "NEO4J_URI": uri,
        "NEO4J_USERNAME": settings.neo4j.username,
        "NEO4J_PASSWORD": settings.neo4j.password or "",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(execute_refresh, "EmbedderResource", lambda **_: FakeEmbedderResource(name="fake"))
    return replace(settings, neo4j=replace(settings.neo4j, uri=uri))


def test_an_unchanged_run_waits_for_the_server_a_few_times(graph: Graph, far_away: Settings, proxy: SlowProxy) -> None:
    before = graph.identities()
    result = execute_refresh.refresh(far_away)
    assert result.failed_checks == ()
    assert result.totals.nodes == PICTURES
    assert graph.identities() == before
    assert proxy.connections == 1
    assert 20 < proxy.turns <= 34


def test_a_run_from_nothing_waits_twice_for_each_batch(graph: Graph, far_away: Settings, proxy: SlowProxy) -> None:
    graph.rows("MATCH (n) DETACH DELETE n")
    execute_refresh.refresh(far_away)
    graph.assert_right()
    assert proxy.connections == 1
    assert proxy.turns <= 80


def test_a_query_waits_for_the_server_a_few_times(graph: Graph, far_away: Settings, proxy: SlowProxy) -> None:
    image = read_query(sorted(graph.root.rglob("*.png"))[0], graph.root, max_bytes=10**9)
    with open_database(far_away) as database:
        connecting = proxy.turns
        answer = find_similar(
            graph.chain.home, image, Query(relations=True), database=database, embedder=graph.chain.embedder
        )
    assert len(answer.results) == 5
    assert connecting <= 3
    assert proxy.turns - connecting <= 6


def test_several_reads_in_place_of_one_find_the_same(
    graph: Graph, far_away: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_nodes, "READ_ROWS", PICTURES // 3)
    monkeypatch.setattr(similar_to, "READ_RELATIONSHIPS", len(graph.scores()) // 3)
    before = graph.identities()
    assert execute_refresh.refresh(far_away).failed_checks == ()
    assert graph.identities() == before


def test_nodes_that_belong_to_other_shards_are_not_deleted_once_they_are_written(graph: Graph) -> None:
    """All shards are read before the first is written: what was read of a later shard is older than that."""
    nodes = [(node["path"], node["shard"]) for node in graph.nodes()]
    assert len({shard for _, shard in nodes}) > 1
    for moved in (min, max):
        graph.rows("MATCH (n:Image) SET n.shard = $shard", shard=moved(shard for _, shard in nodes))
        graph.refresh()
        assert [(node["path"], node["shard"]) for node in graph.nodes()] == nodes
        graph.assert_right()


def test_a_question_is_asked_again_over_a_new_connection(far_away: Settings, proxy: SlowProxy) -> None:
    with open_database(far_away) as database:
        proxy.cut()
        assert database.rows(cypher.COUNT_IMAGES) == [{"nodes": PICTURES}]
    assert proxy.connections == 2


def test_a_kept_connection_is_closed_at_the_end_and_replaced_when_it_failed(
    far_away: Settings, proxy: SlowProxy
) -> None:
    with keep_connections():
        with open_database(far_away) as first:
            first.rows(cypher.PING)
        with keep_connections(), open_database(far_away) as again:
            assert again is first
        with pytest.raises(DatabaseError, match="refused a statement"), open_database(far_away) as again:
            again.rows("RETURN nothing")
        with open_database(far_away) as other:
            assert other is not first
            other.rows(cypher.PING)
        assert proxy.connections == 2
    with open_database(far_away) as database:
        database.rows(cypher.PING)
    assert proxy.connections == 3

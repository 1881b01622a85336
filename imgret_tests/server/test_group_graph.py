"""The node property `group` on a real Neo4j: written by difference, cleared, repaired."""

from pathlib import Path

import pytest
from neo4j import Driver

from imgret_assets.domain.analysis.groups_table import read_groups, refresh_groups
from imgret_assets.domain.embeddings.table_reader import load_embeddings
from imgret_assets.domain.graph.node_groups import sync_groups
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.errors import StaleTableError
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import write_pictures

pytestmark = pytest.mark.server


@pytest.fixture
def built(tested_server: TestedServer, database: Driver, tmp_path: Path) -> Graph:
    graph = Graph(chain_on(tested_server, tmp_path), database)
    write_pictures(graph.root, 24)
    graph.refresh()
    return graph


def refresh(graph: Graph, *, least: float | None = None) -> int:
    home, space = graph.chain.home, graph.chain.space
    refresh_neighbours(home, space.id)
    refresh_groups(home, space.id, min_score=least)
    with graph.database() as database:
        return sync_groups(home, database, space).changed


def assert_right(graph: Graph) -> None:
    home, space = graph.chain.home, graph.chain.space
    wanted = read_groups(home, space.id, load_embeddings(home, space.id).coverage)
    assert {node["path"]: node.get("group") for node in graph.nodes()} == wanted
    graph.assert_right()


def test_the_property_is_the_table_s_and_written_by_difference(built: Graph) -> None:
    assert refresh(built) > 0
    assert_right(built)
    before = built.identities()
    assert refresh(built) == 0
    assert built.identities() == before


def test_groups_that_end_are_cleared(built: Graph) -> None:
    refresh(built, least=-1.0)
    grouped = sum("group" in node for node in built.nodes())
    refresh(built, least=1.0)
    assert sum("group" in node for node in built.nodes()) < grouped
    assert_right(built)


def test_what_somebody_wrote_is_repaired(built: Graph) -> None:
    refresh(built)
    built.rows("MATCH (n:Image) WITH n ORDER BY n.path LIMIT 4 SET n.group = 5")
    built.rows("MATCH (n:Image) WITH n ORDER BY n.path DESC LIMIT 4 SET n.group = null")
    assert refresh(built) > 0
    assert_right(built)


def test_nodes_that_are_not_the_table_s_are_refused(built: Graph) -> None:
    refresh(built)
    built.rows("MATCH (n:Image) WITH n ORDER BY n.path LIMIT 1 DETACH DELETE n")
    with pytest.raises(StaleTableError, match=r"23 :Image nodes .* 24 images, 23 of them the same"):
        refresh(built)
    # New pictures without new groups.
    built.refresh()
    write_pictures(built.root, 2, start=50)
    built.refresh()
    with (
        built.database() as database,
        pytest.raises(StaleTableError, match="groups table is older"),
    ):
        sync_groups(built.chain.home, database, built.chain.space)


def test_a_run_writes_it_and_nodes_stay_as_they_should_be(built: Graph) -> None:
    outcome = built.chain.run()
    [said] = outcome.metadata("image_node_groups")
    assert said["changed"] == said["grouped"] == sum("group" in node for node in built.nodes()) > 0
    assert_right(built)
    assert outcome.failed_checks == []

"""A database that may hold no more: a run says what it needs before it writes, and succeeds where all fits."""

from dataclasses import replace
from pathlib import Path

import pytest
from neo4j import Driver

from imgret_assets.domain.graph import cypher, duplicate_of
from imgret_assets.domain.graph.image_nodes import sync_nodes
from imgret_assets.domain.graph.similar_to import sync_relationships
from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import DatabaseError
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import write_pictures

pytestmark = pytest.mark.server

PICTURES = 24


@pytest.fixture
def graph(database: Driver, tested_server: TestedServer, tmp_path: Path) -> Graph:
    graph = Graph(chain_on(tested_server, tmp_path), database)
    write_pictures(graph.root, PICTURES, families=2)
    return graph


def limited(graph: Graph, **limits: int) -> Graph:
    """The same home with limits of its database."""
    settings = graph.chain.settings
    return replace(
        graph, chain=replace(graph.chain, settings=replace(settings, neo4j=replace(settings.neo4j, **limits)))
    )


def test_nodes_that_do_not_fit_are_not_written(graph: Graph) -> None:
    graph.rows("CREATE (:Other), (:Other)")
    # With the node of the state.
    needed = PICTURES + 3
    with pytest.raises(DatabaseError, match=r"24 images need a node each.* 3 other nodes.*NODES is 26: nothing was"):
        limited(graph, max_nodes=needed - 1).refresh()
    assert graph.nodes() == []
    limited(graph, max_nodes=needed).refresh()
    assert len(graph.nodes()) == PICTURES
    # What is there counts once.
    limited(graph, max_nodes=needed).refresh()


def test_a_part_of_the_shards_counts_beside_the_others(graph: Graph) -> None:
    graph.refresh()
    home = graph.chain.home
    tight = open_home(limited(graph, max_nodes=PICTURES + 1).chain.settings)
    with graph.database() as database:
        assert sync_nodes(tight, database, graph.chain.space, home.shards[:1]).rebuilt_from is None
        graph.rows("CREATE (:Other)")
        with pytest.raises(DatabaseError, match="nothing was written"):
            sync_nodes(tight, database, graph.chain.space, home.shards[:1])


def test_relationships_that_do_not_fit_are_not_written(graph: Graph) -> None:
    graph.refresh()
    needed = len(graph.scores())
    assert needed
    graph.rows("MATCH ()-[r]->() DELETE r")
    graph.rows("CREATE (:Other)-[:OF_MINE]->(:Other)")
    with graph.database() as database:
        tight = open_home(limited(graph, max_relationships=needed).chain.settings)
        with pytest.raises(DatabaseError, match=rf"{needed} SIMILAR_TO .*has 1 others.*IMGRET_MAX_NEIGHBOURS"):
            sync_relationships(tight, database, graph.chain.space)
        assert graph.relationships() == []
        enough = open_home(limited(graph, max_relationships=needed + 1).chain.settings)
        assert sync_relationships(enough, database, graph.chain.space).created == needed
        assert sync_relationships(enough, database, graph.chain.space).created == 0


def test_relationships_of_other_kinds_count_too(graph: Graph) -> None:
    (graph.root / "copy.png").write_bytes((graph.root / "family0/picture0000.png").read_bytes())
    graph.refresh_all()
    assert len(graph.copies()) == 1
    similar = len(graph.scores())
    with graph.database() as database:
        tight = open_home(limited(graph, max_relationships=similar).chain.settings)
        with pytest.raises(DatabaseError, match=r"1 DUPLICATE_OF relationships are to be written"):
            duplicate_of.sync_relationships(tight, database, graph.chain.space)


def test_nothing_but_exact_queries_uses_graph_data_science() -> None:
    """And these give the same answers without it: `test_find_similar`."""
    uses = [name for name, text in vars(cypher).items() if isinstance(text, str) and name.isupper() and "gds." in text]
    assert sorted(uses) == ["GDS_VERSION", "HAS_GDS", "NEAREST_BY_EUCLIDEAN_GDS", "NEAREST_OF_ALL_GDS"]

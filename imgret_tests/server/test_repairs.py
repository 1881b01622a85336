"""What somebody did to the graph by hand, and that the next run puts it right."""

from typing import LiteralString

import numpy as np
import pytest
from neo4j import Driver

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.graph.image_nodes import sync_nodes
from imgret_assets.domain.graph.similar_to import sync_relationships
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage.tables import embeddings_path
from imgret_tests.support.chain import THRESHOLD, Chain, cosine
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.graph_fixtures import Graph, chain_on, write_blends
from imgret_tests.support.neo4j_server import TestedServer, empty
from imgret_tests.support.pictures import write_pictures

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def chain(tested_server: TestedServer, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """One home for all tests here: what a test damages it also repairs."""
    chain = chain_on(tested_server, tmp_path_factory.mktemp("repairs"))
    write_pictures(chain.root, 20)
    write_blends(chain.root, 10)
    return chain


@pytest.fixture
def built(chain: Chain, shared_database: Driver) -> Graph:
    """The graph as it should be, also where the test before has failed and left its damage."""
    graph = Graph(chain, shared_database)
    try:
        graph.assert_right()
    except (AssertionError, ValueError, FileNotFoundError):
        empty(shared_database)
        graph.refresh()
    return graph


DAMAGE: dict[str, LiteralString] = {
    "created": "MATCH (a:Image), (b:Image) WHERE a.path < b.path AND NOT (a)-[:SIMILAR_TO]-(b) WITH a, b LIMIT 5 "
    "CREATE (a)-[:SIMILAR_TO {score: 0.99, model: a.model}]->(b)",
    "doubled": "MATCH (a)-[r:SIMILAR_TO]->(b) WITH a, b, properties(r) AS p CREATE (a)-[d:SIMILAR_TO]->(b) SET d = p",
    "doubled as the article makes them": "MATCH (a)-[r:SIMILAR_TO]->(b) WITH a, b, r.score AS score "
    "CREATE (a)-[:SIMILAR_TO {score: score}]->(b)",
    "removed": "MATCH ()-[r:SIMILAR_TO]->() WITH r LIMIT 7 DELETE r",
    "all removed": "MATCH ()-[r:SIMILAR_TO]->() DELETE r",
    "wrong score": "MATCH ()-[r:SIMILAR_TO]->() WITH r LIMIT 3 SET r.score = r.score - 1e-6",
    "no score": "MATCH ()-[r:SIMILAR_TO]->() WITH r LIMIT 3 REMOVE r.score",
    "score of another type": "MATCH ()-[r:SIMILAR_TO]->() WITH r LIMIT 3 SET r.score = toString(r.score)",
    "other model": "MATCH ()-[r:SIMILAR_TO]->() WITH r LIMIT 3 SET r.model = 'resnet50-00000000'",
    "reversed": "MATCH (a)-[r:SIMILAR_TO]->(b) WITH a, b, r, properties(r) AS p LIMIT 4 "
    "CREATE (b)-[d:SIMILAR_TO]->(a) SET d = p DELETE r",
    "both directions": "MATCH (a)-[r:SIMILAR_TO]->(b) WITH a, b, properties(r) AS p LIMIT 4 "
    "CREATE (b)-[d:SIMILAR_TO]->(a) SET d = p",
    "self": "MATCH (a:Image) WITH a LIMIT 2 CREATE (a)-[:SIMILAR_TO {score: 1.0, model: a.model}]->(a)",
    "to no image": "MATCH (a:Image) WITH a LIMIT 2 CREATE (a)-[:SIMILAR_TO {score: 0.9}]->(:ImgretTest)",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_relationships_are_repaired_by_similar_to(built: Graph, kind: str) -> None:
    before = built.identities()
    built.rows(DAMAGE[kind])
    assert built.identities() != before
    with built.database() as database:
        report = sync_relationships(built.chain.home, database, built.chain.space)
    assert report.created + report.deleted > 0
    built.assert_right()


def test_scores_of_an_earlier_summation_are_not_written_again(built: Graph) -> None:
    """Versions before this one summed some scores in another order: off by up to 3e-15, no reason to write."""
    built.rows("MATCH ()-[r:SIMILAR_TO]->() SET r.score = r.score - 3e-15")
    identities = built.identities()
    with built.database() as database:
        report = sync_relationships(built.chain.home, database, built.chain.space)
    assert (report.created, report.deleted) == (0, 0)
    assert built.identities() == identities


NODE_DAMAGE: dict[str, LiteralString] = {
    "the article's CREATE": "CREATE (:Image {embeddings: [0.1, 0.2], path: 'by hand.png'})",
    "no path": "CREATE (:Image {embeddings: [0.1, 0.2]}), (:Image)",
    "in a shard that is not": "MATCH (n:Image) WITH n LIMIT 1 SET n.shard = '0f'",
    "in another shard": "MATCH (n:Image) SET n.shard = '00'",
    "joined to others": "MATCH (n:Image) WITH collect(n) AS all CREATE (m:Image {path: 'by hand.png', shard: '01'}) "
    "WITH all, m UNWIND all AS n CREATE (m)-[:SIMILAR_TO {score: 0.9}]->(n)",
    "deleted": "MATCH (n:Image) WITH n LIMIT 4 DETACH DELETE n",
    "all deleted": "MATCH (n:Image) DETACH DELETE n",
    "other facts": "MATCH (n:Image) WITH n LIMIT 4 SET n.label = 'mine', n.width = 1 REMOVE n.format",
    "other content": "MATCH (n:Image) WITH n LIMIT 4 SET n.sha256 = 'x', n.embeddings = [x IN n.embeddings | 0.5]",
    "index dropped": "DROP INDEX image_embeddings",
    "state unclear": "MATCH (s:ImgretState) SET s.state = 'refreshing'",
}


@pytest.mark.parametrize("kind", NODE_DAMAGE)
def test_damaged_nodes_are_repaired_by_the_next_run(built: Graph, kind: str) -> None:
    embedded = built.chain.embedder.embedded
    built.rows(NODE_DAMAGE[kind])
    with built.database() as database:
        sync_nodes(built.chain.home, database, built.chain.space)
        sync_relationships(built.chain.home, database, built.chain.space)
    built.assert_right()
    assert built.chain.embedder.embedded == embedded


def test_a_whole_run_repairs_all_at_once(built: Graph) -> None:
    for statement in (DAMAGE["doubled"], DAMAGE["self"], NODE_DAMAGE["deleted"], NODE_DAMAGE["the article's CREATE"]):
        built.rows(statement)
    outcome = built.chain.run()
    built.assert_right()
    assert outcome.embedded == 0
    assert outcome.failed_checks == []
    assert {row["orphan_nodes_deleted"] for row in outcome.metadata("image_nodes")} == {1}


def test_vectors_made_anew_by_another_engine_take_their_nodes_and_scores_along(
    built: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same files, same space, but numbers that differ a little: no score of the old ones may stay."""

    class OtherEngine(FakeEmbedder):
        engine = "other"  # type: ignore[assignment]

        def embed(self, batch: np.ndarray) -> np.ndarray:
            vectors = super().embed(batch)
            return vectors * (1 + 0.01 * np.sin(np.arange(vectors.shape[1], dtype=np.float32)))

    chain, space = built.chain, built.chain.space
    before, identities = built.scores(), built.identities()
    for shard in chain.home.shards:
        embeddings_path(chain.home.warehouse, space.id, shard).unlink()
    refresh_embeddings(chain.home, OtherEngine())
    refresh_pairs(chain.home, space.id, THRESHOLD)
    with built.database() as database:
        nodes = sync_nodes(chain.home, database, space)
        sync_relationships(chain.home, database, space)
    assert sum(shard.replaced for shard in nodes.shards) == len(built.nodes())
    assert {row["engine"] for row in built.nodes()} == {"other"}
    after = built.scores()
    assert any(abs(after.get(pair, 0.0) - score) > 1e-6 for pair, score in before.items())
    vectors = {path: vector.astype(np.float64) for path, vector in built.vectors().items()}
    for (a, b), score in after.items():
        assert score == pytest.approx(cosine(vectors[a], vectors[b]), abs=1e-9)
    for shard in chain.home.shards:
        embeddings_path(chain.home.warehouse, space.id, shard).unlink()
    built.refresh()
    assert built.scores().keys() == before.keys()
    assert built.identities() != identities

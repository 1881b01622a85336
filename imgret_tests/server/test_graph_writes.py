"""Writes whose answers are lost on the way: what was done is not done twice, what was not done is done."""

from typing import Any

import pytest
from neo4j import Driver, ManagedTransaction
from neo4j.exceptions import ServiceUnavailable

from imgret_assets.domain.graph import similar_to
from imgret_assets.domain.graph.similar_to import sync_relationships
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import write_pictures
from imgret_tests.support.tree import put

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def graph(tested_server: TestedServer, shared_database: Driver, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A complete graph over 30 pictures and a copy of one."""
    chain = chain_on(tested_server, tmp_path_factory.mktemp("writes"))
    path = write_pictures(chain.root, 30)[0]
    put(chain.root, "copies/of/a/picture.png", (chain.root / path).read_bytes())
    graph = Graph(chain, shared_database)
    graph.refresh_all()
    return graph


class Losing:
    """Loses the connection once: at the nth commit of a transaction that `says` this, before or after it is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, says: str, *, nth: int, done: bool) -> None:
        self.sent = 0
        run, commit = ManagedTransaction.run, ManagedTransaction._commit
        saying: set[int] = set()

        def noting(transaction: ManagedTransaction, query: Any, *given: Any, **named: Any) -> Any:
            if says in query:
                saying.add(id(transaction))
            return run(transaction, query, *given, **named)

        def losing(transaction: ManagedTransaction) -> Any:
            if id(transaction) not in saying:
                return commit(transaction)
            saying.remove(id(transaction))
            self.sent += 1
            if self.sent != nth:
                return commit(transaction)
            if done:
                commit(transaction)
            else:
                transaction._rollback()
            raise ServiceUnavailable("lost by the test")

        monkeypatch.setattr(ManagedTransaction, "run", noting)
        monkeypatch.setattr(ManagedTransaction, "_commit", losing)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("nth", [1, 3])
def test_relationships_whose_answer_was_lost_are_there_once(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, done: bool, nth: int
) -> None:
    monkeypatch.setattr(similar_to, "RELATIONSHIP_ROWS", 10)
    graph.rows("MATCH ()-[r:SIMILAR_TO]->() DELETE r")
    losing = Losing(monkeypatch, "UNWIND $pairs", nth=nth, done=done)
    with graph.database() as database:
        report = sync_relationships(graph.chain.home, database, graph.chain.space)
    graph.assert_right()
    assert report.relationships == len(graph.scores()) > 30
    assert losing.sent == -(-report.relationships // 10) + 1


@pytest.mark.parametrize("says", ["MERGE (n:Image", "[r:DUPLICATE_OF]->(b)", "SET n.group"])
def test_what_else_was_written_and_not_answered_is_there_once(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    graph.rows("MATCH (n:Image) DETACH DELETE n")
    losing = Losing(monkeypatch, says, nth=1, done=True)
    graph.refresh_all()
    assert losing.sent > 1
    graph.assert_right()
    assert graph.copies()
    assert any(graph.groups().values())

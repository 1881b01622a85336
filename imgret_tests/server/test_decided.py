"""DECIDED on a real Neo4j: as the file of decisions says, whatever happened to files, model or graph."""

import shutil
from dataclasses import replace
from datetime import datetime
from typing import LiteralString

import pytest
from neo4j import Driver

from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.graph import decided as decided_table
from imgret_assets.domain.graph.cypher import SHOW_SIMILARITY_GRAPH
from imgret_assets.domain.graph.decided import ABSENT
from imgret_assets.domain.graph.graph_state import adopt
from imgret_assets.domain.graph.relationship_sync import RelationshipsReport
from imgret_assets.domain.review.decision_log import read_history, record, undo
from imgret_assets.domain.review.decisions import DUPLICATE, NOT_DUPLICATES, keep_all, keep_one
from imgret_assets.domain.review.removals import find_library_file
from imgret_assets.errors import StaleTableError
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.tree import put

pytestmark = pytest.mark.server

A, B, C, D = (f"{number:03d}.png" for number in range(4))
AGAIN = "again.png"


@pytest.fixture
def graph(tested_server: TestedServer, database: Driver, tmp_path: object) -> Graph:
    """Eight pictures, one of them twice; three decisions by two people."""
    chain = chain_on(tested_server, tmp_path)  # type: ignore[arg-type]
    for seed in range(8):
        put(chain.root, f"{seed:03d}.png", picture_bytes(seed))
    shutil.copy(chain.root / D, chain.root / AGAIN)
    graph = Graph(chain, database)
    graph.refresh()
    decide(graph, by="anna", keep=[A, B, C])
    decide(graph, by="ben", drop=(AGAIN, D))
    sync(graph)
    return graph


def decide(graph: Graph, *, by: str, keep: list[str] | None = None, drop: tuple[str, str] | None = None) -> str:
    home = graph.chain.home
    if keep:
        return record(home, [keep_all([find_library_file(home, path) for path in keep])], by=by)
    copy, kept = (find_library_file(home, path) for path in drop or ())
    return record(home, [keep_one(kept, [copy])], by=by)


def sync(graph: Graph) -> RelationshipsReport:
    with graph.database() as database:
        return decided_table.sync_relationships(graph.chain.home, database, graph.chain.space)


def decided(graph: Graph) -> dict[tuple[str, str], tuple[str, str, str | None]]:
    """Verdict, by, keep of each pair of paths, each there once."""
    rows = graph.rows("MATCH (a)-[r:DECIDED]->(b) RETURN a.path AS a, b.path AS b, properties(r) AS p ORDER BY a, b")
    found = {(row["a"], row["b"]): (row["p"]["verdict"], row["p"]["by"], row["p"].get("keep")) for row in rows}
    assert len(found) == len(rows)
    assert all(set(row["p"]) <= {"verdict", "at", "by", "keep"} for row in rows)
    return found


EXPECTED = {
    (A, B): (NOT_DUPLICATES, "anna", None),
    (A, C): (NOT_DUPLICATES, "anna", None),
    (D, AGAIN): (DUPLICATE, "ben", D),
}


def test_relationships_are_the_decisions_in_force_and_a_second_run_writes_nothing(graph: Graph) -> None:
    assert decided(graph) == EXPECTED
    said = {entry.decision.at for entry in read_history(graph.chain.home)}
    found = graph.rows("MATCH ()-[r:DECIDED]->() RETURN r.at AS at")
    assert {row["at"].to_native() for row in found} == {datetime.fromisoformat(at) for at in said}
    before = graph.identities()
    report = sync(graph)
    assert (report.created, report.deleted, report.relationships, report.counts[ABSENT]) == (0, 0, 3, 0)
    assert graph.identities() == before
    assert {row["r"][1] for row in graph.rows(SHOW_SIMILARITY_GRAPH)} <= {"SIMILAR_TO"}


def test_undone_and_replaced_ones_change_with_the_file(graph: Graph) -> None:
    batch = decide(graph, by="carl", drop=(B, A))
    assert sync(graph).relationships == 3
    assert decided(graph) == EXPECTED | {(A, B): (DUPLICATE, "carl", A)}
    undo(graph.chain.home, batch)
    sync(graph)
    assert decided(graph) == EXPECTED
    undo(graph.chain.home, read_history(graph.chain.home)[-1].decision.batch)
    report = sync(graph)
    assert (report.created, report.deleted, report.counts) == (0, 2, {NOT_DUPLICATES: 0, DUPLICATE: 1, ABSENT: 0})


DAMAGE: dict[str, LiteralString] = {
    "created": "MATCH (a:Image), (b:Image) WHERE a.path < b.path WITH a, b LIMIT 5 CREATE (a)-[:DECIDED]->(b)",
    "doubled": "MATCH (a)-[r:DECIDED]->(b) WITH a, b, properties(r) AS p CREATE (a)-[d:DECIDED]->(b) SET d = p",
    "removed": "MATCH ()-[r:DECIDED]->() WITH r LIMIT 2 DELETE r",
    "reversed": "MATCH (a)-[r:DECIDED]->(b) WITH a, b, r LIMIT 2 CREATE (b)-[:DECIDED]->(a) DELETE r",
    "other verdict": "MATCH ()-[r:DECIDED]->() SET r.verdict = 'mine'",
    "a text for a time": "MATCH ()-[r:DECIDED]->() SET r.at = toString(r.at)",
    "to no image": "MATCH (a:Image) WITH a LIMIT 2 CREATE (a)-[:DECIDED]->(:ImgretTest)",
}


def equal(graph: Graph) -> Finding:
    with graph.database() as database:
        return decided_table.check_relationships(graph.chain.home, database, graph.chain.space.id)


def test_what_was_changed_by_hand_is_found_and_repaired(graph: Graph) -> None:
    for kind, statement in DAMAGE.items():
        graph.rows(statement)
        assert not equal(graph).passed, kind
        report = sync(graph)
        assert report.created + report.deleted > 0, kind
        assert decided(graph) == EXPECTED, kind
        assert equal(graph).passed, kind


def test_a_decision_that_is_not_in_the_graph_yet_is_found_by_the_check(graph: Graph) -> None:
    decide(graph, by="carl", keep=[B, C])
    found = equal(graph)
    assert (found.passed, found.facts["expected"], found.facts["missing"]) == (False, 4, 1)
    assert "1 missing, 0 extra" in found.summary


def test_decisions_survive_renames(graph: Graph) -> None:
    (graph.root / "albums").mkdir()
    for path in (A, D, AGAIN):
        (graph.root / path).rename(graph.root / "albums" / path)
    graph.refresh()
    report = sync(graph)
    # Which of two files with the same bytes is which can't be told when both have moved.
    assert decided(graph) == {
        (B, f"albums/{A}"): (NOT_DUPLICATES, "anna", None),
        (C, f"albums/{A}"): (NOT_DUPLICATES, "anna", None),
    }
    assert report.counts[ABSENT] == 1
    for path in (A, D, AGAIN):
        (graph.root / "albums" / path).rename(graph.root / path)
    graph.refresh()
    sync(graph)
    assert decided(graph) == EXPECTED


def test_a_replaced_file_loses_its_decisions_at_once(graph: Graph) -> None:
    put(graph.root, A, picture_bytes(77))
    graph.refresh()
    assert decided(graph) == {(D, AGAIN): EXPECTED[D, AGAIN]}
    assert sync(graph).counts[ABSENT] == 2
    put(graph.root, A, picture_bytes(0))
    graph.refresh()
    sync(graph)
    assert decided(graph) == EXPECTED


def test_decisions_survive_another_model_and_a_database_that_was_wiped(graph: Graph) -> None:
    other = graph.with_model("small")
    other.refresh()
    assert decided(graph) == {}
    sync(other)
    assert decided(graph) == EXPECTED
    with other.database() as database:
        adopt(database)
    # A database that this home has never seen, as on another server.
    graph.refresh()
    sync(graph)
    assert decided(graph) == EXPECTED


def test_nodes_of_an_older_content_are_refused(graph: Graph) -> None:
    graph.rows("MATCH (n:Image {path: $path}) SET n.sha256 = 'x'", path=A)
    graph.rows("MATCH ()-[r:DECIDED]->() DELETE r")
    with pytest.raises(StaleTableError, match="2 DECIDED relationships are between images"):
        sync(graph)
    small = replace(graph, chain=replace(graph.chain, model="small"))
    with pytest.raises(StaleTableError, match="The graph holds fake-"):
        sync(small)


def test_a_run_brings_them_into_the_graph(tested_server: TestedServer, database: Driver, tmp_path: object) -> None:
    chain = chain_on(tested_server, tmp_path)  # type: ignore[arg-type]
    paths = sorted(write_pictures(chain.root, 6))
    graph = Graph(chain, database)
    [made] = chain.run().metadata("decided")
    assert (made["dagster/row_count"], made["created"]) == (0, 0)
    decide(graph, by="anna", keep=paths[:2])
    outcome = chain.run()
    assert outcome.failed_checks == []
    [made] = outcome.metadata("decided")
    assert (made["dagster/row_count"], made[NOT_DUPLICATES], made["created"]) == (1, 1, 1)
    put(graph.root, paths[0], picture_bytes(99))
    [made] = chain.run().metadata("decided")
    assert (made["dagster/row_count"], made["decisions_without_nodes"]) == (0, 1)
    assert decided(graph) == {}

"""A graph without vectors: the same answers, checks and relationships, and a change of the setting in both directions.

One graph is built for all tests here, first with vectors. Its answers are kept, then its vectors are removed.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neo4j import Driver

from imgret_assets.domain.graph import graph_record
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.image_nodes import sync_nodes
from imgret_assets.domain.images.crop import PERCENT, Crop
from imgret_assets.domain.operations.backlog import read_backlog
from imgret_assets.domain.search import find_similar as find_similar_module
from imgret_assets.domain.search import known, query_embedding, table_search
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.known import check_known
from imgret_assets.domain.search.query import Answer, Query, QueryImage, read_query
from imgret_assets.domain.search.query_parts import QueryPart, QueryVector, StoredImage
from imgret_assets.domain.search.relations import best_relationships, relationships_among
from imgret_tests.support.exif_photos import exif_bytes, write_photo
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import picture_bytes, write_pictures

pytestmark = pytest.mark.server

COPIED, COPY = "family0/picture0000.png", "copies/one.png"
INDEXES = "SHOW VECTOR INDEXES YIELD name, state RETURN name, state"
WITH_VECTORS = "MATCH (n:Image) WHERE n.embeddings IS NOT NULL RETURN count(n) AS nodes"
RELATIONSHIP_IDS = "MATCH ()-[r]->() RETURN elementId(r) AS id, properties(r) AS properties ORDER BY id"
FIRST = datetime.fromisoformat("2024-01-01T00:00:00")


@dataclass(frozen=True)
class Graphs:
    """One home and database, under both values of the setting; the graph and its answers when it had vectors.

    `embedded` counts the images that were embedded when the vectors were removed.
    """

    with_vectors: Graph
    without: Graph
    answers: list[Answer]
    known: list[Any]
    relationships: list[Any]
    relationship_ids: list[Any]
    nodes: list[dict[str, Any]]
    embedded: int


def using(graph: Graph, *, vectors: bool) -> Graph:
    settings = graph.chain.settings
    settings = replace(settings, neo4j=replace(settings.neo4j, vectors=vectors))
    return replace(graph, chain=replace(graph.chain, settings=settings))


def queries(graph: Graph) -> list[tuple[list[QueryPart], Query]]:
    """Every kind of query, and every option that decides about hits."""
    outside = QueryImage("outside.png", picture_bytes(4242, family=3))
    inside = read_query(graph.root / COPIED, graph.root)
    blend = read_query(graph.root / "family2/picture0002.png", graph.root)
    rng = np.random.default_rng(5)
    one, other = [QueryPart(outside)], [QueryPart(inside)]
    together = [QueryPart(inside), QueryPart(StoredImage("photos/07.jpg")), QueryPart(blend, less=True)]
    vector = [QueryPart(QueryVector("vector", rng.normal(size=48).astype(np.float32)))]
    crop = [QueryPart(outside, crop=Crop(10, 10, 60, 60, PERCENT))]
    return [
        *((parts, Query(top_k=9, mode="exact")) for parts in (one, other, together, vector, crop)),
        (one, Query(top_k=1000, mode="exact")),
        (one, Query(top_k=200, mode="exact", min_score=0.2)),
        (other, Query(top_k=9, mode="exact", exclude_self=False, relations=True)),
        (vector, Query(top_k=30, mode="exact", metric="euclidean")),
        (vector, Query(top_k=30, mode="exact", metric="dot", min_score=-0.1)),
        (one, Query(top_k=9, mode="exact", label="family5")),
        (one, Query(top_k=9, mode="exact", label="nobody's")),
        (one, Query(top_k=200, mode="exact", folder="photos")),
        (one, Query(top_k=9, mode="index", folder="family3", min_score=0.1)),
        (one, Query(top_k=40, mode="exact", since="2024-01-03", until="2024-01-08")),
        (one, Query(top_k=40, mode="exact", camera="CANON eos 5D", label="photos")),
        (one, Query(top_k=9)),
        (other, Query(top_k=9, label="family5")),
        *((parts, Query(top_k=9, mode="rerank")) for parts in (one, together)),
        (other, Query(top_k=9, mode="rerank", label="photos", since="2024-01-03")),
    ]


def ask_all(graph: Graph) -> list[Answer]:
    with graph.database() as database:
        return [
            find_similar(graph.chain.home, parts, query, database=database, embedder=graph.chain.embedder)
            for parts, query in queries(graph)
        ]


def ask_known(graph: Graph) -> list[Any]:
    images = [
        QueryImage("copy.png", (graph.root / COPIED).read_bytes()),
        QueryImage("new.png", picture_bytes(999)),
        QueryImage("like.png", picture_bytes(4242, family=3)),
    ]
    with graph.database() as database:
        return [check_known(graph.chain.home, image, database=database, min_score=0.7) for image in images]


def ask_relationships(graph: Graph) -> list[Any]:
    paths = [COPIED, COPY, "photos/07.jpg"]
    with graph.database() as database:
        home = graph.chain.home
        edges, totals = best_relationships(database, paths, min_score=0.9, limit_per_image=30, home=home)
        return [
            totals,
            {(e.source, e.target, e.kind, round(e.score, 6)) for e in edges},
            {(e.source, e.target, e.kind, round(e.score, 6)) for e in relationships_among(
                database, paths, limit=30, home=home
            )},
        ]  # fmt: skip


@pytest.fixture(scope="module")
def graphs(
    shared_database: Driver, tested_server: TestedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Graphs]:
    graph = Graph(chain_on(tested_server, tmp_path_factory.mktemp("without-vectors")), shared_database)
    write_pictures(graph.root, 90, families=6)
    for number in range(30):
        make, model = ("Canon", "Canon EOS 5D") if number % 2 else ("NIKON CORPORATION", "NIKON D90")
        taken = FIRST + timedelta(hours=12 * number)
        exif = exif_bytes(make=make, model=model, original=f"{taken:%Y:%m:%d %H:%M:%S}")
        write_photo(graph.root / f"photos/{number:02d}.jpg", 500 + number, exif, family=number % 5)
    (graph.root / COPY).parent.mkdir()
    shutil.copy(graph.root / COPIED, graph.root / COPY)
    with pytest.MonkeyPatch.context() as patch:
        # `check_known` opens none by itself.
        patch.setattr(query_embedding, "choose_embedder", lambda *_, **__: graph.chain.embedder)
        patch.setattr(query_embedding, "resolve_space", lambda *_: None)
        patch.setattr(known, "find_similar", find_similar)
        graph.refresh_all()
        kept = (ask_all(graph), ask_known(graph), ask_relationships(graph))
        before = graph.rows(RELATIONSHIP_IDS), graph.nodes()
        without = using(graph, vectors=False)
        yield Graphs(graph, without, *kept, *before, embedded=without.refresh_all())


def assert_same_answers(answers: list[Answer], expected: list[Answer]) -> None:
    assert len(answers) == len(expected)
    for answer, other in zip(answers, expected, strict=True):
        # Scores and rank scores to the last bit.
        assert answer.results == other.results
        assert answer.query_paths == other.query_paths
        assert not answer.refreshing


def test_the_first_graph_has_answers_to_compare(graphs: Graphs) -> None:
    assert [answer.mode for answer in graphs.answers] == ["exact"] * 13 + ["index"] + ["exact"] * 2 + ["index"] * 2 + [
        "rerank"
    ] * 3
    empty = [number for number, answer in enumerate(graphs.answers) if not answer.results]
    assert empty == [11]
    assert [checked.kind for checked in graphs.known] == ["exact", None, "similar"]
    assert any(kind == "DUPLICATE_OF" for _, _, kind, _ in graphs.relationships[1])


def test_removing_the_vectors_keeps_everything_else(graphs: Graphs) -> None:
    without = graphs.without
    assert without.rows(WITH_VECTORS) == [{"nodes": 0}]
    assert without.rows(INDEXES) == []
    assert without.state()["vectors"] is False
    assert without.state()["state"] == "ready"
    assert without.rows(RELATIONSHIP_IDS) == graphs.relationship_ids
    assert without.nodes() == [
        {name: value for name, value in node.items() if name != "embeddings"} for node in graphs.nodes
    ]
    assert graphs.embedded == 0


def test_answers_are_those_of_the_graph_with_vectors_to_the_last_bit(graphs: Graphs) -> None:
    # The first search reads the vectors in batches, the later ones keep them.
    for _ in range(3):
        answers = ask_all(graphs.without)
        assert_same_answers(answers, graphs.answers)
        assert [answer.mode for answer in answers] == ["exact"] * 18 + ["rerank"] * 3
    assert ask_known(graphs.without) == graphs.known
    assert ask_relationships(graphs.without) == graphs.relationships


def test_answers_are_the_same_where_vectors_do_not_fit_into_memory(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    batches = table_search.usable_batches

    def reading(*arguments: Any, **named: Any) -> Any:
        read.append(arguments)
        return batches(*arguments, **named)

    monkeypatch.setattr(table_search, "usable_batches", reading)
    small = replace(graphs.without.chain.settings, memory_gb=1e-6)
    tight = replace(graphs.without, chain=replace(graphs.without.chain, settings=small))
    exact = [
        (answer, expected)
        for (parts, query), expected in zip(queries(tight), graphs.answers, strict=True)
        if query.mode != "rerank"
        for answer in [ask(tight, parts, query)]
    ]
    assert_same_answers(*(list(each) for each in zip(*exact, strict=True)))
    # Every search reads all four shards.
    assert len(read) == 4 * len(exact)


def ask(graph: Graph, parts: list[QueryPart], query: Query) -> Answer:
    with graph.database() as database:
        return find_similar(graph.chain.home, parts, query, database=database, embedder=graph.chain.embedder)


def test_a_second_run_writes_nothing(graphs: Graphs) -> None:
    before = graphs.without.identities()
    graphs.without.refresh_all()
    assert graphs.without.identities() == before


def test_checks_and_backlog_go_by_the_setting(graphs: Graphs, monkeypatch: pytest.MonkeyPatch) -> None:
    space = graphs.without.chain.space.id
    monkeypatch.setenv("IMGRET_GRAPH_VECTORS", "no")
    assert all(check.passed for check in graphs.without.chain.check("image_nodes", "similar_to").values())
    graph_assets = {graph_record.NODES, "similar_to", "duplicate_of", graph_record.GROUPS}
    behind = {asset.asset for asset in read_backlog(graphs.without.chain.home, space).behind}
    assert not behind & graph_assets
    behind = {asset.asset for asset in read_backlog(graphs.with_vectors.chain.home, space).behind}
    assert behind & graph_assets == {graph_record.NODES}
    monkeypatch.setenv("IMGRET_GRAPH_VECTORS", "yes")
    [check] = [
        check
        for name, check in graphs.with_vectors.chain.check("image_nodes").items()
        if name == "nodes_equal_usable_rows"
    ]
    assert not check.passed
    graphs.without.rows("MATCH (n:Image) WITH n LIMIT 1 SET n.embeddings = [1.0]")
    monkeypatch.setenv("IMGRET_GRAPH_VECTORS", "no")
    assert not graphs.without.chain.check("image_nodes")["nodes_equal_usable_rows"].passed
    graphs.without.refresh()
    assert graphs.without.rows(WITH_VECTORS) == [{"nodes": 0}]


def test_an_image_that_the_graph_lacks_is_no_hit(graphs: Graphs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_similar_module, "_EXACT_SLACK", 0)
    parts, query = queries(graphs.without)[0]
    best = graphs.answers[0].results
    query = replace(query, top_k=3)
    with graphs.without.database() as database:
        database.write(("MATCH (n:Image {path: $path}) SET n.sha256 = 'old'", {"path": best[0].path}))
        database.write(("MATCH (n:Image {path: $path}) SET n:Away REMOVE n:Image", {"path": best[1].path}))
        try:
            answer = ask(graphs.without, parts, query)
        finally:
            content = next(node["sha256"] for node in graphs.nodes if node["path"] == best[0].path)
            database.write(("MATCH (n:Image {sha256: 'old'}) SET n.sha256 = $content", {"content": content}))
            database.write(("MATCH (n:Away) SET n:Image REMOVE n:Away", {}))
    assert answer.results == best[2:5]


def test_vectors_come_back_without_a_relationship_being_written_again(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = graphs.with_vectors
    home, space = graph.chain.home, graph.chain.space
    with graph.database() as database:
        # The first shards as to an older server.
        monkeypatch.setattr(Database, "takes_packed_vectors", False)
        report = sync_nodes(home, database, space, home.shards[:2])
        monkeypatch.undo()
        # Queries go on with the tables until all shards have theirs.
        assert not report.indexed
        assert graph.state()["vectors"] is False
        assert graph.rows(INDEXES) == []
        assert 0 < graph.rows(WITH_VECTORS)[0]["nodes"] < len(graphs.nodes)
        assert sum(shard.vectors_changed for shard in report.shards) == sum(s.updated for s in report.shards) > 0
    assert ask_all(graph)[0].results == graphs.answers[0].results
    assert graph.refresh_all() == 0
    assert "vectors" not in graph.state()
    assert graph.rows(INDEXES) == [{"name": "image_embeddings", "state": "ONLINE"}]
    assert graph.rows(RELATIONSHIP_IDS) == graphs.relationship_ids

    def facts(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{name: value for name, value in node.items() if name != "indexed_at"} for node in nodes]

    assert facts(graph.nodes()) == facts(graphs.nodes)
    assert_same_answers(ask_all(graph), graphs.answers)
    before = graph.identities()
    graph.refresh_all()
    assert graph.identities() == before


def test_a_graph_from_nothing_without_vectors_is_the_same(graphs: Graphs) -> None:
    graphs.without.rows("MATCH (n) DETACH DELETE n")
    graphs.without.rows("DROP INDEX image_embeddings IF EXISTS")
    graphs.without.refresh_all()
    assert graphs.without.rows(WITH_VECTORS) == [{"nodes": 0}]
    assert graphs.without.rows(INDEXES) == []
    assert_same_answers(ask_all(graphs.without), graphs.answers)
    # A changed file replaces its node.
    file: Path = graphs.without.root / COPY
    file.write_bytes(picture_bytes(77))
    graphs.without.refresh_all()
    found = ask(graphs.without, [QueryPart(read_query(file, graphs.without.root))], Query(top_k=1, exclude_self=False))
    assert [(hit.path, hit.score) for hit in found.results] == [(COPY, pytest.approx(1.0, abs=1e-12))]

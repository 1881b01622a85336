"""Asking a real graph: every mode equals brute force over the files, and the article's own statements agree.

One graph is built for all tests here; a test that changes it puts it back.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import LiteralString

import numpy as np
import pytest
from neo4j import Driver

from bench.article import ARTICLE_CREATE, ARTICLE_SIMILAR
from imgret_assets.defs.jobs import QUERY
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.images.crop import PERCENT, Crop
from imgret_assets.domain.search import find_similar as find_similar_module
from imgret_assets.domain.search import find_similar as search
from imgret_assets.domain.search import query_embedding
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Answer, Query, QueryImage, read_query
from imgret_assets.domain.search.query_parts import LESS_SHARE, QueryPart, StoredImage
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.storage import tables
from imgret_assets.errors import DatabaseError, GraphRebuildingError, TableError
from imgret_tests.support.chain import QUIET, brute_force_pairs, cosine
from imgret_tests.support.graph_fixtures import Graph, chain_on, write_blends
from imgret_tests.support.neo4j_server import TestedServer, empty
from imgret_tests.support.pictures import picture_bytes, write_pictures

pytestmark = pytest.mark.server

COPIED = "family0/picture0000.png"
COPIES = ["copies/one.png", "copies/two.png"]
ARTICLE_RELATIONS: LiteralString = """
MATCH (a:Image)-[r:SIMILAR_TO]->(b:Image)
WITH a, r, b, gds.similarity.cosine(a.embeddings, $query_embeddings) AS similarity
ORDER BY similarity DESC LIMIT $top_k
RETURN id(a) AS image_id, a.embeddings AS embeddings, a.path AS image_path, similarity, r, b.path AS other
"""
ARTICLE_PAIRS: LiteralString = """
MATCH (n1:Image), (n2:Image) WHERE id(n1) < id(n2)
WITH n1, n2, gds.similarity.cosine(n1.embeddings, n2.embeddings) AS similarity
WHERE similarity > 0.8
CREATE (n1)-[:SIMILAR_TO {score: similarity}]->(n2)
"""


@pytest.fixture(scope="module")
def graph(shared_database: Driver, tested_server: TestedServer, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """137 pictures: more than the vector index is asked for at first."""
    graph = Graph(chain_on(tested_server, tmp_path_factory.mktemp("search")), shared_database)
    write_pictures(graph.root, 120, families=8)
    write_blends(graph.root, 15)
    for copy in COPIES:
        (graph.root / copy).parent.mkdir(exist_ok=True)
        shutil.copy(graph.root / COPIED, graph.root / copy)
    graph.refresh()
    refresh_neighbours(graph.chain.home, graph.chain.space.id)
    return graph


@pytest.fixture(scope="module")
def vectors(graph: Graph) -> dict[str, np.ndarray]:
    return graph.chain.expected().vectors


@pytest.fixture(scope="module")
def database(graph: Graph) -> Iterator[Database]:
    with graph.database() as opened:
        yield opened


@pytest.fixture
def outside(tmp_path: Path) -> QueryImage:
    """A picture that is not in the graph."""
    file = tmp_path / "query.png"
    file.write_bytes(picture_bytes(4242, family=3))
    return read_query(file, tmp_path / "elsewhere")


def inside(graph: Graph, path: str) -> QueryImage:
    return read_query(graph.root / path, graph.root)


def vector_of(graph: Graph, image: QueryImage) -> np.ndarray:
    return query_embedding.embed_image(graph.chain.embedder, image, max_pixels=10**6)


def brute_force(vectors: dict[str, np.ndarray], vector: np.ndarray, top_k: int) -> list[tuple[str, float]]:
    scored = sorted(((path, cosine(vector, other)) for path, other in vectors.items()), key=lambda hit: -hit[1])
    return scored[:top_k]


def ask(graph: Graph, database: Database, image: QueryImage | list[QueryPart], **query: object) -> Answer:
    return find_similar(
        graph.chain.home, image, Query(**query), database=database, embedder=graph.chain.embedder  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def assert_hits(answer: Answer, expected: list[tuple[str, float]], everything: dict[str, float]) -> None:
    """The same scores in the same order; the same paths, but where two scores are too close to tell apart."""
    found = [hit.score for hit in answer.results]
    np.testing.assert_allclose(found, [score for _, score in expected], rtol=0, atol=1e-6)
    assert found == sorted(found, reverse=True)
    for hit, (path, score) in zip(answer.results, expected, strict=True):
        assert abs(everything[hit.path] - hit.score) < 1e-6
        alone = sum(abs(other - score) < 1e-6 for other in everything.values()) == 1
        assert hit.path == path or not alone


@pytest.mark.parametrize("mode", ["index", "exact"])
@pytest.mark.parametrize("top_k", [1, 5, 50, 1000])
def test_hits_equal_brute_force(
    graph: Graph, database: Database, vectors: dict[str, np.ndarray], outside: QueryImage, mode: str, top_k: int
) -> None:
    for image in (outside, inside(graph, "blends/blend007.png")):
        answer = ask(graph, database, image, mode=mode, top_k=top_k, exclude_self=False)
        vector = vector_of(graph, image)
        everything = dict(brute_force(vectors, vector, len(vectors)))
        assert (answer.mode, answer.model, answer.refreshing) == (mode, graph.chain.space.id, False)
        assert_hits(answer, brute_force(vectors, vector, top_k), everything)


def test_every_picture_finds_itself_first(graph: Graph, database: Database) -> None:
    for path in ("family1/picture0001.png", "blends/blend000.png"):
        first = ask(graph, database, inside(graph, path), top_k=1, exclude_self=False).results[0]
        assert (first.path, first.label) == (path, path.split("/")[0])
        assert first.score == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("mode", ["index", "exact"])
def test_a_label_keeps_its_own_only(
    graph: Graph,
    database: Database,
    vectors: dict[str, np.ndarray],
    outside: QueryImage,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So few candidates that none of the label is among the first: it must ask for more.
    monkeypatch.setattr(search, "MIN_CANDIDATES", 2)
    monkeypatch.setattr(search, "CANDIDATES_PER_HIT", 1)
    answer = ask(graph, database, outside, mode=mode, label="family5", top_k=7)
    own = {path: vector for path, vector in vectors.items() if path.startswith("family5/")}
    assert_hits(
        answer, brute_force(own, vector_of(graph, outside), 7), dict(brute_force(own, vector_of(graph, outside), 99))
    )
    assert {hit.label for hit in answer.results} == {"family5"}


def test_a_label_that_nobody_has_finds_nothing(graph: Graph, database: Database, outside: QueryImage) -> None:
    assert ask(graph, database, outside, label="family99").results == []


@pytest.mark.parametrize("mode", ["index", "exact"])
def test_min_score_cuts_at_the_raw_cosine(
    graph: Graph, database: Database, vectors: dict[str, np.ndarray], mode: str
) -> None:
    image = inside(graph, "blends/blend007.png")
    everything = brute_force(vectors, vector_of(graph, image), len(vectors))
    limit = (everything[4][1] + everything[5][1]) / 2
    answer = ask(graph, database, image, mode=mode, top_k=50, min_score=limit, exclude_self=False)
    assert_hits(answer, everything[:5], dict(everything))


def test_a_file_of_the_graph_leaves_out_itself_but_not_its_copies(graph: Graph, database: Database) -> None:
    answer = ask(graph, database, inside(graph, COPIED), top_k=3)
    assert answer.query_paths == [COPIED]
    assert [hit.path for hit in answer.results[:2]] == COPIES
    assert COPIED not in [hit.path for hit in answer.results]


def test_content_of_the_graph_from_elsewhere_leaves_out_every_copy(
    graph: Graph, database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "mine.png"
    shutil.copy(graph.root / COPIED, file)
    answer = ask(graph, database, read_query(file, graph.root), top_k=5)
    assert answer.query_paths == sorted([COPIED, *COPIES])
    assert not set(answer.query_paths) & {hit.path for hit in answer.results}
    assert len(answer.results) == 5


def test_including_itself_and_all_copies(graph: Graph, database: Database) -> None:
    answer = ask(graph, database, inside(graph, COPIED), top_k=4, exclude_self=False)
    assert {hit.path for hit in answer.results[:3]} == {COPIED, *COPIES}


def test_a_file_changed_since_it_was_indexed_is_found_by_its_old_node(graph: Graph, database: Database) -> None:
    image = replace(inside(graph, COPIED), data=picture_bytes(4243))
    assert ask(graph, database, image).query_paths == []


def test_relations_of_each_hit_in_both_directions(
    graph: Graph, database: Database, vectors: dict[str, np.ndarray], outside: QueryImage
) -> None:
    pairs = brute_force_pairs(vectors, 0.8)
    answer = ask(graph, database, outside, top_k=30, relations=True)
    assert any(hit.relations for hit in answer.results)
    for hit in answer.results:
        expected = {(b, True): score for (a, b), score in pairs.items() if a == hit.path}
        expected |= {(a, False): score for (a, b), score in pairs.items() if b == hit.path}
        found = {(relation.path, relation.outgoing): relation.score for relation in hit.relations or ()}
        assert len(hit.relations or ()) == len(found)
        assert found == pytest.approx(expected, abs=1e-9)
        assert [r.score for r in hit.relations or ()] == sorted(found.values(), reverse=True)
        assert all(relation.label == relation.path.split("/")[0] for relation in hit.relations or ())
    directions = {relation.outgoing for hit in answer.results for relation in hit.relations or ()}
    assert directions == {True, False}


def test_relations_only_when_asked(graph: Graph, database: Database, outside: QueryImage) -> None:
    said = ask(graph, database, outside).as_json()
    assert list(said) == ["query", "model", "mode", "took_ms", "refreshing", "results"]
    assert [list(row) for row in said["results"]] == [["path", "score", "label"]] * 5
    assert "relations" in ask(graph, database, outside, relations=True).as_json()["results"][0]


@contextmanager
def state(graph: Graph, **properties: object) -> Iterator[None]:
    """The graph's state with other properties, for a while."""
    before = graph.state()
    graph.rows("MATCH (s:ImgretState) SET s += $properties", properties=properties)
    try:
        yield
    finally:
        graph.rows("MATCH (s:ImgretState) SET s = $before", before=before)


def test_a_write_at_the_same_time_is_told(graph: Graph, database: Database, outside: QueryImage) -> None:
    with state(graph, state="refreshing"):
        answer = ask(graph, database, outside)
    assert answer.refreshing
    assert answer.as_json()["refreshing"] is True
    assert len(answer.results) == 5


def test_a_write_that_begins_during_the_query_is_told(
    graph: Graph, database: Database, outside: QueryImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest = search.nearest

    def beginning(*arguments: object, **named: object) -> object:
        graph.rows("MATCH (s:ImgretState) SET s.state = 'refreshing'")
        return nearest(*arguments, **named)  # pyright: ignore[reportArgumentType] - handed on

    monkeypatch.setattr(search, "nearest", beginning)
    with state(graph):
        assert ask(graph, database, outside).refreshing


def test_a_rebuild_is_no_answer(graph: Graph, database: Database, outside: QueryImage) -> None:
    with (
        state(graph, state="rebuilding", model="other-00000000"),
        pytest.raises(GraphRebuildingError, match=r"rebuilt for other-00000000.*wait for that run"),
    ):
        ask(graph, database, outside)


def test_no_graph_yet_says_what_to_do(graph: Graph, database: Database, outside: QueryImage) -> None:
    before = graph.state()
    graph.rows("MATCH (s:ImgretState) DELETE s")
    try:
        with pytest.raises(DatabaseError, match=r"holds no graph yet.*imgret run"):
            ask(graph, database, outside)
    finally:
        graph.rows("CREATE (s:ImgretState) SET s = $before", before=before)


def test_without_an_index_every_node_is_asked(graph: Graph, database: Database, outside: QueryImage) -> None:
    by_index = ask(graph, database, outside, top_k=9)
    graph.rows("DROP INDEX image_embeddings")
    try:
        answer = ask(graph, database, outside, top_k=9)
    finally:
        graph.refresh()
    assert (by_index.mode, answer.mode) == ("index", "exact")
    assert [hit.path for hit in answer.results] == [hit.path for hit in by_index.results]


def record_statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which every reading statement is added as it is sent."""
    sent: list[str] = []
    rows = Database.rows

    def recording(self: Database, statement: str, parameters: dict[str, object] | None = None) -> object:
        sent.append(statement)
        return rows(self, statement, parameters)

    monkeypatch.setattr(Database, "rows", recording)
    return sent


@pytest.mark.parametrize("mode", ["index", "exact"])
def test_without_gds_the_answers_are_the_same(
    graph: Graph, database: Database, outside: QueryImage, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.has_gds
    sent = record_statements(monkeypatch)
    queries = [{"top_k": 20}, {"top_k": 5, "label": "family5"}, {"top_k": 30, "min_score": 0.2, "relations": True}]
    with_gds = [ask(graph, database, outside, mode=mode, **query).results for query in queries]
    assert any("gds." in statement for statement in sent) == (mode == "exact")
    sent.clear()
    monkeypatch.setattr(Database, "has_gds", False)
    assert [ask(graph, database, outside, mode=mode, **query).results for query in queries] == with_gds
    assert not any("gds." in statement for statement in sent)


def test_the_clause_search_and_the_procedure_give_the_same_answers(
    graph: Graph, database: Database, outside: QueryImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.has_search
    sent = record_statements(monkeypatch)
    images = [outside, inside(graph, COPIED), inside(graph, "blends/blend007.png")]
    queries = [{"top_k": 20}, {"top_k": 5, "label": "family5"}, {"top_k": 1000}, {"top_k": 9, "min_score": 0.2}]
    by_search = [ask(graph, database, image, **query).results for image in images for query in queries]
    assert any("SEARCH" in statement for statement in sent)
    assert not any("queryNodes" in statement for statement in sent)
    sent.clear()
    monkeypatch.setattr(Database, "has_search", False)
    assert [ask(graph, database, image, **query).results for image in images for query in queries] == by_search
    assert any("queryNodes" in statement for statement in sent)


def test_a_server_is_asked_rightly_whether_it_has_the_clause_search(
    graph: Graph, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "version", "5.27-aura")
    assert database.has_search
    unknown = cypher.HAS_SEARCH.replace("SEARCH", "SEEK")
    with graph.database() as other:
        monkeypatch.setattr(cypher, "HAS_SEARCH", unknown)
        assert not other.has_search


@pytest.mark.parametrize("gds", [True, False])
def test_distances_and_dot_products_equal_brute_force(
    graph: Graph,
    database: Database,
    vectors: dict[str, np.ndarray],
    outside: QueryImage,
    gds: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Database, "has_gds", gds)
    asked = vector_of(graph, outside).astype(np.float64)
    wide = {path: vector.astype(np.float64) for path, vector in vectors.items()}
    expected = {
        "euclidean": sorted(float(np.linalg.norm(vector - asked)) for vector in wide.values()),
        "dot": sorted((float(vector @ asked) for vector in wide.values()), reverse=True),
    }
    for metric, values in expected.items():
        answer = ask(graph, database, outside, mode="exact", metric=metric, top_k=9)
        np.testing.assert_allclose([hit.rank_score or 0.0 for hit in answer.results], values[:9], rtol=1e-9)
        for hit in answer.results:
            assert hit.score == pytest.approx(cosine(vectors[hit.path], vector_of(graph, outside)), abs=1e-9)
        assert answer.as_json()["metric"] == metric


def test_ranked_again_equals_averaging_every_vector(
    graph: Graph, database: Database, vectors: dict[str, np.ndarray], outside: QueryImage
) -> None:
    paths = sorted(vectors)
    wide = np.array([vectors[path] for path in paths], np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    among = wide @ wide.T
    np.fill_diagonal(among, -np.inf)
    nearest = np.argsort(-among, axis=1, kind="stable")[:, :10]
    averaged = np.array(
        [wide[row] + np.maximum(among[row, nearest[row]], 0) @ wide[nearest[row]] for row in range(len(paths))]
    )
    averaged /= np.linalg.norm(averaged, axis=1, keepdims=True)
    asked = vector_of(graph, outside).astype(np.float64)
    asked /= np.linalg.norm(asked)
    plain = wide @ asked
    best = np.argsort(-plain, kind="stable")[:10]
    mean = asked + np.maximum(plain[best], 0) @ wide[best]
    truth = dict(zip(paths, averaged @ mean / np.linalg.norm(mean), strict=True))
    answer = ask(graph, database, outside, mode="rerank", top_k=30)
    assert answer.mode == "rerank"
    assert answer.results[0].path == paths[int(np.argmax(plain))]
    rest = answer.results[1:]
    # Families are exact copies of vectors here and there, so equal values may come in any order.
    found = [hit.rank_score or 0.0 for hit in rest]
    others = sorted((value for path, value in truth.items() if path != answer.results[0].path), reverse=True)
    np.testing.assert_allclose(found, others[: len(rest)], atol=1e-5)
    for hit in answer.results:
        assert hit.rank_score == pytest.approx(truth[hit.path], abs=1e-5)
        assert hit.score == pytest.approx(plain[paths.index(hit.path)], abs=1e-6)


def test_ranked_again_keeps_to_labels_scores_and_what_is_left_out(
    graph: Graph, database: Database, vectors: dict[str, np.ndarray], outside: QueryImage
) -> None:
    own = sum(path.startswith("family5/") for path in vectors)
    answer = ask(graph, database, outside, mode="rerank", label="family5", top_k=100)
    assert len(answer.results) == own
    assert {hit.label for hit in answer.results} == {"family5"}
    plain = ask(graph, database, outside, mode="exact", top_k=1000)
    limit = (plain.results[6].score + plain.results[7].score) / 2
    good = ask(graph, database, outside, mode="rerank", min_score=limit, top_k=100)
    assert {hit.path for hit in good.results} == {hit.path for hit in plain.results[:7]}
    itself = ask(graph, database, inside(graph, COPIED), mode="rerank", top_k=1000)
    assert len(itself.results) == len(vectors) - 1
    assert COPIED not in {hit.path for hit in itself.results}


def test_ranked_again_needs_neighbours_of_the_present_embeddings(
    graph: Graph, database: Database, outside: QueryImage
) -> None:
    table = tables.nearest_path(graph.chain.home.warehouse, graph.chain.space.id)
    kept = table.read_bytes()
    table.unlink()
    try:
        with pytest.raises(TableError, match=r"nearest neighbours.*nearest_neighbours"):
            ask(graph, database, outside, mode="rerank")
    finally:
        table.write_bytes(kept)
    assert ask(graph, database, outside, mode="rerank").results


def test_the_query_job_gives_the_same_answer(
    graph: Graph, database: Database, outside: QueryImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_similar_module, "query_embedder", lambda _home, _space: graph.chain.embedder)
    config = {"image_path": outside.name, "top_k": 4, "mode": "exact", "relations": True}
    job = graph.chain.definitions.resolve_job_def(QUERY)
    result = job.execute_in_process({"ops": {"find_similar_images": {"config": config}}, **QUIET})
    said = result.output_for_node("find_similar_images")
    answer = ask(graph, database, outside, top_k=4, mode="exact", relations=True).as_json()
    assert said["results"] == answer["results"]
    [output] = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    table = output.step_output_data.metadata["similar_images"].value
    assert isinstance(table, str)
    assert table.count("![hit](data:image/") == 4
    assert all(f"| {hit['score']:.4f} |" in table for hit in answer["results"])


def test_the_query_job_has_several_images_and_a_crop(
    graph: Graph, database: Database, outside: QueryImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_similar_module, "query_embedder", lambda _home, _space: graph.chain.embedder)
    more, less = "family1/picture0001.png", "family2/picture0002.png"
    config = {
        "image_path": outside.name,
        "together": [str(graph.root / more)],
        "less": [str(graph.root / less)],
        "crop": "10%,10%,50%,50%",
        "mode": "exact",
    }
    job = graph.chain.definitions.resolve_job_def(QUERY)
    result = job.execute_in_process({"ops": {"find_similar_images": {"config": config}}, **QUIET})
    answer = result.output_for_node("find_similar_images")
    parts = parts_of(graph, outside, more, less)
    assert answer["results"] == ask(graph, database, parts, mode="exact").as_json()["results"]
    assert [part["less"] for part in answer["parts"]] == [False, False, True]


def parts_of(graph: Graph, outside: QueryImage, more: str, less: str) -> list[QueryPart]:
    return [
        QueryPart(outside, crop=Crop(10, 10, 50, 50, PERCENT)),
        QueryPart(inside(graph, more)),
        QueryPart(StoredImage(less), less=True),
    ]


@pytest.mark.parametrize("mode", ["index", "exact"])
def test_hits_of_several_images_equal_brute_force(
    graph: Graph, database: Database, vectors: dict[str, np.ndarray], outside: QueryImage, mode: str
) -> None:
    more, less = "family1/picture0001.png", "family2/picture0002.png"
    parts = parts_of(graph, outside, more, less)
    first = query_embedding.embed_image(graph.chain.embedder, outside, max_pixels=10**6, crop=parts[0].crop)
    unit = [vector / np.linalg.norm(vector) for vector in (first, vectors[more], vectors[less])]
    vector = (unit[0] + unit[1]) / 2 - LESS_SHARE * unit[2]
    others = {path: stored for path, stored in vectors.items() if path not in (more, less)}
    everything = dict(brute_force(others, vector, len(others)))
    assert_hits(ask(graph, database, parts, mode=mode, top_k=9), brute_force(others, vector, 9), everything)
    limit = sorted(everything.values())[-5] - 1e-9
    labelled = {path: stored for path, stored in others.items() if path.startswith("family3/")}
    answer = ask(graph, database, parts, mode=mode, top_k=50, label="family3", min_score=limit)
    expected = [hit for hit in brute_force(labelled, vector, 50) if hit[1] >= limit]
    assert_hits(answer, expected, everything)


def article_vector(graph: Graph, image: QueryImage) -> list[float]:
    return vector_of(graph, image).astype(np.float64).tolist()


def test_the_articles_query_gives_the_same_scores(graph: Graph, database: Database, outside: QueryImage) -> None:
    rows = graph.driver.execute_query(
        ARTICLE_SIMILAR,  # pyright: ignore[reportArgumentType] - a constant of the project
        query_embeddings=article_vector(graph, outside),
        top_k=20,
    ).records
    answer = ask(graph, database, outside, top_k=20)
    assert [row["image_path"] for row in rows] == [hit.path for hit in answer.results]
    np.testing.assert_allclose(
        [row["similarity"] for row in rows], [hit.score for hit in answer.results], rtol=0, atol=1e-6
    )
    assert all(isinstance(row["image_id"], int) and len(row["embeddings"]) == 48 for row in rows)


def test_the_articles_relation_query_gives_relations_that_imgret_gives(
    graph: Graph, database: Database, outside: QueryImage
) -> None:
    rows = graph.driver.execute_query(
        ARTICLE_RELATIONS, query_embeddings=article_vector(graph, outside), top_k=40
    ).records
    assert len(rows) == 40
    hits = {hit.path: hit for hit in ask(graph, database, outside, top_k=1000, relations=True).results}
    for row in rows:
        hit = hits[row["image_path"]]
        assert hit.score == pytest.approx(row["similarity"], abs=1e-6)
        [relation] = [found for found in hit.relations or () if found.path == row["other"] and found.outgoing]
        assert relation.score == row["r"]["score"]


def test_the_articles_pairs_on_an_empty_database_are_imgrets(
    graph: Graph, shared_database: Driver, vectors: dict[str, np.ndarray]
) -> None:
    """The article's CREATE for nodes and for relationships, as they stand, from nothing; then all is as it was."""
    ours = graph.scores()
    empty(shared_database)
    try:
        for path, vector in vectors.items():
            shared_database.execute_query(ARTICLE_CREATE, embeddings=vector.astype(np.float64).tolist(), path=path)
        shared_database.execute_query(ARTICLE_PAIRS)
        theirs = {(min(row["a"], row["b"]), max(row["a"], row["b"])): row["score"] for row in graph.relationships()}
    finally:
        empty(shared_database)
        graph.refresh()
    assert sorted(theirs) == sorted(ours)
    assert max(abs(theirs[pair] - ours[pair]) for pair in ours) < 1e-6


def test_the_articles_pairs_run_on_a_graph_that_imgret_built(graph: Graph) -> None:
    ours = graph.scores()
    graph.driver.execute_query(ARTICLE_PAIRS)
    try:
        assert len(graph.relationships()) == 2 * len(ours)
        theirs = graph.rows(
            "MATCH (a)-[r:SIMILAR_TO]->(b) WHERE r.model IS NULL RETURN a.path AS a, b.path AS b, r.score AS s"
        )
        scores = {(min(row["a"], row["b"]), max(row["a"], row["b"])): row["s"] for row in theirs}
        assert scores == pytest.approx(ours, abs=1e-6)
    finally:
        graph.refresh()
    graph.assert_right()

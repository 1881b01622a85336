import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.graph_state import GraphState
from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.inference.embedder import embed_one
from imgret_assets.domain.numerics.vectors import cosines
from imgret_assets.domain.search import query_embedding
from imgret_assets.domain.search.find_similar import find_similar, nearest
from imgret_assets.domain.search.query import Answer, Hit, Query, QueryImage, Relation, read_query
from imgret_assets.domain.search.query_embedding import embed_image
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, GraphRebuildingError, ImageError, ModelError, SettingError
from imgret_tests.support.canned import Answer as Canned
from imgret_tests.support.canned import CannedDatabase
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes

STATE = GraphState("home", "/images", "fake-1", 3, 0.8, "ready")
INDEXED = {cypher.SHOW_VECTOR_INDEX: [{"name": "image_embeddings"}], cypher.COUNT_IMAGES: [{"nodes": 5000}]}


def row(path: str, embedding: list[float], label: str | None = None) -> dict[str, Any]:
    return {"path": path, "label": label, "sha256": path, "embedding": embedding}


# What is asked


@pytest.mark.parametrize(
    "query",
    [Query(), Query(top_k=1), Query(top_k=1000), Query(mode="exact"), Query(min_score=-1.0), Query(min_score=1.0)],
)
def test_a_query_in_range_is_itself(query: Query) -> None:
    assert query.check() is query


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(top_k=0), "top_k is 0. Expected: 1 to 1000"),
        (Query(top_k=1001), "top_k is 1001"),
        (Query(mode="graph"), "mode is 'graph'. Expected: index or exact or rerank"),
        (Query(metric="jaccard"), "metric is 'jaccard'. Expected: cosine or euclidean or dot"),
        (Query(metric="dot"), "metric dot with mode index"),
        (Query(mode="rerank", metric="euclidean"), "ask with mode exact"),
        (Query(min_score=1.01), "min_score is 1.01. Expected: a cosine from -1 to 1"),
        (Query(min_score=float("nan")), "min_score is nan"),
    ],
)
def test_a_query_out_of_range_is_an_error(query: Query, message: str) -> None:
    with pytest.raises(SettingError) as problem:
        query.check()
    assert message in str(problem.value)


def test_a_query_picture_is_read_with_its_hash_and_its_path_under_the_root(images: Path, tmp_path: Path) -> None:
    (images / "cars").mkdir()
    (images / "cars/a.png").write_bytes(b"data")
    found = read_query(images / "cars/a.png", images)
    assert (found.name, found.data, found.path) == (str(images / "cars/a.png"), b"data", "cars/a.png")
    assert found.sha256 == hashlib.sha256(b"data").hexdigest()
    (tmp_path / "b.png").write_bytes(b"data")
    assert read_query(tmp_path / "b.png", images).path is None
    assert read_query(images / "cars/a.png").path is None


def test_a_link_to_a_picture_of_the_collection_is_that_picture(images: Path, tmp_path: Path) -> None:
    (images / "a.png").write_bytes(b"data")
    (tmp_path / "link.png").symlink_to(images / "a.png")
    assert read_query(tmp_path / "link.png", images).path == "a.png"


def test_a_query_picture_that_can_not_be_read_is_named(images: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png can't be read \(No such file or directory\)"):
        read_query(images / "none.png")
    with pytest.raises(ImageError, match=r"images can't be read \(Is a directory\)"):
        read_query(images)


def test_a_query_that_is_no_picture_is_named_with_the_reason() -> None:
    image = QueryImage("upload.jpg", b"no picture")
    with pytest.raises(ImageError, match=r"upload\.jpg can't be used as a query: not_an_image \(its first bytes"):
        embed_image(FakeEmbedder(), image, max_pixels=1000)
    with pytest.raises(ImageError, match="too_large"):
        embed_image(FakeEmbedder(), QueryImage("big.png", picture_bytes(1)), max_pixels=1000)


def test_a_query_without_a_direction_is_an_error() -> None:
    class Nothing(FakeEmbedder):
        def embed(self, batch: np.ndarray) -> np.ndarray:
            return np.zeros((len(batch), 48), dtype=np.float32)

    with pytest.raises(ModelError, match="fake gives this picture a zero or non-finite vector"):
        embed_image(Nothing(), QueryImage("a.png", picture_bytes(1)), max_pixels=10_000)


# Hits


def test_hits_have_the_raw_cosine_best_first_ties_by_path() -> None:
    rows = [row("far", [0, 1, 0]), row("b", [2, 0, 0]), row("a", [5, 0, 0]), row("near", [3, 4, 0], "cars")]
    database = CannedDatabase({**INDEXED, cypher.NEAREST_BY_INDEX: rows})
    hits, mode = nearest(database, STATE, np.array([7, 0, 0], np.float32), Query(top_k=4))
    assert mode == "index"
    assert hits == [Hit("a", 1.0, None), Hit("b", 1.0, None), Hit("near", 0.6, "cars"), Hit("far", 0.0, None)]


def test_scores_are_those_of_the_stored_float32_numbers_in_float64(rng: np.random.Generator) -> None:
    stored = rng.normal(size=(50, 64)).astype(np.float32)
    asked = rng.normal(size=64).astype(np.float32)
    rows = [row(f"{number:02d}", vector.tolist()) for number, vector in enumerate(stored)]
    database = CannedDatabase({**INDEXED, cypher.NEAREST_BY_INDEX: rows})
    hits, _ = nearest(database, STATE, asked, Query(top_k=50))
    x, y = stored.astype(np.float64), asked.astype(np.float64)
    truth = {f"{n:02d}": v @ y / np.linalg.norm(v) / np.linalg.norm(y) for n, v in enumerate(x)}
    scores = {hit.path: hit.score for hit in hits}
    assert scores == pytest.approx(truth, abs=1e-12)
    # To the last bit that of the pair, if the query image were in the collection.
    assert [scores[f"{n:02d}"] for n in range(50)] == cosines(stored, np.tile(asked, (50, 1))).tolist()
    assert [hit.path for hit in hits] == sorted(truth, key=lambda path: -truth[path])


def test_only_as_many_hits_as_asked_and_only_good_ones() -> None:
    rows = [row(str(angle), [np.cos(angle / 10), np.sin(angle / 10), 0]) for angle in range(10)]
    database = CannedDatabase({**INDEXED, cypher.NEAREST_BY_INDEX: rows})
    vector = np.array([1, 0, 0], np.float32)
    assert [hit.path for hit in nearest(database, STATE, vector, Query(top_k=3))[0]] == ["0", "1", "2"]
    good, _ = nearest(database, STATE, vector, Query(top_k=10, min_score=0.9))
    assert [hit.path for hit in good] == ["0", "1", "2", "3", "4"]
    assert nearest(database, STATE, vector, Query(top_k=1, min_score=1.0))[0] == [Hit("0", 1.0, None)]


def test_nothing_found_is_no_hit() -> None:
    database = CannedDatabase({**INDEXED, cypher.NEAREST_BY_INDEX: []})
    assert nearest(database, STATE, np.ones(3, np.float32), Query()) == ([], "index")


def test_the_index_is_asked_for_more_than_is_wanted() -> None:
    rows = [row(str(number), [1, number, 0]) for number in range(20)]
    database = CannedDatabase({**INDEXED, cypher.NEAREST_BY_INDEX: rows})
    nearest(database, STATE, np.ones(3, np.float32), Query(top_k=20), leave_out=["itself"])
    (asked,) = database.parameters_of(cypher.NEAREST_BY_INDEX)
    assert asked["candidates"] == 100
    assert (asked["excluded_paths"], asked["label"], asked["vector"]) == (["itself"], None, [1.0, 1.0, 1.0])


def test_a_filter_that_leaves_too_few_asks_for_more_until_all_have_been_asked() -> None:
    def found(parameters: dict[str, Any]) -> list[dict[str, Any]]:
        return [row(str(number), [1, number, 0], "rare") for number in range(parameters["candidates"] // 5000)]

    database = CannedDatabase({**INDEXED, cypher.NEAREST_BY_INDEX: found})
    hits, _ = nearest(database, STATE, np.ones(3, np.float32), Query(label="rare"))
    assert [asked["candidates"] for asked in database.parameters_of(cypher.NEAREST_BY_INDEX)] == [50, 400, 3200, 25600]
    assert len(hits) == 5
    assert all(asked["label"] == "rare" for asked in database.parameters_of(cypher.NEAREST_BY_INDEX))


@pytest.mark.parametrize(
    ("query", "state", "index", "gds", "statement"),
    [
        (Query(mode="exact"), STATE, True, True, cypher.NEAREST_OF_ALL_GDS),
        (Query(mode="exact"), STATE, True, False, cypher.NEAREST_OF_ALL),
        (Query(mode="index"), STATE, False, False, cypher.NEAREST_OF_ALL),
        (Query(mode="index"), replace(STATE, dim=4097), True, False, cypher.NEAREST_OF_ALL),
    ],
    ids=["exact", "without GDS", "no index", "too long for an index"],
)
def test_without_the_index_every_node_is_asked(
    query: Query, state: GraphState, index: bool, gds: bool, statement: str
) -> None:
    answers: dict[str, Canned] = {
        cypher.SHOW_VECTOR_INDEX: [{"name": "image_embeddings"}] if index else [],
        statement: [row("a", [1, 0, 0])],
    }
    database = CannedDatabase(answers, gds=gds)
    hits, mode = nearest(database, state, np.array([1, 0, 0], np.float32), query)
    assert (mode, [hit.path for hit in hits]) == ("exact", ["a"])
    assert database.parameters_of(statement)[0]["limit"] > query.top_k


@pytest.mark.parametrize(
    ("metric", "gds", "statement"),
    [
        ("euclidean", True, cypher.NEAREST_BY_EUCLIDEAN_GDS),
        ("euclidean", False, cypher.NEAREST_BY_EUCLIDEAN),
        ("dot", True, cypher.NEAREST_BY_DOT),
        ("dot", False, cypher.NEAREST_BY_DOT),
    ],
)
def test_other_metrics_rank_and_the_score_stays_the_cosine(metric: str, gds: bool, statement: str) -> None:
    rows = [row("long", [9, 9, 0]), row("close", [1, 0.5, 0]), row("same", [2, 0, 0])]
    hits, mode = nearest(
        CannedDatabase({statement: rows}, gds=gds),
        STATE,
        np.array([1, 0, 0], np.float32),
        Query(mode="exact", metric=metric),
    )
    assert mode == "exact"
    expected_scores = {"long": np.sqrt(0.5), "close": 1 / np.sqrt(1.25), "same": 1.0}
    assert {hit.path: hit.score for hit in hits} == pytest.approx(expected_scores)
    expected = {"euclidean": [("close", 0.5), ("same", 1.0), ("long", np.sqrt(145))]}.get(
        metric, [("long", 9.0), ("same", 2.0), ("close", 1.0)]
    )
    assert [hit.path for hit in hits] == [path for path, _ in expected]
    assert [hit.rank_score for hit in hits] == pytest.approx([value for _, value in expected])


def test_a_server_without_a_metric_says_what_it_would_need() -> None:
    for metric, gds, remedy in (("dot", True, "ask with metric cosine"), ("euclidean", False, "Graph Data Science")):
        with pytest.raises(DatabaseError, match=rf"5\.26\.0.*{metric}.*2025\.10.*{remedy}"):
            nearest(
                CannedDatabase({}, gds=gds, version="5.26.0"),
                STATE,
                np.ones(3, np.float32),
                Query(mode="exact", metric=metric),
            )


# Answers


def answers(state: str = "ready", same: list[str] | None = None) -> dict[str, Canned]:
    vectors = {f"{seed}.png": vector_of(seed) for seed in range(5)}

    def by_index(parameters: dict[str, Any]) -> list[dict[str, Any]]:
        return [row(path, vector) for path, vector in vectors.items() if path not in parameters["excluded_paths"]]

    return {
        **INDEXED,
        cypher.READ_STATE: [{**STATE.__dict__, "state": state, "dim": 48}],
        cypher.PATHS_OF_CONTENT: [{"path": path} for path in same or []],
        cypher.NEAREST_BY_INDEX: by_index,
        cypher.SIMILAR_TO_OF: [
            {"path": "0.png", "relations": [["1.png", 0.9, None, True], ["3.png", 0.85, "x", False]]},
        ],
    }


def vector_of(seed: int) -> list[float]:
    return embed_one(FakeEmbedder(), decode(picture_bytes(seed), max_pixels=10_000)).tolist()


def ask(home: Home, canned: dict[str, Canned], query: Query, path: str | None = None) -> Answer:
    image = QueryImage("query.png", picture_bytes(0), path)
    return find_similar(home, image, query, database=CannedDatabase(canned), embedder=FakeEmbedder())


def test_a_picture_is_left_out_of_its_own_answer(home: Home) -> None:
    answer = ask(home, answers(same=["0.png", "copy.png"]), Query(top_k=2), "0.png")
    assert "0.png" not in [hit.path for hit in answer.results]
    assert answer.itself == ["0.png"]


def test_unless_asked_for(home: Home) -> None:
    answer = ask(home, answers(same=["0.png"]), Query(top_k=2, exclude_self=False))
    assert (answer.results[0].path, answer.results[0].score) == ("0.png", pytest.approx(1.0))
    assert answer.itself == ["0.png"]


def test_a_picture_from_elsewhere_is_itself_wherever_its_content_is(home: Home) -> None:
    answer = ask(home, answers(same=["0.png", "2.png"]), Query(top_k=5))
    assert answer.itself == ["0.png", "2.png"]
    assert {hit.path for hit in answer.results} == {"1.png", "3.png", "4.png"}


def test_relations_go_both_ways_and_a_hit_without_has_none(home: Home) -> None:
    answer = ask(home, answers(), Query(top_k=5, relations=True))
    found = {hit.path: hit.relations for hit in answer.results}
    assert found["0.png"] == (Relation("1.png", 0.9, None, True), Relation("3.png", 0.85, "x", False))
    assert found["4.png"] == ()


@pytest.mark.parametrize(("state", "refreshing"), [("ready", False), ("refreshing", True)])
def test_an_answer_says_whether_a_run_was_writing(home: Home, state: str, refreshing: bool) -> None:
    assert ask(home, answers(state), Query()).refreshing is refreshing


def test_a_run_that_began_meanwhile_shows_too(home: Home) -> None:
    states = iter(["ready", "refreshing"])
    canned = answers()
    canned[cypher.READ_STATE] = lambda _: [{**STATE.__dict__, "state": next(states), "dim": 48}]
    assert ask(home, canned, Query()).refreshing is True


def test_a_graph_under_construction_or_none_is_an_error(home: Home) -> None:
    with pytest.raises(GraphRebuildingError, match="The graph is being rebuilt for fake-1"):
        ask(home, answers("rebuilding"), Query())
    with pytest.raises(DatabaseError, match=r"holds no graph yet.*`imgret run` first"):
        ask(home, {**answers(), cypher.READ_STATE: []}, Query())


def test_a_query_out_of_range_never_reaches_the_database(home: Home) -> None:
    with pytest.raises(SettingError, match="top_k is 0"):
        ask(home, {}, Query(top_k=0))


def test_an_answer_as_json(home: Home) -> None:
    said = json.loads(json.dumps(ask(home, answers(), Query(top_k=1)).as_json()))
    assert set(said) == {"query", "model", "mode", "took_ms", "refreshing", "results"}
    assert (said["query"], said["model"], said["mode"], said["refreshing"]) == ("query.png", "fake-1", "index", False)
    assert said["took_ms"] >= 0
    assert [set(hit) for hit in said["results"]] == [{"path", "score", "label"}]
    with_relations = ask(home, answers(), Query(top_k=1, relations=True)).as_json()
    assert with_relations["results"][0]["relations"][0] == {
        "path": "1.png",
        "score": 0.9,
        "label": None,
        "outgoing": True,
    }


def test_a_model_is_loaded_once_for_a_space(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def resolve_space(_: Home, space: str) -> str:
        made.append(space)
        return space

    monkeypatch.setattr(query_embedding, "_embedders", {})
    monkeypatch.setattr(query_embedding, "resolve_space", resolve_space)
    first = query_embedding.query_embedder(home, "a-1")
    assert query_embedding.query_embedder(home, "a-1") is first
    assert query_embedding.query_embedder(home, "b-1") is not first
    assert made == ["a-1", "b-1"]

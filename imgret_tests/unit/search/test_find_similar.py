from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.graph_state import GraphState
from imgret_assets.domain.images.crop import Crop
from imgret_assets.domain.images.decode import decode
from imgret_assets.domain.inference.embedder import embed_one
from imgret_assets.domain.inference.text_engine import TextEncoder, TextVector
from imgret_assets.domain.numerics.exact_scores import cosines
from imgret_assets.domain.search.find_similar import find_similar, nearest
from imgret_assets.domain.search.query import Answer, Hit, Query, QueryImage, Relation
from imgret_assets.domain.search.query_parts import LESS_SHARE, QueryPart, QueryText, QueryVector, StoredImage
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import (
    DatabaseError,
    GraphRebuildingError,
    ImageError,
    QueryError,
    SettingError,
)
from imgret_tests.support.canned import Answer as Canned
from imgret_tests.support.canned import CannedDatabase
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes

STATE = GraphState("home", "/images", "fake-1", 3, 0.8, "ready")


def index_row(name: str = "image_embeddings", *properties: str, state: str = "ONLINE") -> dict[str, Any]:
    return {"name": name, "dim": 3, "properties": ["embeddings", *properties], "state": state}


INDEXED: dict[str, Canned] = {
    cypher.SHOW_VECTOR_INDEXES: [index_row()],
    cypher.COUNT_MATCHING: [{"nodes": 5000, "matching": 5000}],
}
COUNTED: dict[str, Canned] = {cypher.COUNT_MATCHING: [{"nodes": 1, "matching": 1}]}
BY_SEARCH = cypher.nearest_by_search("image_embeddings", ())
BY_SEARCH_FILTERED = cypher.nearest_by_search("image_embeddings", cypher.FILTERS[:1])


def row(path: str, embedding: list[float], label: str | None = None) -> dict[str, Any]:
    return {"path": path, "label": label, "sha256": path, "embedding": embedding}


# Hits


def test_hits_have_the_raw_cosine_best_first_ties_by_path() -> None:
    rows = [row("far", [0, 1, 0]), row("b", [2, 0, 0]), row("a", [5, 0, 0]), row("near", [3, 4, 0], "cars")]
    database = CannedDatabase({**INDEXED, BY_SEARCH: rows})
    hits, mode = nearest(database, STATE, np.array([7, 0, 0], np.float32), Query(top_k=4))
    assert mode == "index"
    assert hits == [Hit("a", 1.0, None), Hit("b", 1.0, None), Hit("near", 0.6, "cars"), Hit("far", 0.0, None)]


def test_scores_are_those_of_the_stored_float32_numbers_in_float64(rng: np.random.Generator) -> None:
    stored = rng.normal(size=(50, 64)).astype(np.float32)
    query_vector = rng.normal(size=64).astype(np.float32)
    rows = [row(f"{number:02d}", vector.tolist()) for number, vector in enumerate(stored)]
    database = CannedDatabase({**INDEXED, BY_SEARCH: rows})
    hits, _ = nearest(database, STATE, query_vector, Query(top_k=50))
    x, y = stored.astype(np.float64), query_vector.astype(np.float64)
    truth = {f"{n:02d}": v @ y / np.linalg.norm(v) / np.linalg.norm(y) for n, v in enumerate(x)}
    scores = {hit.path: hit.score for hit in hits}
    assert scores == pytest.approx(truth, abs=1e-12)
    # To the last bit that of the pair, if the query image were in the collection.
    assert [scores[f"{n:02d}"] for n in range(50)] == cosines(stored, np.tile(query_vector, (50, 1))).tolist()
    assert [hit.path for hit in hits] == sorted(truth, key=lambda path: -truth[path])


def test_hits_are_at_most_top_k_and_at_least_of_the_lowest_score() -> None:
    rows = [row(str(angle), [np.cos(angle / 10), np.sin(angle / 10), 0]) for angle in range(10)]
    database = CannedDatabase({**INDEXED, BY_SEARCH: rows})
    vector = np.array([1, 0, 0], np.float32)
    assert [hit.path for hit in nearest(database, STATE, vector, Query(top_k=3))[0]] == ["0", "1", "2"]
    good, _ = nearest(database, STATE, vector, Query(top_k=10, min_score=0.9))
    assert [hit.path for hit in good] == ["0", "1", "2", "3", "4"]
    assert nearest(database, STATE, vector, Query(top_k=1, min_score=1.0))[0] == [Hit("0", 1.0, None)]


def test_no_candidate_is_no_hit() -> None:
    database = CannedDatabase({**INDEXED, BY_SEARCH: []})
    assert nearest(database, STATE, np.ones(3, np.float32), Query()) == ([], "index")


def test_the_index_is_asked_for_more_candidates_than_hits() -> None:
    rows = [row(str(number), [1, number, 0]) for number in range(20)]
    database = CannedDatabase({**INDEXED, BY_SEARCH: rows})
    nearest(database, STATE, np.ones(3, np.float32), Query(top_k=20), excluded_paths=["itself"])
    (asked,) = database.parameters_of(BY_SEARCH)
    assert asked["candidates"] == 100
    assert (asked["excluded_paths"], asked["label"], asked["vector"]) == (["itself"], None, [1.0, 1.0, 1.0])


def test_a_filter_that_leaves_too_few_hits_requests_more_candidates_up_to_all_nodes() -> None:
    def candidates(parameters: dict[str, Any]) -> list[dict[str, Any]]:
        return [row(str(number), [1, number, 0], "rare") for number in range(parameters["candidates"] // 5000)]

    database = CannedDatabase({**INDEXED, BY_SEARCH: candidates})
    hits, _ = nearest(database, STATE, np.ones(3, np.float32), Query(label="rare"))
    assert [asked["candidates"] for asked in database.parameters_of(BY_SEARCH)] == [50, 400, 3200, 25600]
    assert len(hits) == 5
    assert all(asked["label"] == "rare" for asked in database.parameters_of(BY_SEARCH))


@pytest.mark.parametrize(
    ("version", "statement"),
    [
        ("2026.01.4", BY_SEARCH),
        ("2027.02.0", BY_SEARCH),
        ("2025.12.1", cypher.NEAREST_BY_PROCEDURE),
        ("5.26.0", cypher.NEAREST_BY_PROCEDURE),
    ],
)
def test_the_index_is_queried_in_the_way_that_the_server_has(version: str, statement: str) -> None:
    database = CannedDatabase({**INDEXED, statement: [row("a", [1, 0, 0])]}, version=version)
    hits, mode = nearest(database, STATE, np.array([1, 0, 0], np.float32), Query(top_k=1))
    assert (mode, [hit.path for hit in hits]) == ("index", ["a"])


def test_a_filter_that_the_index_knows_is_not_requested_again() -> None:
    rows = [row(str(number), [1, number, 0], "rare") for number in range(3)]
    database = CannedDatabase(
        {cypher.SHOW_VECTOR_INDEXES: [index_row("image_embeddings", "label")], BY_SEARCH_FILTERED: rows}
    )
    hits, mode = nearest(database, STATE, np.ones(3, np.float32), Query(label="rare"), excluded_paths=["itself"])
    assert (len(hits), mode) == (3, "index")
    (asked,) = database.parameters_of(BY_SEARCH_FILTERED)
    assert (asked["label"], asked["candidates"], asked["excluded_paths"]) == ("rare", 50, ["itself"])


def test_filters_that_the_index_does_not_know_are_parameters_and_more_is_requested() -> None:
    database = CannedDatabase(
        {**INDEXED, BY_SEARCH: lambda parameters: [row("a", [1, 0, 0])] * (parameters["candidates"] // 400)}
    )
    query = Query(top_k=3, since="2024", until="2024-02", camera="Canon")
    hits, mode = nearest(database, STATE, np.ones(3, np.float32), query)
    assert ([hit.path for hit in hits], mode) == (["a"] * 3, "index")
    asked = database.parameters_of(BY_SEARCH)
    assert [parameters["candidates"] for parameters in asked] == [50, 400, 3200]
    assert asked[0]["since"].isoformat() == "2024-01-01T00:00:00"
    assert asked[0]["until"].isoformat() == "2024-02-29T23:59:59"
    assert asked[0]["camera"] == "Canon"


def test_no_more_is_requested_once_all_images_are_there_that_pass_the_filters() -> None:
    rows = [row(str(number), [1, number, 0]) for number in range(3)]
    database = CannedDatabase({**INDEXED, BY_SEARCH: rows, cypher.COUNT_MATCHING: [{"nodes": 5000, "matching": 3}]})
    hits, _ = nearest(database, STATE, np.ones(3, np.float32), Query(camera="rare"))
    assert len(hits) == 3
    assert len(database.parameters_of(BY_SEARCH)) == 1
    assert database.parameters_of(cypher.COUNT_MATCHING)[0]["camera"] == "rare"


def test_a_folder_is_looked_for_in_a_range_of_the_index_unless_a_label_is_looked_for_there() -> None:
    label, folder = (each for each in cypher.FILTERS if each.indexed_by is not None)
    by_folder, by_label = (cypher.nearest_by_search("image_embeddings", (each,)) for each in (folder, label))
    database = CannedDatabase(
        {
            **INDEXED,
            cypher.SHOW_VECTOR_INDEXES: [index_row("image_embeddings", "label")],
            # The range has others, too: few rows don't mean that the index has no more.
            by_folder: lambda parameters: [row("a/1", [1, 0, 0])] * (parameters["candidates"] // 80),
            by_label: [row("a/1", [1, 0, 0])] * 5,
        }
    )
    hits, _ = nearest(database, STATE, np.ones(3, np.float32), Query(folder="a/"))
    assert len(hits) == 5
    assert [(asked["candidates"], asked["folder"]) for asked in database.parameters_of(by_folder)] == [
        (50, "a/"),
        (400, "a/"),
    ]
    nearest(database, STATE, np.ones(3, np.float32), Query(folder="a", label="a"))
    assert len(database.parameters_of(by_label)) == 1


def test_many_excluded_copies_do_not_hide_that_the_index_has_more() -> None:
    def candidates(parameters: dict[str, Any]) -> list[dict[str, Any]]:
        return [row(str(number), [1, number, 0], "rare") for number in range(parameters["candidates"] - 50)]

    database = CannedDatabase(
        {
            **INDEXED,
            cypher.SHOW_VECTOR_INDEXES: [index_row("image_embeddings", "label")],
            BY_SEARCH_FILTERED: candidates,
        }
    )
    copies = [f"copy{number}" for number in range(50)]
    hits, _ = nearest(database, STATE, np.ones(3, np.float32), Query(label="rare"), excluded_paths=copies)
    assert [asked["candidates"] for asked in database.parameters_of(BY_SEARCH_FILTERED)] == [50, 400]
    assert len(hits) == 5


def test_while_the_index_is_replaced_the_interim_one_is_queried() -> None:
    interim = cypher.nearest_by_search("image_embeddings_interim", ())
    found = [index_row(state="POPULATING"), index_row("image_embeddings_interim", "label", "shard")]
    database = CannedDatabase({cypher.SHOW_VECTOR_INDEXES: found, interim: [row("a", [1, 0, 0])], **COUNTED})
    assert nearest(database, STATE, np.ones(3, np.float32), Query())[1] == "index"


def test_an_index_that_a_run_replaces_during_the_query_is_looked_up_again() -> None:
    def refuse(_: dict[str, Any]) -> list[dict[str, Any]]:
        raise DatabaseError("no such index")

    states = iter([[index_row()], [index_row("image_embeddings_interim")], []])
    canned = {
        cypher.SHOW_VECTOR_INDEXES: lambda _: next(states),
        BY_SEARCH: refuse,
        cypher.nearest_by_search("image_embeddings_interim", ()): refuse,
        cypher.NEAREST_OF_ALL_GDS: [row("a", [1, 0, 0])],
    }
    hits, mode = nearest(CannedDatabase(canned), STATE, np.ones(3, np.float32), Query())
    assert (mode, [hit.path for hit in hits]) == ("exact", ["a"])
    with pytest.raises(DatabaseError, match="no such index"):
        nearest(CannedDatabase({**INDEXED, BY_SEARCH: refuse}), STATE, np.ones(3, np.float32), Query())


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
def test_without_the_index_every_node_is_compared(
    query: Query, state: GraphState, index: bool, gds: bool, statement: str
) -> None:
    answers: dict[str, Canned] = {
        cypher.SHOW_VECTOR_INDEXES: [index_row()] if index else [],
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


def test_a_server_that_lacks_a_metric_is_an_error_with_the_remedy() -> None:
    for metric, gds, remedy in (("dot", True, "use metric cosine"), ("euclidean", False, "Graph Data Science")):
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
        cypher.IMAGES_OF_CONTENTS: lambda parameters: [
            {"sha256": parameters["contents"][0], "paths": same, "embedding": vectors["0.png"]} for _ in same or []
        ],
        BY_SEARCH: by_index,
        cypher.SIMILAR_TO_OF: [
            {"path": "0.png", "relations": [["1.png", 0.9, None, True], ["3.png", 0.85, "x", False]]},
        ],
    }


def vector_of(seed: int) -> list[float]:
    return embed_one(FakeEmbedder(), decode(picture_bytes(seed), max_pixels=10_000)).tolist()


def search(home: Home, canned: dict[str, Canned], query: Query, path: str | None = None) -> Answer:
    image = QueryImage("query.png", picture_bytes(0), path)
    return find_similar(home, image, query, database=CannedDatabase(canned), embedder=FakeEmbedder())


def test_a_query_image_is_left_out_of_its_own_answer(home: Home) -> None:
    answer = search(home, answers(same=["0.png", "copy.png"]), Query(top_k=2), "0.png")
    assert "0.png" not in [hit.path for hit in answer.results]
    assert answer.query_paths == ["0.png"]


def test_a_query_image_is_a_hit_on_request(home: Home) -> None:
    answer = search(home, answers(same=["0.png"]), Query(top_k=2, exclude_self=False))
    assert (answer.results[0].path, answer.results[0].score) == ("0.png", pytest.approx(1.0))
    assert answer.query_paths == ["0.png"]


def test_a_query_image_from_elsewhere_has_every_path_with_its_content(home: Home) -> None:
    answer = search(home, answers(same=["0.png", "2.png"]), Query(top_k=5))
    assert answer.query_paths == ["0.png", "2.png"]
    assert {hit.path for hit in answer.results} == {"1.png", "3.png", "4.png"}


def test_relations_have_both_directions_and_a_hit_without_any_has_none(home: Home) -> None:
    answer = search(home, answers(), Query(top_k=5, relations=True))
    relations = {hit.path: hit.relations for hit in answer.results}
    assert relations["0.png"] == (Relation("1.png", 0.9, None, True), Relation("3.png", 0.85, "x", False))
    assert relations["4.png"] == ()


@pytest.mark.parametrize(("state", "refreshing"), [("ready", False), ("refreshing", True)])
def test_an_answer_has_whether_a_run_was_writing(home: Home, state: str, refreshing: bool) -> None:
    assert search(home, answers(state), Query()).refreshing is refreshing


def test_a_run_that_began_during_the_search_is_noted(home: Home) -> None:
    states = iter(["ready", "refreshing"])
    canned = answers()
    canned[cypher.READ_STATE] = lambda _: [{**STATE.__dict__, "state": next(states), "dim": 48}]
    assert search(home, canned, Query()).refreshing is True


def test_a_graph_being_rebuilt_or_none_is_an_error(home: Home) -> None:
    with pytest.raises(GraphRebuildingError, match="The graph is being rebuilt for fake-1"):
        search(home, answers("rebuilding"), Query())
    with pytest.raises(DatabaseError, match=r"holds no graph yet.*`imgret run` first"):
        search(home, {**answers(), cypher.READ_STATE: []}, Query())


def test_a_query_out_of_range_never_reaches_the_database(home: Home) -> None:
    with pytest.raises(SettingError, match="top_k is 0"):
        search(home, {}, Query(top_k=0))


def test_the_model_is_loaded_before_the_time_is_taken(home: Home) -> None:
    calls: list[str] = []

    class RecordingEmbedder(FakeEmbedder):
        def load(self) -> None:
            calls.append("load")

        def prepare(self, image: Image.Image) -> np.ndarray:
            calls.append("prepare")
            return super().prepare(image)

    image = QueryImage("query.png", picture_bytes(0))
    find_similar(home, image, Query(), database=CannedDatabase(answers()), embedder=RecordingEmbedder())
    assert calls == ["load", "prepare"]


class NoEmbedder(FakeEmbedder):
    """Fails as soon as it is used."""

    def load(self) -> None:
        pytest.fail("the model was loaded")

    def prepare(self, image: Image.Image) -> np.ndarray:
        pytest.fail("an image was embedded")


def test_a_file_whose_content_is_in_the_graph_is_not_embedded_again(home: Home) -> None:
    image = QueryImage("query.png", picture_bytes(0))
    canned = answers(same=["0.png"])
    answer = find_similar(home, image, Query(), database=CannedDatabase(canned), embedder=NoEmbedder())
    assert answer.results == search(home, answers(), Query(), "0.png").results[1:]
    np.testing.assert_array_equal(answer.vector, np.array(vector_of(0), np.float32))


def test_a_stored_vector_of_another_dimension_is_not_taken(home: Home) -> None:
    canned = answers()
    sha256 = picture_query(0).sha256
    canned[cypher.IMAGES_OF_CONTENTS] = [{"sha256": sha256, "paths": ["0.png"], "embedding": [1.0, 2.0]}]
    answer = search(home, canned, Query())
    assert answer.query_paths == ["0.png"]
    np.testing.assert_array_equal(answer.vector, np.array(vector_of(0), np.float32))


# Queries of several parts


def picture_query(seed: int) -> QueryImage:
    return QueryImage(f"query{seed}.png", picture_bytes(seed))


def search_parts(home: Home, parts: list[QueryPart], query: Query, *, skip_unusable: bool = False) -> Answer:
    canned = answers()
    canned[cypher.IMAGES_OF_CONTENTS] = lambda parameters: [
        {"sha256": picture_query(seed).sha256, "paths": [f"{seed}.png"], "embedding": vector_of(seed)}
        for seed in range(5)
        if picture_query(seed).sha256 in parameters["contents"]
    ]
    canned[cypher.CANDIDATES_BY_PATH] = lambda parameters: [
        {**row(path, vector_of(int(path[0]))), "sha256": picture_query(int(path[0])).sha256}
        for path in parameters["paths"]
        if path in {f"{seed}.png" for seed in range(5)}
    ]
    database = CannedDatabase(canned)
    return find_similar(home, parts, query, database=database, embedder=FakeEmbedder(), skip_unusable=skip_unusable)


def test_images_together_are_scored_with_the_mean_of_their_unit_vectors(home: Home) -> None:
    parts = [QueryPart(picture_query(0)), QueryPart(picture_query(1)), QueryPart(picture_query(2), less=True)]
    answer = search_parts(home, parts, Query(top_k=5))
    u, v, w = (np.array(vector_of(seed)) / np.linalg.norm(vector_of(seed)) for seed in range(3))
    combined = (u + v) / 2 - LESS_SHARE * w
    expected = {
        f"{seed}.png": np.dot(vector_of(seed), combined) / np.linalg.norm(vector_of(seed)) / np.linalg.norm(combined)
        for seed in (3, 4)
    }
    # The images of the query are no hits, on either side.
    assert {hit.path: hit.score for hit in answer.results} == pytest.approx(expected, abs=1e-6)
    assert answer.query_paths == ["0.png", "1.png", "2.png"]
    assert answer.query == "query0.png + query1.png"
    assert answer.as_json()["parts"][2] == {"name": "query2.png", "less": True, "weight": 1.0}
    included = search_parts(home, parts, Query(top_k=5, exclude_self=False))
    assert {hit.path for hit in included.results} == {f"{seed}.png" for seed in range(5)}


def test_a_stored_image_counts_like_its_file(home: Home) -> None:
    by_file = search_parts(home, [QueryPart(picture_query(0)), QueryPart(picture_query(3))], Query())
    by_path = search_parts(home, [QueryPart(picture_query(0)), QueryPart(StoredImage("3.png"))], Query())
    assert by_path.results == by_file.results
    with pytest.raises(ImageError, match=r"gone\.png is not in the graph"):
        search_parts(home, [QueryPart(StoredImage("gone.png"))], Query())
    with pytest.raises(QueryError, match=r"3\.png is on both sides"):
        search_parts(home, [QueryPart(picture_query(3)), QueryPart(StoredImage("3.png"), less=True)], Query())


def test_a_crop_is_searched_with_as_if_it_were_the_image(home: Home, tmp_path: Path) -> None:
    image = decode(picture_bytes(0), max_pixels=10_000)
    image.crop((4, 2, 24, 22)).save(tmp_path / "cut.png")
    cut = QueryImage("cut.png", (tmp_path / "cut.png").read_bytes())
    by_crop = search_parts(home, [QueryPart(picture_query(0), crop=Crop(4, 2, 20, 20))], Query(exclude_self=False))
    by_file = search_parts(home, [QueryPart(cut)], Query(exclude_self=False))
    assert by_crop.results == by_file.results
    with pytest.raises(ImageError, match=r"query0\.png: crop 39,0,2,2 is not inside the image"):
        search_parts(home, [QueryPart(picture_query(0), crop=Crop(39, 0, 2, 2))], Query())


def test_an_unusable_image_is_named_and_the_others_answer(home: Home) -> None:
    broken = QueryPart(QueryImage("broken.png", b"no image"))
    with pytest.raises(ImageError, match=r"broken\.png can't be used"):
        search_parts(home, [QueryPart(picture_query(0)), broken], Query())
    answer = search_parts(home, [QueryPart(picture_query(0)), broken], Query(), skip_unusable=True)
    assert answer.results == search_parts(home, [QueryPart(picture_query(0))], Query()).results
    assert answer.parts == []
    assert "broken.png" in answer.unusable[0]
    with pytest.raises(ImageError, match=r"broken\.png"):
        search_parts(home, [broken], Query(), skip_unusable=True)
    with pytest.raises(QueryError, match=r"shall not resemble, broken\.png can't be used"):
        search_parts(home, [QueryPart(picture_query(0)), replace(broken, less=True)], Query(), skip_unusable=True)


def test_words_need_a_model_with_a_text_tower(home: Home) -> None:
    with pytest.raises(QueryError, match=r"fake has no text tower.*openclip:<architecture>/<pretrained>"):
        search_parts(home, [QueryPart(QueryText("a red car"))], Query())


class FakeTextEncoder(TextEncoder):
    """Gives a text the vector of the picture whose number it names, three times as long."""

    def __init__(self) -> None:
        self.loaded = 0

    def load(self) -> Any:
        self.loaded += 1

    def encode(self, text: str) -> TextVector:
        return TextVector(3 * np.array(vector_of(int(text.split()[1])), np.float32), truncated="long" in text)


def search_words(home: Home, parts: list[QueryPart], query: Query, encoder: TextEncoder | None = None) -> Answer:
    class WordsEmbedder(FakeEmbedder):
        def load(self) -> None:
            loads.append(self)

    loads: list[FakeEmbedder] = []
    answer = find_similar(
        home,
        parts,
        query,
        database=CannedDatabase(answers()),
        embedder=WordsEmbedder("openclip:fake/fake"),
        text_encoder=encoder or FakeTextEncoder(),
    )
    # The image tower is loaded where there is an image.
    assert len(loads) == any(isinstance(part.source, QueryImage) for part in parts)
    return answer


def test_words_are_a_query(home: Home) -> None:
    encoder = FakeTextEncoder()
    answer = search_words(home, [QueryPart(QueryText("picture 1"))], Query(top_k=2), encoder)
    assert answer.results[0].path == "1.png"
    assert answer.results[0].score == pytest.approx(1.0)
    assert (answer.query, answer.query_paths, answer.truncated, encoder.loaded) == ("picture 1", [], [], 1)
    assert answer.as_json()["parts"] == [{"name": "picture 1", "less": False, "weight": 1.0, "text": "picture 1"}]
    assert "truncated" not in answer.as_json()


def test_words_and_an_image_make_one_vector(home: Home) -> None:
    parts = [
        QueryPart(picture_query(0)),
        QueryPart(QueryText("picture 1"), weight=2.0),
        QueryPart(QueryText("picture 2"), less=True),
    ]
    answer = search_words(home, parts, Query(top_k=5))
    u, v, w = (np.array(vector_of(seed)) / np.linalg.norm(vector_of(seed)) for seed in range(3))
    combined = (u + 2 * v) / 3 - LESS_SHARE * w
    assert answer.vector is not None
    np.testing.assert_allclose(
        answer.vector / np.linalg.norm(answer.vector), combined / np.linalg.norm(combined), atol=1e-6
    )
    assert answer.query == "query0.png + picture 1"


def test_the_end_of_a_text_that_is_not_read_is_reported(home: Home) -> None:
    text = "picture 1 long " + "word " * 100
    answer = search_words(home, [QueryPart(QueryText(text))], Query())
    [name] = answer.truncated
    assert len(name) < 100
    assert name.endswith("…")
    assert answer.as_json()["truncated"] == [name]


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "text of the query is empty"), (" \n", "is empty"), ("w" * 10_001, "has 10,001 characters.*at most 10,000")],
)
def test_a_text_that_is_empty_or_too_long_is_refused(home: Home, text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        search_words(home, [QueryPart(QueryText(text))], Query())


def test_contradicting_words_are_refused(home: Home) -> None:
    parts = [QueryPart(QueryText("picture 1")), QueryPart(QueryText("Picture  1"), less=True)]
    with pytest.raises(QueryError, match="on both sides"):
        search_words(home, parts, Query())


@pytest.mark.parametrize("vector", [np.ones(3), np.zeros(48), np.full(48, np.nan)])
def test_a_vector_that_is_none_of_the_space_is_an_error(home: Home, vector: np.ndarray) -> None:
    with pytest.raises(QueryError, match="The vector mine"):
        search_parts(home, [QueryPart(QueryVector("mine", vector))], Query())

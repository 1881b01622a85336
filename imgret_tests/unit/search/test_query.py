import hashlib
import json
from pathlib import Path

import pytest

from imgret_assets.domain.search.query import Answer, Hit, Query, Relation, read_query
from imgret_assets.errors import ImageError, SettingError


@pytest.mark.parametrize(
    "query",
    [Query(), Query(top_k=1), Query(top_k=1000), Query(mode="exact"), Query(min_score=-1.0), Query(min_score=1.0)],
)
def test_a_query_in_range_is_returned_unchanged(query: Query) -> None:
    assert query.check() is query


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(top_k=0), "top_k is 0. Expected: 1 to 1000"),
        (Query(top_k=1001), "top_k is 1001"),
        (Query(mode="graph"), "mode is 'graph'. Expected: index or exact or rerank"),
        (Query(metric="jaccard"), "metric is 'jaccard'. Expected: cosine or euclidean or dot"),
        (Query(metric="dot"), "metric dot with mode index"),
        (Query(mode="rerank", metric="euclidean"), "use mode exact"),
        (Query(min_score=1.01), "min_score is 1.01. Expected: a cosine from -1 to 1"),
        (Query(min_score=float("nan")), "min_score is nan"),
    ],
)
def test_a_query_out_of_range_is_an_error(query: Query, message: str) -> None:
    with pytest.raises(SettingError) as problem:
        query.check()
    assert message in str(problem.value)


def test_a_query_image_has_its_hash_and_its_path_under_the_root(images: Path, tmp_path: Path) -> None:
    (images / "cars").mkdir()
    (images / "cars/a.png").write_bytes(b"data")
    image = read_query(images / "cars/a.png", images)
    assert (image.name, image.data, image.path) == (str(images / "cars/a.png"), b"data", "cars/a.png")
    assert image.sha256 == hashlib.sha256(b"data").hexdigest()
    (tmp_path / "b.png").write_bytes(b"data")
    assert read_query(tmp_path / "b.png", images).path is None
    assert read_query(images / "cars/a.png").path is None


def test_a_symbolic_link_to_an_image_of_the_library_has_that_image_s_path(images: Path, tmp_path: Path) -> None:
    (images / "a.png").write_bytes(b"data")
    (tmp_path / "link.png").symlink_to(images / "a.png")
    assert read_query(tmp_path / "link.png", images).path == "a.png"


def test_a_query_image_that_can_t_be_read_is_a_named_error(images: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png can't be read \(No such file or directory\)"):
        read_query(images / "none.png")
    with pytest.raises(ImageError, match=r"images can't be read \(Is a directory\)"):
        read_query(images)
    (images / "large.png").write_bytes(b"6bytes")
    with pytest.raises(ImageError, match=r"large\.png can't be used \(too_large\): 6 bytes, more than the 5 "):
        read_query(images / "large.png", max_bytes=5)


def test_an_answer_as_json_has_the_optional_values_only_if_there_are_any() -> None:
    answer = Answer("query.png", "fake-1", "index", 1.5, False, [Hit("a.png", 0.9, "cars")], ["self.png"])
    document = json.loads(json.dumps(answer.as_json()))
    assert document == {
        "query": "query.png",
        "model": "fake-1",
        "mode": "index",
        "took_ms": 1.5,
        "refreshing": False,
        "results": [{"path": "a.png", "score": 0.9, "label": "cars"}],
    }


def test_an_answer_as_json_with_relations_rank_scores_and_another_metric() -> None:
    hit = Hit("a.png", 0.9, None, (Relation("1.png", 0.8, None, True),), rank_score=12.5)
    document = Answer("query.png", "fake-1", "exact", 1.5, True, [hit], metric="euclidean").as_json()
    assert (document["metric"], document["refreshing"]) == ("euclidean", True)
    [row] = document["results"]
    assert row["rank_score"] == 12.5
    assert row["relations"] == ({"path": "1.png", "score": 0.8, "label": None, "outgoing": True},)

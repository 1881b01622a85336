"""`POST /v1/similar`: uploads and paths, one or several, and every wrong request."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from imgret_assets.api.schemas import MAX_QUERIES
from imgret_assets.domain.operations.complete_state import keep_complete_state
from imgret_assets.domain.search.query import MAX_TOP_K, Query
from imgret_assets.domain.search.query_parts import QueryText
from imgret_assets.errors import (
    DatabaseError,
    GraphRebuildingError,
    ImageError,
    ImgretError,
    QueryError,
    ReshardedError,
    SettingError,
    StaleTableError,
)
from imgret_tests.api.conftest import Served
from imgret_tests.support.fake_search import hit
from imgret_tests.support.photos import ORIGINAL
from imgret_tests.support.pictures import picture_bytes

PROBLEM = "application/problem+json"
OTHER = "family1/picture0001.png"


def problem(response: Any) -> dict[str, Any]:
    """The problem document of an answer, after a check of its form."""
    assert response.headers["content-type"] == PROBLEM, response.text
    document = response.json()
    assert document["status"] == response.status_code
    assert document["type"].startswith("urn:imgret:problem:")
    assert document["title"]
    assert document["detail"]
    return document


def wrong_fields(response: Any) -> dict[str, str]:
    assert response.status_code == 422
    return {error["field"]: error["detail"] for error in problem(response)["errors"]}


def test_an_upload_is_searched_with_and_the_fields_are_the_searchs(client: TestClient, served: Served) -> None:
    served.search.hits = [hit("a/1.png", 0.9, ("b/2.png", 0.8, True)), hit("top 100%.png", 0.5)]
    data = picture_bytes(3)
    fields = {"k": "2", "mode": "exact", "metric": "dot", "min_score": "0.25", "label": "a", "relations": "true"}
    response = client.post("/v1/similar", files={"image": ("new.png", data)}, data={**fields, "include_self": "yes"})
    assert response.status_code == 200, response.text
    [answer] = response.json()["answers"]
    [(image, query)] = served.search.queries
    assert (image.name, image.data, image.path) == ("new.png", data, None)
    assert query == Query(2, "exact", 0.25, "a", exclude_self=False, relations=True, metric="dot")
    assert (answer["query"], answer["mode"], answer["refreshing"]) == ("new.png", "exact", False)
    first, second = answer["results"]
    assert first == {
        "path": "a/1.png",
        "score": 0.9,
        "label": "a",
        "relations": [{"path": "b/2.png", "score": 0.8, "label": "b", "outgoing": True}],
        "image": "/v1/images/a/1.png",
        "thumbnail": "/v1/images/a/1.png/thumbnail",
    }
    assert second["label"] is None
    assert second["thumbnail"] == "/v1/images/top%20100%25.png/thumbnail"


def test_the_defaults_are_those_of_the_command(client: TestClient, served: Served) -> None:
    assert client.post("/v1/similar", json={"path": ORIGINAL}).status_code == 200
    [(image, query)] = served.search.queries
    assert query == Query()
    assert (image.name, image.path) == (ORIGINAL, ORIGINAL)
    assert image.data == served.home.images.local(ORIGINAL).read_bytes()


def test_date_camera_and_folder_are_filters(client: TestClient, served: Served) -> None:
    filters = {"since": "2024-05", "until": "2024", "camera": "canon eos 5d", "folder": "photos/2024"}
    assert client.post("/v1/similar", json={"path": ORIGINAL, **filters}).status_code == 200
    [(_, query)] = served.search.queries
    assert query == Query(since="2024-05", until="2024", camera="canon eos 5d", folder="photos/2024")


def test_a_folder_that_the_library_does_not_have_is_the_problem_of_the_request(
    client: TestClient, served: Served
) -> None:
    response = client.post("/v1/similar", json={"path": ORIGINAL, "folder": "../x"})
    assert response.status_code == 422
    assert "folder is '../x'" in problem(response)["detail"]
    served.search.failure = SettingError("The library has no folder 'x'; did you mean y?")
    response = client.post("/v1/similar", json={"path": [ORIGINAL, OTHER], "folder": "x"})
    assert response.status_code == 422
    assert problem(response)["detail"] == "The library has no folder 'x'; did you mean y?"


def test_a_date_that_is_none_is_named_with_its_field(client: TestClient, served: Served) -> None:
    response = client.post("/v1/similar", json={"path": ORIGINAL, "since": "soon", "until": "2024-13"})
    wrong = wrong_fields(response)
    assert set(wrong) == {"since", "until"}
    assert "2024-05-31 10:20" in wrong["since"]
    response = client.post("/v1/similar", json={"path": ORIGINAL, "since": "2025", "until": "2024"})
    assert response.status_code == 422
    assert "since is 2025 and until is 2024" in problem(response)["detail"]
    assert not served.search.queries


def test_several_queries_are_answered_in_order(client: TestClient) -> None:
    uploads = [("image", (f"{seed}.png", picture_bytes(seed))) for seed in (1, 2)]
    response = client.post("/v1/similar", files=uploads, data={"path": [ORIGINAL, OTHER]})
    assert response.status_code == 200, response.text
    assert [answer["query"] for answer in response.json()["answers"]] == ["1.png", "2.png", ORIGINAL, OTHER]
    assert response.json()["failed"] == []


def test_a_broken_query_is_named_and_the_others_are_answered(client: TestClient) -> None:
    response = client.post("/v1/similar", json={"path": ["gone.png", ORIGINAL, "../x.png"]})
    assert response.status_code == 200
    document = response.json()
    assert [answer["query"] for answer in document["answers"]] == [ORIGINAL]
    assert [failed["query"] for failed in document["failed"]] == ["gone.png", "../x.png"]
    assert "`..`" in document["failed"][1]["detail"]


def test_only_broken_queries_are_a_problem_that_names_them(client: TestClient, served: Served) -> None:
    served.search.failure = ImageError("x.png can't be used as a query: truncated (ends early)", expected="an image")
    response = client.post("/v1/similar", files={"image": ("x.png", b"\x89PNG")}, data={"path": "gone.png"})
    assert set(wrong_fields(response)) == {"x.png", "gone.png"}
    assert "truncated" in problem(response)["detail"]


@pytest.mark.parametrize(
    "path", ["../secret.png", "a/../../secret.png", "/etc/secret.png", ".hidden.png", "notes.txt", "a\0.png"]
)
def test_a_path_that_leads_elsewhere_is_refused(client: TestClient, served: Served, path: str) -> None:
    for file in (served.home.images.folder.parent / "secret.png", served.home.images.local(".hidden.png")):
        file.write_bytes(picture_bytes(1))
    served.home.images.local("notes.txt").write_text("no image")
    response = client.post("/v1/similar", json={"path": path})
    assert response.status_code == 422
    assert served.search.queries == []
    assert str(served.home.images.folder.parent) not in response.text


@pytest.mark.parametrize("as_json", [True, False])
def test_unknown_fields_are_named_with_the_nearest_one(client: TestClient, as_json: bool) -> None:
    fields = {"path": ORIGINAL, "min_scor": "0.5", "zzz": "1"}
    response = client.post("/v1/similar", json=fields) if as_json else client.post("/v1/similar", data=fields)
    assert wrong_fields(response) == {
        "min_scor": "unknown field; did you mean min_score?",
        "zzz": "unknown field",
    }


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"k": 0}, "k"),
        ({"k": MAX_TOP_K + 1}, "k"),
        ({"k": "many"}, "k"),
        ({"mode": "fast"}, "mode"),
        ({"min_score": 1.5}, "min_score"),
        ({"min_score": "NaN"}, "min_score"),
        ({"path": ["x"] * (MAX_QUERIES + 1)}, "path"),
        ({"path": [""]}, "path.0"),
        ({"path": ["x" * 5000]}, "path.0"),
        ({"path": {"a": 1}}, "path"),
        ({"path": []}, "image"),
    ],
)
def test_wrong_values_are_named(client: TestClient, fields: dict[str, Any], name: str) -> None:
    assert set(wrong_fields(client.post("/v1/similar", json={"path": ORIGINAL} | fields))) == {name}


def test_values_that_do_not_go_together_are_a_problem_with_the_remedy(client: TestClient) -> None:
    response = client.post("/v1/similar", json={"path": ORIGINAL, "metric": "dot"})
    assert response.status_code == 422
    assert problem(response)["remedy"] == "use mode exact"


def test_a_form_with_files_in_wrong_places_names_them(client: TestClient) -> None:
    response = client.post("/v1/similar", files={"photo": ("a.png", b"x")}, data={"image": "text"})
    assert set(wrong_fields(response)) == {"photo", "image"}
    response = client.post("/v1/similar", data={"path": ORIGINAL, "k": ["1", "2"]})
    assert wrong_fields(response) == {"k": "sent more than once"}


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b"[1]", "application/json", 422),
        (b"null", "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b"x" * 100, "image/png", 415),
        (b"x", "", 415),
        (b"no parts", "multipart/form-data", 400),
        (b"--y\r\n\r\n", "multipart/form-data; boundary=x", 400),
    ],
)
def test_bodies_of_another_form_are_problems(
    client: TestClient, content: bytes, content_type: str, status: int
) -> None:
    response = client.post("/v1/similar", content=content, headers={"Content-Type": content_type})
    assert response.status_code == status, response.text
    assert problem(response)["remedy"]


def test_too_many_uploads_are_refused(client: TestClient, served: Served) -> None:
    uploads = [("image", (f"{number}.png", b"x")) for number in range(2 * MAX_QUERIES + 1)]
    response = client.post("/v1/similar", files=uploads)
    assert response.status_code == 400
    assert "files" in problem(response)["detail"]
    assert served.search.queries == []


@pytest.mark.parametrize(
    ("failure", "status", "retries"),
    [
        (DatabaseError("Neo4j at bolt://x can't be reached", remedy="start it"), 503, True),
        (GraphRebuildingError("The graph is being rebuilt", remedy="wait"), 503, True),
        (ReshardedError("resharded", remedy="run again"), 503, True),
        (StaleTableError("other embeddings", remedy="run"), 503, True),
        (ImgretError("the disk is gone", remedy="look"), 500, False),
        (RuntimeError("a secret cause"), 500, False),
    ],
)
def test_failures_are_problems_with_a_status_and_a_remedy(
    client: TestClient, served: Served, failure: Exception, status: int, retries: bool
) -> None:
    served.search.failure = failure
    response = client.post("/v1/similar", json={"path": ORIGINAL})
    assert response.status_code == status
    assert problem(response)["remedy"]
    assert ("retry-after" in response.headers) == retries
    assert "secret" not in response.text


def test_folders_of_this_machine_are_not_told(client: TestClient, served: Served) -> None:
    served.search.failure = DatabaseError(f"{served.home.path}/neo4j and {served.home.images}/a.png", remedy="look")
    assert problem(client.post("/v1/similar", json={"path": ORIGINAL}))["detail"] == "neo4j and a.png"


def test_refreshing_is_that_of_the_graph_or_of_the_tables(client: TestClient, served: Served) -> None:
    assert client.post("/v1/similar", json={"path": ORIGINAL}).json()["refreshing"] is False
    served.search.refreshing = True
    assert client.post("/v1/similar", json={"path": ORIGINAL}).json()["refreshing"] is True
    served.search.refreshing = False
    assert keep_complete_state(served.home)
    next((served.home.path / "warehouse" / "nearest").rglob("*.parquet")).unlink()
    assert client.post("/v1/similar", json={"path": ORIGINAL}).json()["refreshing"] is True


def test_parts_of_one_query_are_searched_with_together(client: TestClient, served: Served) -> None:
    data = {"path": ORIGINAL, "text": "a red car", "less": OTHER, "less_text": "rain", "crop": "10%,5%,50%,50%"}
    files = [("image", ("a.png", picture_bytes(1))), ("less_image", ("b.png", picture_bytes(2)))]
    response = client.post("/v1/similar", files=files, data={**data, "together": "true"})
    assert response.status_code == 200, response.text
    [(parts, _, skips_unusable)] = served.search.asked
    assert skips_unusable
    assert [(part.name, part.less, part.crop and str(part.crop)) for part in parts] == [
        ("a.png", False, "10%,5%,50%,50%"),
        (ORIGINAL, False, "10%,5%,50%,50%"),
        ("a red car", False, None),
        ("b.png", True, None),
        (OTHER, True, None),
        ("rain", True, None),
    ]
    [answer] = response.json()["answers"]
    assert [part["name"] for part in answer["parts"]] == ["a.png", ORIGINAL, "a red car", "b.png", OTHER, "rain"]


def test_less_belongs_to_each_query_that_has_its_own_answer(client: TestClient, served: Served) -> None:
    files = [("image", (f"{seed}.png", picture_bytes(seed))) for seed in (1, 2)]
    files.append(("less_image", ("less.png", picture_bytes(3))))
    response = client.post("/v1/similar", files=files)
    assert len(response.json()["answers"]) == 2
    for parts, _, _ in served.search.asked:
        assert [part.less for part in parts] == [False, True]
        assert parts[1].source.data == picture_bytes(3)  # type: ignore[union-attr]


def test_unusable_parts_of_one_query_are_named(client: TestClient, served: Served) -> None:
    served.search.unusable = ["b.png can't be used: truncated"]
    response = client.post("/v1/similar", json={"path": [ORIGINAL, "gone.png"], "together": True})
    assert len(response.json()["answers"]) == 1
    details = [failed["detail"] for failed in response.json()["failed"]]
    assert "gone.png" in details[0]
    assert "truncated" in details[1]


@pytest.mark.parametrize(
    "failure", [QueryError("x is on both sides", remedy="name it once"), QueryError("no tower", remedy="use openclip")]
)
def test_parts_that_make_no_query_are_a_problem_with_the_remedy(
    client: TestClient, served: Served, failure: QueryError
) -> None:
    served.search.failure = failure
    response = client.post("/v1/similar", json={"text": "words"})
    assert set(wrong_fields(response)) == {"words"}
    assert problem(response)["remedy"] == failure.remedy


@pytest.mark.parametrize("crop", ["0,0,10", "-1,0,10,10", "0,0,0,10", "90%,0%,20%,10%", "a,b,c,d"])
def test_a_crop_that_is_none_is_a_problem(client: TestClient, served: Served, crop: str) -> None:
    response = client.post("/v1/similar", json={"path": ORIGINAL, "crop": crop})
    assert response.status_code == 422
    assert "crop" in problem(response)["detail"]
    assert served.search.asked == []


@pytest.mark.parametrize("text", ["x" * 10_001, ["a"] * 17])
def test_too_much_text_is_named(client: TestClient, text: Any) -> None:
    [field] = wrong_fields(client.post("/v1/similar", json={"text": text}))
    assert field.startswith("text")


@pytest.mark.parametrize("text", ["ein rotes Auto", "κόκκινο αυτοκίνητο", "赤い車", "🚗" * 2000, "\u202e\0"])
def test_words_of_any_script_reach_the_search(client: TestClient, served: Served, text: str) -> None:
    assert client.post("/v1/similar", json={"text": text}).status_code == 200
    [([part], _, _)] = served.search.asked
    assert part.source == QueryText(text)


@pytest.mark.parametrize("name", ["x" * 1000 + ".png", "名前.png", '"quoted".png'])
def test_names_of_uploads_come_back_as_they_are_or_shortened(client: TestClient, name: str) -> None:
    response = client.post("/v1/similar", files={"image": (name, picture_bytes(1))})
    assert response.status_code == 200
    assert len(json.loads(response.text)["answers"][0]["query"]) <= 200

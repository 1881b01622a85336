"""Probes, measurements, and the description of the API."""

from http import HTTPStatus
from typing import Any, get_args

import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from imgret_assets.api import library, schemas, service
from imgret_assets.api.problems import MEDIA_TYPE
from imgret_assets.domain.duplicates.duplicate_search import KINDS
from imgret_assets.domain.search.query import METRICS, MODES
from imgret_assets.errors import DatabaseError, ModelError
from imgret_tests.api.conftest import Served
from imgret_tests.support.photos import ORIGINAL


def readiness(client: TestClient) -> dict[str, Any]:
    """The answer of `/readyz` when the server does not start any more."""
    while (document := client.get("/readyz").json()).get("detail") == service.STARTING:
        pass
    return document


def test_the_server_is_ready_when_graph_and_model_are(client: TestClient) -> None:
    assert readiness(client) == {"status": "ready"}


@pytest.mark.parametrize("failure", [DatabaseError("Neo4j at bolt://secret can't be reached", remedy="start it"), None])
def test_a_server_without_a_graph_is_not_ready_and_says_what_to_do(served: Served, failure: Exception | None) -> None:
    served.server.failure = failure
    served.server.state = None
    with served.client() as client:
        document = readiness(client)
        assert document["status"] == HTTPStatus.SERVICE_UNAVAILABLE
        assert document["remedy"] == ("start it" if failure else "run `imgret run` first")
        assert "secret" not in str(document)
        assert client.get("/healthz").status_code == HTTPStatus.OK


def test_a_server_without_its_model_is_not_ready_until_it_is_there(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_model(*_: object) -> None:
        raise ModelError("no weights", remedy="download them")

    monkeypatch.setattr(service, "query_embedder", no_model)
    with served.client() as client:
        assert readiness(client)["remedy"] == "download them"
        monkeypatch.setattr(service, "query_embedder", lambda *_: served.embedder)
        assert readiness(client) == {"status": "ready"}


def test_requests_are_counted_by_route_and_status(client: TestClient) -> None:
    client.post("/v1/similar", json={"path": ORIGINAL})
    client.get("/v1/images/gone.png")
    client.get("/v1/images/other.png")
    client.get("/nowhere")
    text = client.get("/metrics").text
    assert 'imgret_api_requests_total{method="POST",route="/v1/similar",status="200"} 1.0' in text
    assert 'imgret_api_requests_total{method="GET",route="/v1/images/{path}",status="404"} 2.0' in text
    assert 'imgret_api_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert 'imgret_api_search_seconds_count{mode="index"} 1.0' in text
    assert "gone.png" not in text


@pytest.fixture
def description(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def test_the_description_is_valid(description: dict[str, Any]) -> None:
    validate(description)
    assert set(description["paths"]) == {
        *("/v1/similar", "/v1/images/{path}", "/v1/images/{path}/thumbnail", "/v1/groups", "/v1/duplicates"),
        *("/healthz", "/readyz", "/metrics"),
    }


def test_the_description_has_examples_and_every_field(description: dict[str, Any]) -> None:
    similar = description["paths"]["/v1/similar"]["post"]
    content = similar["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    for each in content.values():
        assert each["examples"]
        assert each["schema"]["additionalProperties"] is False
    for example in content["application/json"]["examples"].values():
        schemas.SimilarFields.model_validate(example["value"])
    assert set(content["application/json"]["schema"]["properties"]) == set(schemas.SimilarFields.model_fields)
    schemas.SimilarAnswer.model_validate(similar["responses"]["200"]["content"]["application/json"]["example"])


def test_every_route_describes_its_problems(description: dict[str, Any]) -> None:
    for path, methods in description["paths"].items():
        for operation in methods.values():
            assert operation["summary"]
            problems = [status for status in operation["responses"] if int(status) >= HTTPStatus.BAD_REQUEST]
            assert problems
            for status in problems:
                assert list(operation["responses"][status]["content"]) == [MEDIA_TYPE], (path, status)


def test_choices_are_those_of_the_search() -> None:
    assert get_args(schemas.Mode) == MODES
    assert get_args(schemas.Metric) == METRICS
    assert set(get_args(library.Kind)) == set(KINDS)

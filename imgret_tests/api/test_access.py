"""Who is answered: the token, hosts and origins, and that others are never served without a token."""

from dataclasses import replace
from http import HTTPStatus

import pytest
from starlette.testclient import TestClient

from imgret_assets.api.server import create_app
from imgret_assets.errors import SettingError
from imgret_assets.request_guard import WILDCARD_ADDRESSES
from imgret_assets.settings import ApiSettings, load_settings
from imgret_tests.api.conftest import Served

TOKEN = "0123456789abcdef0123"
ROUTES = ("/v1/groups", "/v1/duplicates", "/v1/images/a.png", "/v1/images/a.png/thumbnail", "/metrics", "/openapi.json")
HEADERS = (
    None,
    "Bearer",
    "Bearer ",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    f"Basic {TOKEN}",
    TOKEN,
    "Bearer " + "é" * len(TOKEN),
)


@pytest.fixture
def guarded(served: Served) -> TestClient:
    return served.client(ApiSettings(token=TOKEN))


@pytest.mark.parametrize("header", HEADERS)
def test_nothing_is_answered_without_the_token(guarded: TestClient, header: str | None) -> None:
    headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
    for path in ROUTES:
        response = guarded.get(path, headers=headers)
        assert response.status_code == HTTPStatus.UNAUTHORIZED
        assert response.headers["www-authenticate"] == "Bearer"
        assert "IMGRET_API_TOKEN" in response.json()["remedy"]
        assert TOKEN not in response.text


def test_the_token_is_asked_before_the_body_is_read(guarded: TestClient) -> None:
    assert guarded.post("/v1/similar", json={"unknown": 1}).status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_token_opens_everything(guarded: TestClient, scheme: str) -> None:
    assert guarded.get("/v1/groups", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == HTTPStatus.OK


def test_two_tokens_are_none(guarded: TestClient) -> None:
    headers = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")]
    assert guarded.get("/v1/groups", headers=headers).status_code == HTTPStatus.UNAUTHORIZED


def test_probes_need_no_token(guarded: TestClient) -> None:
    assert guarded.get("/healthz").json() == {"status": "ok"}
    assert guarded.get("/readyz").status_code == HTTPStatus.OK


@pytest.mark.parametrize("host", [*WILDCARD_ADDRESSES, "192.168.1.5", "images.example"])
def test_others_are_not_served_without_a_token(served: Served, host: str) -> None:
    settings = replace(served.home.settings, api=ApiSettings(host=host))
    with pytest.raises(SettingError, match="IMGRET_API_TOKEN"):
        create_app(settings)
    create_app(replace(settings, api=ApiSettings(host=host, token=TOKEN)))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_this_machine_is_served_without_a_token(host: str) -> None:
    ApiSettings(host=host).require_safe()


@pytest.mark.parametrize("token", ["short", "with a space in it 123", "ünïcödé-ünïcödé-ünïcödé", "x" * 513])
def test_a_token_that_no_client_can_send_is_an_error_that_does_not_repeat_it(token: str) -> None:
    with pytest.raises(SettingError) as error:
        load_settings(env={"IMGRET_API_TOKEN": token, "IMGRET_ENV_FILE": "/dev/null"})
    assert token not in str(error.value)


def test_the_token_is_in_no_representation_of_the_settings() -> None:
    settings = load_settings(env={"IMGRET_API_TOKEN": TOKEN, "IMGRET_ENV_FILE": "/dev/null"})
    assert settings.api.token == TOKEN
    assert TOKEN not in repr(settings)


def test_foreign_hosts_and_origins_are_refused_with_a_problem(served: Served) -> None:
    client = served.client()
    for headers in ({"Host": "attacker.example"}, {"Origin": "http://attacker.example"}):
        response = client.get("/v1/groups", headers=headers)
        assert response.status_code == HTTPStatus.FORBIDDEN
        assert response.json()["type"] == "urn:imgret:problem:refused"
        assert response.headers["x-content-type-options"] == "nosniff"


def test_names_of_this_machine_can_be_allowed(served: Served) -> None:
    settings = replace(served.home.settings, allowed_hosts=("shop.example",), api=ApiSettings())
    client = TestClient(create_app(settings), base_url="http://shop.example:8600")
    assert client.get("/healthz").status_code == HTTPStatus.OK

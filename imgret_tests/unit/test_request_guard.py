"""The guard before the web servers: what it answers, what it refuses, and the headers of its answers.

The attacks of web sites on the real servers are in `imgret_tests.server.test_webserver`.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from imgret_assets.request_guard import FRAME_POLICY, HEADERS, MAX_LOGGED_REASONS, RequestGuard, allowed_hosts

PORT = 3000
HOST = f"127.0.0.1:{PORT}"
# The test client does not take the host of a websocket from its base address.
SOCKET = f"ws://{HOST}/socket"
PROXY = "images.example"
FOREIGN = "attacker.example"
JSON = "application/json"


async def answer(request: Request) -> Response:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return PlainTextResponse(f"{request.method} {size}")


async def page(_: Request) -> Response:
    return PlainTextResponse("page", headers={"Content-Security-Policy": "base-uri 'none'", "X-Frame-Options": "ALLOW"})


async def parts(_: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(100):
            yield bytes([number]) * 10_000

    return StreamingResponse(chunks())


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.started = True
    yield


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = Starlette(
        routes=[
            Route("/page", page),
            Route("/parts", parts),
            WebSocketRoute("/socket", echo),
            Route("/{path:path}", answer, methods=["GET", "HEAD", "POST", "PUT", "DELETE"]),
        ],
        lifespan=lifespan,
    )
    guard = RequestGuard(app, hosts=allowed_hosts([PROXY], "0.0.0.0"), graphql_path="/graphql")  # noqa: S104
    with TestClient(guard, base_url=f"http://{HOST}") as client:
        assert app.state.started, "the guard hides the lifespan"
        yield client


@pytest.mark.parametrize("host", ["localhost", "LocalHost:80", HOST, "[::1]", f"[::1]:{PORT}", PROXY, f"{PROXY}:8443"])
def test_own_hosts_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/x", headers={"Host": host}).text == "GET 0"


@pytest.mark.parametrize(
    "host",
    [
        FOREIGN,
        f"{FOREIGN}:{PORT}",
        f"localhost.{FOREIGN}",
        "127.0.0.1.nip.example",
        "127.0.0.2",
        "0.0.0.0",  # noqa: S104 - a host that leads to this machine
        "[::2]",
        f"127.0.0.1@{FOREIGN}",
        f"127.0.0.1/{FOREIGN}",
        f"127.0.0.1:{PORT}:{PORT}",
        "localhost.",
        "",
    ],
)
def test_other_hosts_are_refused_and_named(client: TestClient, host: str) -> None:
    response = client.get("/x", headers={"Host": host})
    assert (response.status_code, repr(host) in response.text) == (403, True)
    assert "add it to IMGRET_ALLOWED_HOSTS" in response.text


def test_two_hosts_are_refused(client: TestClient) -> None:
    response = client.get("/x", headers=[("Host", HOST), ("Host", FOREIGN)])
    assert response.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl
        {"Origin": f"http://{HOST}"},
        {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Host": PROXY, "Origin": f"https://{PROXY}"},
        {"Host": f"{PROXY}:443", "Origin": f"https://{PROXY}"},
        {"Host": f"{PROXY}:8443", "Origin": f"https://{PROXY.upper()}:8443"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_requests_of_own_pages_and_of_programs_are_answered(
    client: TestClient, method: str, headers: dict[str, str]
) -> None:
    assert client.request(method, "/x", headers=headers).text == f"{method} 0"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": f"http://{FOREIGN}"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1"},
        {"Origin": f"http://127.0.0.1:{PORT + 1}"},
        {"Origin": f"http://localhost:{PORT}"},
        {"Origin": f"file://{HOST}"},
        {"Origin": f"http://{HOST}.{FOREIGN}"},
        {"Origin": "http://["},
        {"Origin": f"http://{FOREIGN}", "Sec-Fetch-Site": "same-origin"},
        {"Host": PROXY, "Origin": f"http://{PROXY}:8443"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_requests_of_other_sites_are_refused(client: TestClient, method: str, headers: dict[str, str]) -> None:
    response = client.request(method, "/x", headers=headers)
    assert response.status_code == 403
    assert "request of another site" in response.text


def test_two_origins_are_refused(client: TestClient) -> None:
    headers = [("Origin", f"http://{HOST}"), ("Origin", f"http://{FOREIGN}")]
    assert client.post("/x", headers=headers).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_of_another_site_opens_a_page_and_changes_nothing(client: TestClient, site: str) -> None:
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/x", headers=link).status_code == 200
    assert client.post("/x", headers=link).status_code == 403


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Content-Type": JSON}, 200),
        ("POST", {"Content-Type": f"{JSON}; charset=utf-8"}, 200),
        ("POST", {"Content-Type": "application/graphql"}, 200),
        ("POST", {"Content-Type": f"text/plain; {JSON}"}, 403),
        ("POST", {"Content-Type": "application/x-www-form-urlencoded"}, 403),
        ("POST", {}, 403),
        ("GET", {"Accept": "text/html,*/*"}, 200),  # the editor
        ("GET", {"Accept": "*/*"}, 403),
        ("GET", {"Accept": "image/*", "Content-Type": JSON}, 403),
    ],
)
def test_graphql_needs_a_type_that_no_other_site_can_send(
    client: TestClient, method: str, headers: dict[str, str], status: int
) -> None:
    assert client.request(method, "/graphql?query=x", headers=headers).status_code == status
    assert client.request(method, "/%67raphql?query=x", headers=headers).status_code == status


def test_a_websocket_of_an_own_page_works(client: TestClient) -> None:
    for headers in ({"Origin": f"http://{HOST}"}, {"Host": PROXY, "Origin": f"https://{PROXY}"}, {}):
        with client.websocket_connect(SOCKET, headers=headers) as socket:
            socket.send_text("word")
            assert socket.receive_text() == "word"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": f"http://{FOREIGN}"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{PORT}"},
        {"Host": FOREIGN, "Origin": f"http://{FOREIGN}"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "websocket"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
def test_a_websocket_of_another_site_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect(SOCKET, headers=headers):
        pass
    assert closed.value.code == 1008


@pytest.mark.parametrize("path", ["/x", "/page", "/parts", "/graphql"])
def test_every_answer_has_the_security_headers(client: TestClient, path: str) -> None:
    for headers in ({}, {"Host": FOREIGN}):
        response = client.get(path, headers=headers)
        assert {name: response.headers.get_list(name) for name in HEADERS} == {
            name: [value] for name, value in HEADERS.items()
        }
        assert FRAME_POLICY in response.headers.get_list("Content-Security-Policy")


def test_the_policy_of_the_server_stays(client: TestClient) -> None:
    assert client.get("/page").headers.get_list("Content-Security-Policy") == ["base-uri 'none'", FRAME_POLICY]


def test_bodies_pass_in_parts(client: TestClient) -> None:
    sent = (bytes(100_000) for _ in range(300))
    assert client.put("/upload", content=sent).text == "PUT 30000000"
    assert client.get("/parts").content == b"".join(bytes([number]) * 10_000 for number in range(100))


def test_a_reason_is_logged_once_and_not_without_end(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for number in (*range(3 * MAX_LOGGED_REASONS), 0, 0):
            client.get("/x", headers={"Host": f"{number}.{FOREIGN}"})
    messages = [record.getMessage() for record in caplog.records if record.name == "imgret"]
    assert len(messages) == len(set(messages)) == MAX_LOGGED_REASONS
    assert messages[0].startswith(f"imgret: a request for the host '0.{FOREIGN}' is refused")


def test_control_characters_of_a_request_reach_no_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        response = client.get("/x", headers={"Origin": "http://\x1b[31m"})
    assert response.status_code == 403
    assert "\x1b" not in caplog.text + response.text
    assert r"\x1b[31m" in caplog.text


@pytest.mark.parametrize(
    ("further", "address", "added"),
    [
        ([], None, set()),
        ([], "0.0.0.0", set()),  # noqa: S104
        ([], "::", set()),
        ([], "192.168.1.5", {"192.168.1.5"}),
        ([""], "fe80::1", {"[fe80::1]"}),
        (["Images.Example", "fe80::2", "[fe80::3]"], "127.0.0.1", {"images.example", "[fe80::2]", "[fe80::3]"}),
    ],
)
def test_hosts_are_those_of_loopback_and_those_named(further: list[str], address: str | None, added: set[str]) -> None:
    assert allowed_hosts(further, address) == {"localhost", "127.0.0.1", "[::1]"} | added

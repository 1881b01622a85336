"""Limits: of bytes and time while the body is read, of requests at once, of the time for an answer."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import cast

import pytest

from imgret_assets.api import similar
from imgret_assets.api.limits import Workers, search_threads
from imgret_assets.api.metrics import Metrics
from imgret_assets.api.problems import ProblemError
from imgret_assets.api.server import create_app
from imgret_assets.domain.neo4j_server.host import LOCALHOST
from imgret_assets.settings import ApiSettings
from imgret_tests.api.conftest import Served
from imgret_tests.support.api_server import listening
from imgret_tests.support.photos import ORIGINAL
from imgret_tests.support.pictures import picture_bytes

LIMIT = 100_000
WITHIN_S = 20.0
CHUNK = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
CHUNKED = "Transfer-Encoding: chunked"


def head(length: str) -> bytes:
    """The head of an upload whose end is described by `length`."""
    lines = ("POST /v1/similar HTTP/1.1", "Host: 127.0.0.1", "Content-Type: multipart/form-data; boundary=b", length)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


@pytest.fixture
def port(served: Served) -> Iterator[int]:
    api = ApiSettings(max_bytes=LIMIT, timeout_s=0.5, threads=1, waiting=1)
    with listening(create_app(replace(served.home.settings, api=api))) as port:
        yield port


def answer(connection: socket.socket) -> tuple[int, str]:
    """Read an answer; return its status and body."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status, response.read().decode()


def test_a_large_upload_is_refused_by_its_announced_length(port: int) -> None:
    """Nothing of its 200 MB is sent: the server does not wait for it."""
    with socket.create_connection((LOCALHOST, port), timeout=WITHIN_S) as connection:
        connection.sendall(head("Content-Length: 200000000"))
        status, body = answer(connection)
    assert (status, "100,000 bytes" in body) == (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, True)


def send_until_refused(connection: socket.socket) -> int:
    """Send without end; return how many bytes went out before the connection was closed."""
    sent = 0
    with suppress(ConnectionResetError, BrokenPipeError):
        while sent < 1000 * LIMIT:
            connection.sendall(CHUNK)
            sent += len(CHUNK)
    return sent


def test_a_body_that_never_ends_is_cut_off_at_the_limit(port: int, served: Served) -> None:
    with socket.create_connection((LOCALHOST, port), timeout=WITHIN_S) as connection:
        connection.sendall(head(CHUNKED) + b"%x\r\n%b\r\n" % (len(PART), PART))
        # What the kernel takes before the connection is closed is much less than that.
        assert send_until_refused(connection) < 1000 * LIMIT
    assert served.search.queries == []


def test_the_refusal_at_the_limit_is_a_problem(port: int) -> None:
    with socket.create_connection((LOCALHOST, port), timeout=WITHIN_S) as connection:
        connection.sendall(head(CHUNKED) + b"%x\r\n%b\r\n" % (len(PART), PART))
        connection.sendall(CHUNK * (LIMIT // 10_000))
        status, _ = answer(connection)
        assert status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        assert connection.recv(1) == b"", "the connection stays open"


@pytest.mark.parametrize(("length", "begun"), [(CHUNKED, b"5\r\n"), ("Content-Length: 5000", b"--b")])
def test_a_body_that_stops_is_given_up(port: int, length: str, begun: bytes) -> None:
    with socket.create_connection((LOCALHOST, port), timeout=WITHIN_S) as connection:
        connection.sendall(head(length) + begun)
        status, body = answer(connection)
    assert (status, "0.5 s" in body) == (HTTPStatus.REQUEST_TIMEOUT, True)


@pytest.fixture
def may_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Searches end when this is set."""
    event = threading.Event()
    search = cast("Callable[..., object]", served.search)

    def slow(*arguments: object, **named: object) -> object:
        assert event.wait(WITHIN_S)
        return search(*arguments, **named)

    monkeypatch.setattr(similar, "find_similar", slow)
    return event


def test_requests_beyond_the_places_are_refused_and_later_ones_answered(
    served: Served, may_end: threading.Event
) -> None:
    with served.client(ApiSettings(threads=2, waiting=1)) as client, ThreadPoolExecutor(3) as pool:

        def ask() -> int:
            return client.post("/v1/similar", json={"path": ORIGINAL}).status_code

        let_in = [pool.submit(ask) for _ in range(3)]
        while "imgret_api_in_flight 3.0" not in client.get("/metrics").text:
            assert not any(future.done() for future in let_in)
        refused = client.post("/v1/similar", json={"path": ORIGINAL})
        assert refused.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert int(refused.headers["retry-after"]) > 0
        assert "3 requests" in refused.json()["detail"]
        assert client.get("/healthz").status_code == HTTPStatus.OK
        may_end.set()
        assert [future.result() for future in let_in] == [HTTPStatus.OK] * 3
        assert ask() == HTTPStatus.OK
        assert 'imgret_api_refused_total{limit="busy"} 1.0' in client.get("/metrics").text


def test_an_answer_that_takes_too_long_is_given_up_and_its_thread_comes_back(
    served: Served, may_end: threading.Event
) -> None:
    with served.client(ApiSettings(threads=1, timeout_s=0.5)) as client:
        response = client.post("/v1/similar", files={"image": ("a.png", picture_bytes(1))})
        assert response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert response.json()["type"] == "urn:imgret:problem:timeout"
        assert "retry-after" in response.headers
        may_end.set()
        assert client.post("/v1/similar", json={"path": ORIGINAL}).status_code == HTTPStatus.OK


def test_what_has_not_begun_when_its_time_is_over_is_dropped() -> None:
    may_end = threading.Event()
    begun: list[str] = []
    workers = Workers("test", 1, timeout_s=0.2, metrics=Metrics())

    async def both() -> list[object]:
        first = workers.run(lambda: may_end.wait(WITHIN_S))
        second = workers.run(lambda: begun.append("second"))
        return list(await asyncio.gather(first, second, return_exceptions=True))

    assert [type(each) for each in asyncio.run(both())] == [ProblemError, ProblemError]
    may_end.set()
    # One thread works in order: what was dropped would have run before this.
    patient = Workers("test", 1, timeout_s=WITHIN_S, metrics=Metrics())
    assert asyncio.run(patient.run(lambda: list(begun))) == []
    workers.close()


def test_errors_of_the_work_itself_come_out() -> None:
    def fail() -> None:
        raise TimeoutError("of a socket")

    with pytest.raises(TimeoutError, match="of a socket"):
        asyncio.run(Workers("test", 1, timeout_s=WITHIN_S, metrics=Metrics()).run(fail))


def test_threads_are_set_or_suit_the_machine() -> None:
    assert search_threads(3) == 3
    assert search_threads(None) >= 4

"""Connections that fail: how soon, and what the message says."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from neo4j.exceptions import ClientError, CypherSyntaxError, ServiceUnavailable

from imgret_assets.cli.db_shell import open_driver
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import open_database, server_versions
from imgret_assets.domain.neo4j_server import time_limits
from imgret_assets.domain.neo4j_server.run_file import Connection
from imgret_assets.errors import DatabaseError
from imgret_assets.settings import load_settings
from imgret_tests.support.canned import CannedDatabase


@contextmanager
def listening(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Provide `host:port` of a server that calls `answer` with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                taken.append(connection)
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in taken:
            connection.close()


def stay_silent(_: socket.socket) -> None: ...


def speak_http(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    connection.close()


def close_at_once(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.close()


def message_of(uri: str, home: Path) -> str:
    settings = load_settings({"home": home, "neo4j_uri": uri, "neo4j_password": "secret"})
    with pytest.raises(DatabaseError) as caught, open_database(settings):
        pass
    return str(caught.value)


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the limits so short that a test can wait for them."""
    for name in time_limits.DRIVER_LIMITS:
        monkeypatch.setitem(time_limits.DRIVER_LIMITS, name, 0.3)  # type: ignore[arg-type]


@pytest.mark.usefixtures("short_limits")
@pytest.mark.timeout(30)
def test_a_server_that_never_answers_is_given_up_by_every_client(tmp_path: Path) -> None:
    with listening(stay_silent) as address:
        uri = f"bolt://{address}"
        assert f"Neo4j at {uri} can't be reached" in message_of(uri, tmp_path)
        server = Connection(uri, "neo4j", "secret")
        assert server_versions(server) == (None, None)
        with pytest.raises(DatabaseError, match="can't be reached"), open_driver(server) as driver:
            driver.verify_connectivity()


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_the_port_of_the_browser_is_named(scheme: str, tmp_path: Path) -> None:
    with listening(speak_http) as address:
        assert "NEO4J_URI names the port of Neo4j's pages" in message_of(f"{scheme}://{address}", tmp_path)


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_a_server_that_closes_the_connection_may_require_tls(scheme: str, tmp_path: Path) -> None:
    with listening(close_at_once) as address:
        assert "if it requires TLS, write NEO4J_URI with +s or +ssc" in message_of(f"{scheme}://{address}", tmp_path)


@pytest.mark.usefixtures("short_limits")
def test_a_server_that_says_nothing_is_not_taken_for_one_with_tls(tmp_path: Path) -> None:
    with listening(stay_silent) as address:
        assert "start it, or check NEO4J_URI" in message_of(f"bolt://{address}", tmp_path)


@pytest.mark.parametrize("scheme", ["bolt+s", "bolt+ssc", "neo4j+s", "neo4j+ssc"])
def test_a_server_without_tls_is_named(scheme: str, tmp_path: Path) -> None:
    with listening(close_at_once) as address:
        assert "does not speak TLS on this port" in message_of(f"{scheme}://{address}", tmp_path)


def test_nothing_listens(tmp_path: Path) -> None:
    with listening(stay_silent) as address:
        pass
    assert "start it, or check NEO4J_URI" in message_of(f"bolt://{address}", tmp_path)


def test_a_server_of_aura_is_asked_once_whether_it_has_the_clause_search() -> None:
    def refuse(error: Exception) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
        def answer(_: dict[str, Any]) -> list[dict[str, Any]]:
            raise DatabaseError("refused") from error

        return answer

    no_such_clause, no_such_index = CypherSyntaxError("Invalid input 'SEARCH'"), ClientError("no such index")
    for answer, has_search in (([], True), (refuse(no_such_index), True), (refuse(no_such_clause), False)):
        aura = CannedDatabase({cypher.HAS_SEARCH: answer}, version="5.27-aura")
        assert [aura.has_search, aura.has_search] == [has_search] * 2
        assert len(aura.asked) == 1
    lost = CannedDatabase({cypher.HAS_SEARCH: refuse(ServiceUnavailable("lost"))}, version="5.27-aura")
    with pytest.raises(DatabaseError, match="refused"):
        assert lost.has_search

"""One connection for all threads: shared, checked, replaced once when it broke."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from neo4j.exceptions import DriverError

from imgret_assets.domain.graph import cypher, shared_connection
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.shared_connection import DatabaseHolder
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError
from imgret_tests.support.fake_search import FakeServer


@pytest.fixture
def server(home: Home, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer(home)
    monkeypatch.setattr(shared_connection, "open_database", fake.open)
    return fake


def count(database: Database) -> int:
    return database.rows(cypher.COUNT_IMAGES)[0]["nodes"]


def test_one_connection_serves_all_uses(home: Home, server: FakeServer) -> None:
    holder = DatabaseHolder(home.settings)
    assert [holder.use(count), holder.use(count)] == [12, 12]
    assert len(server.opened) == 1
    holder.close()
    assert server.opened[0].closed


def test_a_broken_connection_is_closed_and_opened_again(home: Home, server: FakeServer) -> None:
    holder = DatabaseHolder(home.settings)
    holder.use(count)
    server.opened[0].broken = True
    assert holder.use(count) == 12
    assert [database.closed for database in server.opened] == [True, False]


def test_threads_do_not_wait_for_one_anothers_look_at_the_connection(
    home: Home, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = DatabaseHolder(home.settings)
    holder.use(count)
    both_look = threading.Barrier(2, timeout=20)
    monkeypatch.setattr(server.opened[0], "verify_connectivity", both_look.wait)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda _: holder.use(count), range(2))) == [12, 12]


def test_a_broken_connection_that_many_threads_find_is_replaced_once(home: Home, server: FakeServer) -> None:
    holder = DatabaseHolder(home.settings)
    holder.use(count)
    server.opened[0].broken = True
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: holder.use(count), range(40))) == {12}
    assert [database.closed for database in server.opened] == [True, False]


def test_a_server_that_is_down_is_an_error_until_it_is_back(home: Home, server: FakeServer) -> None:
    holder = DatabaseHolder(home.settings)
    holder.use(count)
    server.opened[0].broken = True
    server.failure = DatabaseError("Neo4j can't be reached")
    with pytest.raises(DatabaseError, match="can't be reached"):
        holder.use(count)
    server.failure = None
    assert holder.use(count) == 12


def test_a_connection_that_another_thread_closed_is_a_named_error(home: Home, server: FakeServer) -> None:
    def closed(database: Database) -> int:
        raise DriverError("Driver closed")

    with pytest.raises(DatabaseError, match="try again"):
        DatabaseHolder(home.settings).use(closed)

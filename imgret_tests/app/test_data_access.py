"""The shared connection of the page, and what is read over it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from neo4j.exceptions import DriverError

from imgret_assets.app.data_access import DatabaseHolder, database_holder, read_facts, read_library
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.images.library import Library
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, ForeignDatabaseError, GraphRebuildingError
from imgret_tests.support.fake_search import FakeServer


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


def test_sessions_do_not_wait_for_one_anothers_look_at_the_connection(
    home: Home, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = DatabaseHolder(home.settings)
    holder.use(count)
    both_look = threading.Barrier(2, timeout=20)
    monkeypatch.setattr(server.opened[0], "verify_connectivity", both_look.wait)
    with ThreadPoolExecutor(2) as sessions:
        assert list(sessions.map(lambda _: holder.use(count), range(2))) == [12, 12]


def test_a_broken_connection_that_many_sessions_find_is_replaced_once(home: Home, server: FakeServer) -> None:
    holder = DatabaseHolder(home.settings)
    holder.use(count)
    server.opened[0].broken = True
    with ThreadPoolExecutor(8) as sessions:
        assert set(sessions.map(lambda _: holder.use(count), range(40))) == {12}
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


def test_a_connection_that_another_session_closed_is_a_named_error(home: Home, server: FakeServer) -> None:
    def closed(database: Database) -> int:
        raise DriverError("Driver closed")

    with pytest.raises(DatabaseError, match="try again"):
        DatabaseHolder(home.settings).use(closed)


def test_equal_settings_share_a_holder(home: Home) -> None:
    assert database_holder(home.settings) is database_holder(home.settings)


def test_facts_are_counts_and_state(home: Home, server: FakeServer) -> None:
    facts = read_facts(home)
    assert (facts.images, facts.relations, facts.state.model) == (12, 3, "fake-00000000")


def test_another_homes_graph_is_refused(home: Home, server: FakeServer) -> None:
    assert server.state
    server.state["home"] = "somebody-else"
    with pytest.raises(ForeignDatabaseError, match="another home"):
        read_facts(home)


def test_a_graph_being_rebuilt_is_a_named_error(home: Home, server: FakeServer) -> None:
    assert server.state
    server.state["state"] = "rebuilding"
    with pytest.raises(GraphRebuildingError, match="wait for that run"):
        read_facts(home)


def test_a_library_is_read_again_when_it_changed(home: Home, listed: Callable[[list[str]], Home]) -> None:
    assert read_library(home) == Library()
    listed(["b/2.png", "a/1.png", "top.png"])
    first = read_library(home)
    assert first == Library(("a/1.png", "b/2.png", "top.png"), ("a", "b"))
    assert read_library(home) is first
    listed(["b/2.png", "c/with a longer name.png"])
    assert read_library(home).labels == ("b", "c")

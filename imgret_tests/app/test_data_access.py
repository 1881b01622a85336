"""What the page reads over its shared connection."""

import pytest

from imgret_assets.app.data_access import database_holder, read_facts
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ForeignDatabaseError, GraphRebuildingError
from imgret_tests.support.fake_search import FakeServer


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

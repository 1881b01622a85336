"""The page Overview over a home without images, without most tables, and without a graph."""

import pytest
from streamlit.testing.v1 import AppTest

from imgret_tests.support.fake_search import FakeServer, page_test


@pytest.fixture
def page(home_environment: None) -> AppTest:
    return page_test("overview")


def test_an_empty_library_is_reported_with_the_next_step(page: AppTest, server: FakeServer) -> None:
    page.run()
    assert not page.exception
    assert "The library is empty" in page.info[0].value
    assert not page.metric


@pytest.mark.usefixtures("library")
def test_missing_tables_are_named_with_the_next_step(page: AppTest, server: FakeServer) -> None:
    page.run()
    assert not page.exception
    assert {metric.label: metric.value for metric in page.metric}["Files"] == "12"
    states = dict(page.dataframe[0].value[["asset", "state"]].itertuples(index=False))
    assert states.pop("raw_images") == "current"
    assert set(states.values()) == {"missing"}
    assert "similarity\\_report" in page.warning[0].value
    assert "imgret run" in page.warning[0].value
    assert any("no similarity report yet" in caption.value for caption in page.caption)
    assert any("no run of this home" in caption.value for caption in page.caption)


@pytest.mark.usefixtures("library")
def test_the_tables_are_shown_while_the_database_is_down(page: AppTest, server: FakeServer) -> None:
    server.state = None
    page.run()
    assert not page.exception
    assert "imgret run" in page.error[0].value
    assert page.dataframe[0].value["asset"].tolist() == ["raw_images"]

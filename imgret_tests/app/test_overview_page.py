"""The page Overview in its states: nothing yet, a half-made home, a home with a report."""

import pytest
from streamlit.testing.v1 import AppTest

from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_search import FakeServer, page_test


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, home: Home) -> AppTest:
    monkeypatch.setenv("IMGRET_IMAGES", str(home.images))
    monkeypatch.setenv("IMGRET_SHARDS", str(home.record.shards))
    return page_test("overview")


def test_an_empty_library_is_one_sentence_and_a_next_step(page: AppTest, server: FakeServer) -> None:
    page.run()
    assert not page.exception
    assert "The library is empty" in page.info[0].value
    assert not page.metric


@pytest.mark.usefixtures("library")
def test_what_is_not_there_yet_is_named_with_the_next_step(page: AppTest, server: FakeServer) -> None:
    page.run()
    assert not page.exception
    assert {metric.label: metric.value for metric in page.metric}["Files"] == "12"
    states = dict(page.dataframe[0].value[["asset", "state"]].itertuples(index=False))
    assert states.pop("raw_images") == "up to date"
    assert set(states.values()) == {"not there yet"}
    assert "similarity_report" in page.warning[0].value
    assert "imgret run" in page.warning[0].value
    assert any("no similarity report yet" in caption.value for caption in page.caption)
    assert any("no run of this home" in caption.value for caption in page.caption)


@pytest.mark.usefixtures("library")
def test_a_database_that_is_down_leaves_the_tables_to_look_at(page: AppTest, server: FakeServer) -> None:
    server.state = None
    page.run()
    assert not page.exception
    assert "imgret run" in page.error[0].value
    assert page.dataframe[0].value["asset"].tolist() == ["raw_images"]

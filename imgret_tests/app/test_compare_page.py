"""The page Compare: two pictures named in the address, swapped by a key, and why they are or are not copies."""

import shutil

import pytest
from streamlit.testing.v1 import AppTest

from imgret_assets.app.components import comparison
from imgret_assets.domain.search.explain import Criterion, ExplainedImage, Explanation
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_search import FakeServer, page_test


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, home: Home) -> AppTest:
    monkeypatch.setenv("IMGRET_IMAGES", str(home.images))
    monkeypatch.setenv("IMGRET_SHARDS", str(home.record.shards))

    def explained(_: Home, space: str, a: QueryImage, b: QueryImage) -> Explanation:
        one, other = (
            ExplainedImage(image.name, image.path, image.sha256, len(image.data), "PNG", 40, 30) for image in (a, b)
        )
        same = one.sha256 == other.sha256
        return Explanation(
            space, one, other, "exact" if same else "different", "the same bytes" if same else "nothing alike",
            0.5, 1.0, None, None, None, 0.8, [Criterion("same bytes", same, "yes, for exact", same)], 3, 3,
        )  # fmt: skip

    monkeypatch.setattr(comparison, "explain", explained)
    monkeypatch.setattr(comparison, "resolve_space", lambda _, space: type("Model", (), {"space": space}))
    return page_test("compare")


@pytest.mark.usefixtures("server")
def test_two_pictures_are_chosen_or_linked(page: AppTest, library: list[str]) -> None:
    page.run()
    assert "Choose two pictures" in page.info[0].value
    page.selectbox(key="a").select(library[0])
    page.selectbox(key="b").select(library[1]).run()
    assert not page.exception
    assert [text.value for text in page.text] == [library[0], library[1]]
    assert "different" in page.markdown[-1].value


def test_swapping_exchanges_pictures_and_facts(page: AppTest, server: FakeServer, library: list[str]) -> None:
    page.query_params["a"], page.query_params["b"] = library[2], library[3]
    page.run()
    page.button(key="compare-swap").click().run()
    assert [text.value for text in page.text] == [library[3], library[2]]
    facts = page.dataframe[-1].value.set_index("property")
    assert (facts.loc["path", "left"], facts.loc["path", "right"]) == (library[3], library[2])
    page.button(key="compare-swap").click().run()
    assert [text.value for text in page.text] == [library[2], library[3]]


def test_what_differs_is_marked(page: AppTest, server: FakeServer, library: list[str], home: Home) -> None:
    shutil.copy(home.images / library[0], home.images / library[1])
    page.query_params["a"], page.query_params["b"] = library[0], library[1]
    page.run()
    marks = page.dataframe[-1].value.set_index("property")[""]
    assert (marks["path"], marks["sha256"], marks["bytes"]) == ("≠", "=", "=")
    assert any(
        "right one is number 3" in caption.value and "left one is number 3" in caption.value for caption in page.caption
    )


@pytest.mark.usefixtures("server", "library")
@pytest.mark.parametrize("path", ["../../etc/passwd", "family0/gone.png"])
def test_a_link_to_anything_else_is_refused(page: AppTest, library: list[str], path: str) -> None:
    page.query_params["a"], page.query_params["b"] = library[0], path
    page.run()
    assert not page.exception
    assert "There is no picture" in page.error[0].value

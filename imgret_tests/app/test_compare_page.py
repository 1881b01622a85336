"""The page Compare: two images named in the address, swapped by a key, and why they are duplicates or not."""

import shutil

import pytest
from streamlit.testing.v1 import AppTest

from imgret_assets.app.components import comparison
from imgret_assets.domain.search.explain import Criterion, ExplainedImage, Explanation
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_search import FakeServer, page_test


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, home_environment: None) -> AppTest:
    def explained(_: Home, space: str, a: QueryImage, b: QueryImage) -> Explanation:
        left, right = (
            ExplainedImage(image.name, image.path, image.sha256, len(image.data), "PNG", 40, 30) for image in (a, b)
        )
        same = left.sha256 == right.sha256
        return Explanation(
            space, left, right, "exact" if same else "different", "the same bytes" if same else "nothing alike",
            0.5, 1.0, None, None, None, 0.8, [Criterion("same bytes", same, "yes, for exact", same)], 3, 3,
        )  # fmt: skip

    monkeypatch.setattr(comparison, "explain", explained)
    monkeypatch.setattr(comparison, "resolve_space", lambda _, space: type("Model", (), {"space": space}))
    return page_test("compare")


@pytest.mark.usefixtures("server")
def test_two_images_are_chosen_or_linked(page: AppTest, library: list[str]) -> None:
    page.run()
    assert "Choose two images" in page.info[0].value
    page.selectbox(key="a").select(library[0])
    page.selectbox(key="b").select(library[1]).run()
    assert not page.exception
    assert [text.value for text in page.text] == [library[0], library[1]]
    assert "different" in page.markdown[-1].value


def test_swapping_exchanges_images_and_facts(page: AppTest, server: FakeServer, library: list[str]) -> None:
    page.query_params["a"], page.query_params["b"] = library[2], library[3]
    page.run()
    page.button(key="compare-swap").click().run()
    assert [text.value for text in page.text] == [library[3], library[2]]
    facts = page.dataframe[-1].value.set_index("property")
    assert (facts.loc["path", "left"], facts.loc["path", "right"]) == (library[3], library[2])
    page.button(key="compare-swap").click().run()
    assert [text.value for text in page.text] == [library[2], library[3]]


def test_differences_are_marked(page: AppTest, server: FakeServer, library: list[str], home: Home) -> None:
    shutil.copy(home.images / library[0], home.images / library[1])
    page.query_params["a"], page.query_params["b"] = library[0], library[1]
    page.run()
    marks = page.dataframe[-1].value.set_index("property")[""]
    assert (marks["path"], marks["sha256"], marks["bytes"]) == ("≠", "=", "=")
    ranks = " ".join(caption.value for caption in page.caption)
    assert "right is nearest neighbour 3 of left" in ranks
    assert "left is nearest neighbour 3 of right" in ranks


@pytest.mark.usefixtures("server", "library")
@pytest.mark.parametrize("path", ["../../etc/passwd", "family0/gone.png"])
def test_a_link_to_any_other_file_is_refused(page: AppTest, library: list[str], path: str) -> None:
    page.query_params["a"], page.query_params["b"] = library[0], path
    page.run()
    assert not page.exception
    assert "There is no image" in page.error[0].value

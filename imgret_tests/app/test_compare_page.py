"""The page Compare: two images named in the address, swapped by a key, and why they are duplicates or not."""

import shutil
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
import streamlit as st
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
        right = replace(right, taken=datetime(2024, 5, 31, 10, 20), camera="Canon EOS 5D")  # noqa: DTZ001 - no zone
        same = left.sha256 == right.sha256
        return Explanation(
            space, left, right, "exact" if same else "different", "the same bytes" if same else "nothing alike",
            0.5, 1.0, None, None, None, 0.8, [
                Criterion("same bytes", same, "yes, for exact", same),
                Criterion("phash bits", 1000, "<= 64 of 256, for near", False),
                Criterion("correlation", 0.99999, ">= 0.9, for near", True),
                Criterion("pixels", "the same picture", "the same picture, for near", True),
                Criterion("cosine", None, "> 0.8, for similar", None),
            ],
            3, 3,
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


def test_measurements_of_every_type_are_shown(page: AppTest, server: FakeServer, library: list[str]) -> None:
    page.query_params["a"], page.query_params["b"] = library[2], library[3]
    page.run()
    assert not page.exception
    assert page.dataframe[0].value["value"].tolist() == ["no", "1,000", "0.9999", "the same picture", "not measurable"]


def test_differences_are_marked(page: AppTest, server: FakeServer, library: list[str], home: Home) -> None:
    shutil.copy(home.images / library[0], home.images / library[1])
    page.query_params["a"], page.query_params["b"] = library[0], library[1]
    page.run()
    marks = page.dataframe[-1].value.set_index("property")[""]
    assert (marks["path"], marks["sha256"], marks["bytes"]) == ("≠", "=", "=")
    ranks = " ".join(caption.value for caption in page.caption)
    facts = page.dataframe[-1].value.set_index("property")
    assert facts.loc["taken"].tolist() == ["≠", "", "2024-05-31 10:20:00"]
    assert facts.loc["camera"].tolist() == ["≠", "", "Canon EOS 5D"]
    assert "right is nearest neighbour 3 of left" in ranks
    assert "left is nearest neighbour 3 of right" in ranks


@pytest.mark.usefixtures("server", "library")
@pytest.mark.parametrize("path", ["../../etc/passwd", "family0/gone.png"])
def test_a_link_to_any_other_file_is_refused(page: AppTest, library: list[str], path: str) -> None:
    page.query_params["a"], page.query_params["b"] = library[0], path
    page.run()
    assert not page.exception
    assert "There is no image" in page.error[0].value


def compared(kind: str, left: tuple[int, int, int], right: tuple[int, int, int]) -> Explanation:
    """Return an explanation of two images, each given by width, height and bytes."""
    a, b = (
        ExplainedImage(name, name, name, size, "PNG", width, height)
        for name, (width, height, size) in zip("ab", (left, right), strict=True)
    )
    return Explanation("m", a, b, kind, "the same scene, but a patch differs", 0.99996, 0.1, 3, None, 0.9, 0.8, [])


@pytest.mark.parametrize(
    ("kind", "left", "right", "text"),
    [
        ("exact", (40, 30, 1234), (40, 30, 1234), "Both files have the same 1,234 bytes."),
        (
            "near",
            (400, 300, 9),
            (40, 30, 99),
            "The left one has more pixels: 400 × 300 on the left, 40 × 30 on the right.",
        ),
        ("mirrored", (40, 30, 9), (30, 41, 9), "The right one has more pixels"),
        ("near", (40, 30, 2000), (40, 30, 5000), "The right file is larger: 2 kB on the left, 5 kB on the right."),
        ("rotated", (40, 30, 9), (30, 40, 9), "Both have 1,200 pixels, and files of one size."),
        ("look_first", (40, 30, 9), (40, 30, 9), "The same scene, but a patch differs. Both have"),
        (
            "similar",
            (40, 30, 9),
            (40, 30, 9),
            "no duplicates. Their score is 0.999, above the graph's threshold of 0.8.",
        ),
    ],
)
def test_the_verdict_is_told_in_words(
    kind: str, left: tuple[int, int, int], right: tuple[int, int, int], text: str
) -> None:
    assert text in comparison.verdict_text(compared(kind, left, right))


def test_the_verdict_comes_before_the_images_which_are_not_enlarged(
    page: AppTest, server: FakeServer, library: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show_image, widths = st.image, list[object]()

    def recording(image: Any, **named: Any) -> Any:
        widths.append(named["width"])
        return show_image(image, **named)

    monkeypatch.setattr(st, "image", recording)
    page.query_params["a"], page.query_params["b"] = library[2], library[3]
    page.run()
    order = [element.type for element in page.main]
    assert page.subheader[0].value == "Two different images"
    assert order.index("subheader") < order.index("image")
    for view in (comparison.ONE_AT_A_TIME, comparison.ACTUAL_PIXELS):
        page.segmented_control(key="compare-way").set_value(view).run()
    # The images have 40 x 30 pixels.
    assert widths == ["content", "content", "content", 40, 40]

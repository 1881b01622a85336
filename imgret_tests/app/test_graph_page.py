"""The page Graph: begins with a picture or a group, grows by clicks, starts anew."""

import sys
from types import ModuleType
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from imgret_assets.app import graph_page
from imgret_assets.app.graph_payload import FRAMES, HIT, QUERY, GraphNode
from imgret_assets.app.group_list import list_groups
from imgret_assets.app.neighbourhood import Edge
from imgret_assets.domain.home import Home
from imgret_tests.app.conftest import FakeServer


def show() -> None:
    from imgret_assets.app.graph_page import show_graph

    show_graph()


class FakeChart:
    """Stands for the component: notes what is drawn, answers with a click."""

    def __init__(self) -> None:
        self.drawn: list[dict[str, Any]] = []
        self.clicked: str | None = None

    def __call__(self, options: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.drawn.append(options)
        return {"chart_event": self.clicked}

    @property
    def paths(self) -> set[str]:
        return {node["path"] for node in self.drawn[-1]["series"][0]["data"]}


@pytest.fixture
def chart(monkeypatch: pytest.MonkeyPatch) -> FakeChart:
    """The component's module in its place: it registers itself only where Streamlit runs."""
    fake, module = FakeChart(), ModuleType("streamlit_echarts")
    module.__dict__.update(JsCode=str, st_echarts=fake)
    monkeypatch.setitem(sys.modules, "streamlit_echarts", module)
    return fake


@pytest.fixture
def page(
    monkeypatch: pytest.MonkeyPatch, home: Home, server: FakeServer, library: list[str], chart: FakeChart
) -> AppTest:
    monkeypatch.setenv("IMGRET_IMAGES", str(home.images))
    monkeypatch.setenv("IMGRET_SHARDS", str(home.record.shards))
    related = [
        Edge(library[0], library[1], 0.9),
        Edge(library[1], library[2], 0.85),
        Edge(library[2], library[3], 0.95),
    ]

    def relations(_: Home, paths: list[str]) -> tuple[list[Edge], dict[str, int]]:
        found = [edge for edge in related if edge.ends & set(paths)]
        return found, {path: sum(path in edge.ends for edge in related) for path in paths}

    monkeypatch.setattr(graph_page, "read_relations", relations)
    monkeypatch.setattr(graph_page, "read_among", lambda _, paths: [e for e in related if e.ends <= set(paths)])
    monkeypatch.setattr(graph_page, "read_nearest", lambda *_: [Edge(library[0], library[5], 0.4, "nearest")])
    return AppTest.from_function(show, default_timeout=60)


def test_without_a_start_one_is_to_be_chosen(page: AppTest, chart: FakeChart) -> None:
    page.run()
    assert not page.exception
    assert "begins with one picture" in page.info[0].value
    assert not chart.drawn


def test_it_begins_with_a_picture_and_what_is_joined_to_it(page: AppTest, chart: FakeChart, library: list[str]) -> None:
    page.query_params["image"] = library[0]
    page.run()
    assert not page.exception
    assert chart.paths == {library[0], library[1], library[5]}
    page.toggle(key="nearest").set_value(False).run()
    assert chart.paths == {library[0], library[1]}
    page.slider(key="least").set_value(0.92).run()
    assert chart.paths == {library[0]}


def test_a_click_shows_a_picture_and_expanding_its_relations(
    page: AppTest, chart: FakeChart, library: list[str]
) -> None:
    page.query_params["image"] = library[0]
    chart.clicked = library[1]
    page.run()
    assert page.text[0].value == library[1]
    page.button(key="panel-expand").click().run()
    assert not page.exception
    assert library[2] in chart.paths
    assert page.button(key="panel-expand").disabled
    next(button for button in page.button if button.label.startswith("Fold")).click().run()
    assert library[2] not in chart.paths


def test_what_is_clicked_must_be_in_the_chart(page: AppTest, chart: FakeChart, library: list[str]) -> None:
    page.query_params["image"] = library[0]
    chart.clicked = "../../etc/passwd"
    page.run()
    assert not page.exception
    assert page.text[0].value == library[0]


@pytest.mark.parametrize("path", ["../../etc/passwd", "family0/gone.png"])
def test_a_link_to_anything_else_is_refused(page: AppTest, chart: FakeChart, path: str) -> None:
    page.query_params["image"] = path
    page.run()
    assert not page.exception
    assert "no picture" in page.error[0].value
    assert not chart.drawn


def test_frames_tell_groups_apart_and_the_start_from_all() -> None:
    groups = list_groups([("a", "a", 1.0), ("b", "a", 0.9), ("c", "c", 1.0), ("d", "c", 0.9), ("e", "e", 1.0)])
    colours = {path: graph_page.frame_colour(GraphNode(path, HIT), groups) for path in "abcde"}
    assert colours["a"] == colours["b"]
    assert colours["a"] != colours["c"]
    assert colours["e"] not in (colours["a"], colours["c"])
    assert graph_page.frame_colour(GraphNode("a", QUERY), groups) == FRAMES[QUERY]
    assert FRAMES[QUERY] not in colours.values()

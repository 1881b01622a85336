"""The page Graph: starts with an image or a group, grows by clicks, keeps its view in the address."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from imgret_assets.app.graph_chart.echarts_options import FRAMES
from imgret_assets.app.graph_chart.graph_view import HIT, QUERY, GraphNode
from imgret_assets.app.views import graph_page
from imgret_assets.domain.review.group_list import list_groups
from imgret_assets.domain.search.relations import Edge
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA, groups_path
from imgret_tests.support.fake_search import FakeServer, page_test


class FakeChart:
    """Stands for the component: records what is drawn, answers with a click."""

    def __init__(self) -> None:
        self.drawn: list[dict[str, Any]] = []
        self.click: dict[str, Any] | None = None

    def __call__(self, options: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.drawn.append(options)
        return {"chart_event": self.click}

    def click_on(self, path: str) -> None:
        """Answer with this click from now on, as the component does."""
        self.click = {"path": path, "at": 1 + (self.click or {"at": 0})["at"]}

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """The images as last drawn; the chart has invisible corners as well."""
        return [node for node in self.drawn[-1]["series"][0]["data"] if "path" in node]

    @property
    def paths(self) -> set[str]:
        return {node["path"] for node in self.nodes}


@pytest.fixture
def chart(monkeypatch: pytest.MonkeyPatch) -> FakeChart:
    """The component's module in its place: it registers itself only where Streamlit runs."""
    fake, module = FakeChart(), ModuleType("streamlit_echarts")
    module.__dict__.update(JsCode=str, st_echarts=fake)
    monkeypatch.setitem(sys.modules, "streamlit_echarts", module)
    return fake


@pytest.fixture
def page(
    monkeypatch: pytest.MonkeyPatch, home_environment: None, server: FakeServer, library: list[str], chart: FakeChart
) -> AppTest:
    related = [
        Edge(library[0], library[1], 0.9),
        Edge(library[1], library[2], 0.85),
        Edge(library[2], library[3], 0.95),
    ]

    def relationships(_: Home, paths: list[str], min_score: float) -> tuple[list[Edge], dict[str, int]]:
        good = [edge for edge in related if edge.score >= min_score]
        followed = [edge for edge in good if edge.ends & set(paths)]
        # One relationship of an image is not among those that were followed.
        return followed, {path: sum(path in edge.ends for edge in good) + (path == library[2]) for path in paths}

    def among(_: Home, paths: list[str]) -> list[Edge]:
        return [edge for edge in related if edge.ends <= set(paths)]

    monkeypatch.setattr(graph_page, "read_relationships", relationships)
    monkeypatch.setattr(
        graph_page, "read_relationships_among", lambda _, paths: [e for e in related if e.ends <= set(paths)]
    )
    monkeypatch.setattr(graph_page, "read_nearest", lambda *_: [Edge(library[0], library[5], 0.4, "nearest")])
    monkeypatch.setattr(
        graph_page, "read_nearest_among", lambda _, space, paths, count: [Edge(paths[0], paths[-1], 0.3, "nearest")]
    )
    return page_test("graph")


def test_without_a_start_the_page_shows_the_map_and_asks_for_an_image(page: AppTest, chart: FakeChart) -> None:
    page.run()
    assert not page.exception
    # This home has no map yet: `test_map_view` has homes with one.
    assert "map table is missing" in page.error[0].value
    assert page.selectbox(key="graph-pick")
    assert not chart.drawn


def test_the_graph_leads_back_to_the_map(page: AppTest, library: list[str]) -> None:
    page.query_params["image"] = library[0]
    page.run()
    page.button(key="panel-map").click().run()
    assert page.query_params["at"] in (library[0], [library[0]])
    assert "image" not in page.query_params
    page.query_params["image"] = library[0]
    page.run()
    page.button(key="graph-map").click().run()
    assert "image" not in page.query_params


def test_an_image_is_shown_with_its_related_images(page: AppTest, chart: FakeChart, library: list[str]) -> None:
    page.query_params["image"] = library[0]
    page.run()
    assert not page.exception
    assert chart.paths == {library[0], library[1], library[5]}
    page.toggle(key="nearest").set_value(False).run()
    assert chart.paths == {library[0], library[1]}
    page.slider(key="least").set_value(0.92).run()
    assert chart.paths == {library[0]}


def test_a_click_selects_an_image_and_expanding_adds_its_relationships(
    page: AppTest, chart: FakeChart, library: list[str]
) -> None:
    page.query_params["image"] = library[0]
    chart.click_on(library[1])
    page.run()
    assert page.text[0].value == library[1]
    page.button(key="panel-expand").click().run()
    assert not page.exception
    assert library[2] in chart.paths
    assert page.button(key="panel-expand").disabled
    next(button for button in page.button if button.label.startswith("Collapse")).click().run()
    assert library[2] not in chart.paths


def test_collapsing_leaves_the_other_images_where_they_are(page: AppTest, chart: FakeChart, library: list[str]) -> None:
    page.query_params["image"] = library[0]
    page.query_params["expand"] = library[1]
    page.run()
    expanded = {node["path"]: (node["x"], node["y"]) for node in chart.nodes}
    next(button for button in page.button if button.label.startswith("Collapse")).click().run()
    collapsed = {node["path"]: (node["x"], node["y"]) for node in chart.nodes}
    assert set(collapsed) < set(expanded)
    assert collapsed == {path: expanded[path] for path in collapsed}


def test_an_image_can_be_selected_without_a_mouse_after_a_click_on_another(
    page: AppTest, chart: FakeChart, library: list[str]
) -> None:
    page.query_params["image"] = library[0]
    chart.click_on(library[1])
    page.run()
    page.selectbox(key="graph-picture").select(library[5]).run()
    assert page.text[0].value == library[5]
    chart.click_on(library[1])
    page.run()
    assert page.text[0].value == library[1]


def test_the_panel_describes_the_selected_image(page: AppTest, library: list[str]) -> None:
    page.query_params["image"] = library[1]
    page.run()
    text = " ".join(caption.value for caption in page.caption)
    assert "40 × 30 px" in text
    assert f"folder {library[1].split('/')[0]}" in text
    assert "2 relationships" in text
    assert "no group" in text


def test_expanded_images_are_part_of_the_address_and_restored_from_it(
    page: AppTest, chart: FakeChart, library: list[str]
) -> None:
    page.query_params["image"] = library[0]
    page.query_params["expand"] = [library[1], "../../etc/passwd"]
    page.run()
    assert not page.exception
    assert chart.paths == {library[0], library[1], library[2], library[5]}
    assert page.query_params["expand"] in (library[1], [library[1]])


def test_further_hops_are_followed_and_relationships_not_followed_are_counted(
    page: AppTest, chart: FakeChart, library: list[str]
) -> None:
    page.query_params["image"] = library[0]
    page.query_params["nearest"] = "false"
    page.query_params["hops"] = "2"
    page.run()
    assert not page.exception
    assert chart.paths == set(library[:3])
    page.segmented_control(key="hops").set_value(3).run()
    assert chart.paths == set(library[:4])
    assert "1 more relationship hidden" in " ".join(caption.value for caption in page.caption)
    page.segmented_control(key="hops").set_value(1).run()
    assert chart.paths == set(library[:2])
    assert "hidden" not in " ".join(caption.value for caption in page.caption)


def test_a_group_is_drawn_whole_with_the_nearest_of_its_members(
    page: AppTest, chart: FakeChart, library: list[str], home: Home, server: FakeServer
) -> None:
    assert server.state
    members = [library[0], library[4], library[7]]
    rows = [
        {"path": path, "group": members[0], "representative": not place, "score": 1 - place / 10, "size": 3}
        for place, path in enumerate(members)
    ]
    path = groups_path(home.warehouse, server.state["model"])
    tables.write(path, pa.Table.from_pylist(rows, GROUPS_SCHEMA), {})
    page.query_params["group"] = members[0]
    page.run()
    assert not page.exception
    assert chart.paths == {*members, library[1]}
    lines = page.dataframe[0].value
    assert list(zip(lines["score"], lines["line"], lines["from"], lines["to"], strict=True)) == [
        ("0.900000", "SIMILAR_TO", library[0], library[1]),
        ("0.300000", "nearest", library[0], library[7]),
    ]
    assert "group of 3" in " ".join(caption.value for caption in page.caption)
    page.query_params["group"] = library[9]
    page.run()
    assert "is not in a group" in page.info[0].value


def test_a_click_on_an_image_named_like_code_selects_it(
    page: AppTest, chart: FakeChart, listed: Callable[[list[str]], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, odd = "a.png", "--x_x--0_0--alert(1)--x_x--0_0--.png"
    listed([start, odd])
    monkeypatch.setattr(graph_page, "read_relationships", lambda *_: ([Edge(start, odd, 0.9)], {start: 1, odd: 1}))
    page.query_params["image"] = start
    page.run()
    drawn = next(path for path in chart.paths if path != start)
    assert drawn != odd
    chart.click_on(drawn)
    page.run()
    assert page.text[0].value == odd


def test_a_click_outside_the_chart_selects_nothing(page: AppTest, chart: FakeChart, library: list[str]) -> None:
    page.query_params["image"] = library[0]
    chart.click_on("../../etc/passwd")
    page.run()
    assert not page.exception
    assert page.text[0].value == library[0]


@pytest.mark.parametrize("path", ["../../etc/passwd", "family0/gone.png"])
def test_a_link_to_any_other_file_is_refused(page: AppTest, chart: FakeChart, path: str) -> None:
    page.query_params["image"] = path
    page.run()
    assert not page.exception
    assert "no image" in page.error[0].value
    assert not chart.drawn


def test_frames_distinguish_groups_and_the_start() -> None:
    groups = list_groups([("a", "a", 1.0), ("b", "a", 0.9), ("c", "c", 1.0), ("d", "c", 0.9), ("e", "e", 1.0)])
    colours = graph_page.frame_colours([GraphNode(path, HIT) for path in "abcde"], groups)
    assert colours["a"] == colours["b"]
    assert len({colours["a"], colours["c"], colours["e"], FRAMES[QUERY]}) == 4
    assert graph_page.frame_colours([GraphNode("a", QUERY), GraphNode("b", HIT)], groups) == {
        "a": FRAMES[QUERY],
        "b": colours["b"],
    }


def test_as_many_groups_as_colours_have_different_colours() -> None:
    groups = list_groups([(f"{group}/{member}", f"{group}/0", 0.9) for group in range(8) for member in (0, 1)])
    nodes = [GraphNode(f"{group}/1", HIT) for group in range(8)]
    assert len(set(graph_page.frame_colours(nodes, groups).values())) == 8

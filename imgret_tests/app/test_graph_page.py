"""The page Graph: begins with a picture or a group, grows by clicks, starts anew."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from imgret_assets.app.components.group_list import list_groups
from imgret_assets.app.graph_chart.echarts_options import FRAMES, HIT, QUERY, GraphNode
from imgret_assets.app.views import graph_page
from imgret_assets.domain.search.relations import Edge
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA, groups_path
from imgret_tests.support.fake_search import FakeServer, page_test


class FakeChart:
    """Stands for the component: notes what is drawn, answers with a click."""

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

    def relations(_: Home, paths: list[str], least: float) -> tuple[list[Edge], dict[str, int]]:
        good = [edge for edge in related if edge.score >= least]
        found = [edge for edge in good if edge.ends & set(paths)]
        # One relation of a picture is not among those that were followed.
        return found, {path: sum(path in edge.ends for edge in good) + (path == library[2]) for path in paths}

    monkeypatch.setattr(graph_page, "read_relations", relations)
    monkeypatch.setattr(graph_page, "read_among", lambda _, paths: [e for e in related if e.ends <= set(paths)])
    monkeypatch.setattr(graph_page, "read_nearest", lambda *_: [Edge(library[0], library[5], 0.4, "nearest")])
    monkeypatch.setattr(
        graph_page, "read_nearest_among", lambda *given: [Edge(given[2][0], given[2][-1], 0.3, "nearest")]
    )
    return page_test("graph")


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
    chart.click_on(library[1])
    page.run()
    assert page.text[0].value == library[1]
    page.button(key="panel-expand").click().run()
    assert not page.exception
    assert library[2] in chart.paths
    assert page.button(key="panel-expand").disabled
    next(button for button in page.button if button.label.startswith("Fold")).click().run()
    assert library[2] not in chart.paths


def test_a_picture_can_be_chosen_without_a_mouse_though_another_was_clicked(
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


def test_the_panel_says_what_a_picture_is(page: AppTest, library: list[str]) -> None:
    page.query_params["image"] = library[1]
    page.run()
    said = " ".join(caption.value for caption in page.caption)
    assert "40 × 30 px" in said
    assert f"folder {library[1].split('/')[0]}" in said
    assert "2 relations" in said
    assert "in no group" in said


def test_what_was_expanded_stands_in_the_address_and_is_restored_from_it(
    page: AppTest, chart: FakeChart, library: list[str]
) -> None:
    page.query_params["image"] = library[0]
    page.query_params["expand"] = [library[1], "../../etc/passwd"]
    page.run()
    assert not page.exception
    assert chart.paths == {library[0], library[1], library[2], library[5]}
    assert page.query_params["expand"] in (library[1], [library[1]])


def test_further_hops_are_followed_and_what_is_not_followed_is_counted(
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
    assert "+1 relation hidden" in " ".join(caption.value for caption in page.caption)
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
        (0.9, "SIMILAR_TO", library[0], library[1]),
        (0.3, "nearest", library[0], library[7]),
    ]
    assert "in a group of 3" in " ".join(caption.value for caption in page.caption)
    page.query_params["group"] = library[9]
    page.run()
    assert "is in no group" in page.info[0].value


def test_a_click_on_a_picture_that_is_named_like_code_finds_it(
    page: AppTest, chart: FakeChart, listed: Callable[[list[str]], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, odd = "a.png", "--x_x--0_0--alert(1)--x_x--0_0--.png"
    listed([start, odd])
    monkeypatch.setattr(graph_page, "read_relations", lambda *_: ([Edge(start, odd, 0.9)], {start: 1, odd: 1}))
    page.query_params["image"] = start
    page.run()
    drawn = next(path for path in chart.paths if path != start)
    assert drawn != odd
    chart.click_on(drawn)
    page.run()
    assert page.text[0].value == odd


def test_what_is_clicked_must_be_in_the_chart(page: AppTest, chart: FakeChart, library: list[str]) -> None:
    page.query_params["image"] = library[0]
    chart.click_on("../../etc/passwd")
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
    colours = graph_page.frame_colours([GraphNode(path, HIT) for path in "abcde"], groups)
    assert colours["a"] == colours["b"]
    assert len({colours["a"], colours["c"], colours["e"], FRAMES[QUERY]}) == 4
    assert graph_page.frame_colours([GraphNode("a", QUERY), GraphNode("b", HIT)], groups) == {
        "a": FRAMES[QUERY],
        "b": colours["b"],
    }


def test_as_many_groups_as_there_are_colours_have_each_their_own() -> None:
    groups = list_groups([(f"{group}/{member}", f"{group}/0", 0.9) for group in range(8) for member in (0, 1)])
    nodes = [GraphNode(f"{group}/1", HIT) for group in range(8)]
    assert len(set(graph_page.frame_colours(nodes, groups).values())) == 8

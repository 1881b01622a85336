"""The chart component's options: lines, names, sizes, positions."""

import json
import re
from collections.abc import Mapping

import pytest

from imgret_assets.app.graph_chart.echarts_options import (
    CANVAS_PX,
    FRAMES,
    LINE_COLOURS,
    MAX_EDGE_LABELS,
    SHOWN_LINES,
    Position,
    Symbol,
    echarts_options,
    line_legend,
    line_widths,
    node_positions,
    symbol_px,
)
from imgret_assets.app.graph_chart.graph_view import HIT, QUERY, RELATED, GraphNode, GraphView
from imgret_assets.app.graph_chart.hit_graph import hit_graph
from imgret_assets.domain.graph.relationship_kinds import KINDS
from imgret_assets.domain.search.query import Hit
from imgret_assets.domain.search.relations import Edge
from imgret_tests.support.fake_search import hit

HITS = [
    hit("a/1.png", 0.95, ("a/2.png", 0.9, True), ("z/9.png", 0.85, True)),
    hit("a/2.png", 0.90, ("a/1.png", 0.9, False), ("q/0.png", 0.9, True)),
    hit("b/3.png", 0.50),
]


def symbols_of(view: GraphView) -> list[Symbol]:
    return [Symbol(f"data:image/jpeg;base64,{node.kind}", 60, 30) for node in view.nodes]


def options(view: GraphView, known: Mapping[str, Position] | None = None) -> dict:
    symbols = symbols_of(view)
    made = echarts_options(view, symbols, node_positions(view, symbols, known))
    assert json.loads(json.dumps(made)) == made
    return made


def series(view: GraphView) -> dict:
    return options(view)["series"][0]


def test_lines_distinguish_relationships_from_scores() -> None:
    links = series(hit_graph(HITS))["links"]
    by_style = {link["lineStyle"]["type"]: link for link in links}
    assert by_style["dotted"]["lineStyle"]["color"] == FRAMES[QUERY]
    assert by_style["dotted"]["lines"] == ["score to query 0.500"]
    assert by_style["solid"]["lines"] == ["SIMILAR_TO 0.850"]
    assert {link["label"]["formatter"] for link in links} == {"0.950", "0.900", "0.500", "0.850"}
    assert all(link["label"]["show"] for link in links)


def test_every_kind_that_the_page_shows_has_its_own_line_and_is_in_the_legend() -> None:
    shown = [kind for kind in KINDS if kind.line is not None]
    nodes = [GraphNode("a", QUERY), *(GraphNode(kind.name, RELATED) for kind in shown)]
    links = series(GraphView(nodes, [Edge("a", kind.name, 0.9, kind.name) for kind in shown]))["links"]
    drawn = [(link["lines"][0].split()[0], link["lineStyle"]["type"], link["lineStyle"]["color"]) for link in links]
    assert drawn == [(kind.name, kind.line.pattern, LINE_COLOURS[kind.line.colour]) for kind in shown if kind.line]
    assert len({(pattern, colour) for _, pattern, colour in drawn}) == len(shown)
    legend = line_legend("near")
    for kind in shown:
        assert re.search(rf"{SHOWN_LINES[kind.name].pattern}[^,]*: {kind.name}\b", legend)
    assert legend.endswith(":orange[dotted]: near")


def test_many_scores_are_shown_in_tooltips_only() -> None:
    hits = [Hit(f"{number:03}.png", 0.9, None, ()) for number in range(MAX_EDGE_LABELS + 1)]
    links = series(hit_graph(hits))["links"]
    assert not any(link["label"]["show"] for link in links)
    assert all(link["emphasis"]["label"]["show"] for link in links)


@pytest.mark.parametrize(
    ("scores", "widths"),
    [([], []), ([0.8], [2.5]), ([0.8, 0.8], [2.5, 2.5]), ([0.8, 0.9, 1.0], [1.0, 2.5, 4.0])],
)
def test_a_line_is_as_wide_as_its_score_is_high(scores: list[float], widths: list[float]) -> None:
    assert line_widths(scores) == widths


def test_node_and_tooltip_name_the_file() -> None:
    nodes = series(hit_graph(HITS, query_name="up load.jpg"))["data"]
    assert nodes[0]["name"] == "up load.jpg"
    assert nodes[1]["name"] == "1.png"
    assert nodes[1]["lines"] == ["a/1.png", "score to the query: 0.950"]
    assert nodes[1]["symbol"] == "image://data:image/jpeg;base64,hit"


def test_no_name_reaches_the_component_as_code() -> None:
    mark = "--x_x--0_0--"
    name = f"{mark}alert(1){mark}.png"
    made = options(hit_graph([hit(name, 0.9, (f"d/{name}", 0.9, True))], query_name=name))
    assert mark not in json.dumps(made, ensure_ascii=False)
    assert made["series"][0]["data"][1]["name"].replace("\u2060", "") == name


def test_images_become_smaller_if_there_are_many() -> None:
    assert symbol_px(QUERY, 13) > symbol_px(HIT, 13) > symbol_px(RELATED, 13)
    assert symbol_px(HIT, 150) < symbol_px(HIT, 60) < symbol_px(HIT, 13)


def test_all_positions_are_on_the_canvas_and_are_the_same_again() -> None:
    view = hit_graph(HITS)
    places = [(node["x"], node["y"]) for node in series(view)["data"] if "path" in node]
    assert all(0 <= x <= CANVAS_PX[0] and 0 <= y <= CANVAS_PX[1] for x, y in places)
    assert len(set(places)) == len(places)
    assert places == [(node["x"], node["y"]) for node in series(view)["data"] if "path" in node]


def test_a_view_of_some_of_the_images_leaves_them_where_they_are() -> None:
    view = hit_graph(HITS)
    positions = node_positions(view, symbols_of(view))
    fewer = GraphView(view.nodes[:4], [])
    unchanged = node_positions(fewer, symbols_of(fewer), positions)
    assert list(unchanged) == [node.path for node in fewer.nodes]
    for path, position in unchanged.items():
        assert position == pytest.approx(positions[path])
    # The chart stretches what it is given over the canvas: two corners hold it.
    for shown in (view, fewer):
        data = options(shown, positions)["series"][0]["data"]
        x, y = ([node[axis] for node in data] for axis in ("x", "y"))
        assert (min(x), max(x), min(y), max(y)) == (0, CANVAS_PX[0] - 160, 0, CANVAS_PX[1] - 135)

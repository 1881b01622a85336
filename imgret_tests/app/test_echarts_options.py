import json
import random

import numpy as np
import pytest

from imgret_assets.app.graph_chart.echarts_options import (
    CANVAS_PX,
    FRAMES,
    HIT,
    MAX_LINK_LABELS,
    QUERY,
    RELATED,
    GraphLink,
    GraphNode,
    GraphView,
    echarts_options,
    line_widths,
    relation_graph,
    relations_of,
    symbol_px,
)
from imgret_assets.app.graph_chart.layout import lay_out
from imgret_assets.domain.search.query import Hit
from imgret_tests.support.fake_search import hit

HITS = [
    hit("a/1.png", 0.95, ("a/2.png", 0.9, True), ("z/9.png", 0.85, True)),
    hit("a/2.png", 0.90, ("a/1.png", 0.9, False), ("q/0.png", 0.9, True)),
    hit("b/3.png", 0.50),
]


def symbol(node: GraphNode, size: int) -> tuple[str, int, int]:
    return f"data:image/jpeg;base64,{node.kind}", size, size // 2


def options(view: GraphView, query_name: str = "mine.jpg") -> dict:
    made = echarts_options(view, symbol, query_name=query_name)
    assert json.loads(json.dumps(made)) == made
    return made


def series(view: GraphView, query_name: str = "mine.jpg") -> dict:
    return options(view, query_name)["series"][0]


def test_a_relation_between_two_hits_is_there_once_in_its_own_direction() -> None:
    assert relations_of(HITS) == [
        GraphLink("a/1.png", "a/2.png", 0.9),
        GraphLink("a/2.png", "q/0.png", 0.9),
        GraphLink("a/1.png", "z/9.png", 0.85),
    ]


def test_an_incoming_relation_of_a_hit_keeps_its_direction() -> None:
    assert relations_of([hit("b.png", 0.9, ("a.png", 0.9, False))]) == [GraphLink("a.png", "b.png", 0.9)]


def test_an_uploaded_query_is_a_node_joined_by_its_scores() -> None:
    view = relation_graph(HITS)
    assert [(node.path, node.kind) for node in view.nodes] == [
        ("", QUERY),
        ("a/1.png", HIT),
        ("a/2.png", HIT),
        ("b/3.png", HIT),
        ("q/0.png", RELATED),
        ("z/9.png", RELATED),
    ]
    assert [(link.target, link.score) for link in view.links if link.asked] == [
        ("a/1.png", 0.95),
        ("a/2.png", 0.90),
        ("b/3.png", 0.50),
    ]
    assert view.hidden_text == ""


def test_a_query_of_the_library_is_one_node_with_its_own_relations() -> None:
    view = relation_graph(HITS, ["q/0.png"])
    assert [node.path for node in view.nodes if node.kind == QUERY] == ["q/0.png"]
    assert [node.path for node in view.nodes].count("q/0.png") == 1
    # a/2.png is joined to it by a relation, so no second line is drawn between them.
    assert [link.target for link in view.links if link.asked] == ["a/1.png", "b/3.png"]


def test_an_included_query_is_not_joined_to_itself() -> None:
    view = relation_graph([hit("q.png", 1.0), hit("r.png", 0.7)], ["q.png"])
    assert [(link.source, link.target) for link in view.links] == [("q.png", "r.png")]


def test_no_hit_leaves_the_query_alone() -> None:
    view = relation_graph([])
    assert [node.kind for node in view.nodes] == [QUERY]
    assert len(series(view)["data"]) == 1


def test_the_best_nodes_are_kept_and_the_rest_is_counted() -> None:
    crowd = [(f"r/{number:04}.png", 0.8 + number / 10_000, True) for number in range(400)]
    view = relation_graph([hit("a.png", 0.9, *crowd)], max_nodes=150)
    assert len(view.nodes) == 150
    assert view.nodes[2].path == "r/0399.png"
    assert view.hidden_nodes == 402 - 150
    assert view.hidden_text == "+252 pictures hidden"
    known = {node.path for node in view.nodes}
    assert all(link.source in known and link.target in known for link in view.links)


def test_the_highest_scores_are_kept_and_the_other_lines_are_counted() -> None:
    view = relation_graph(HITS, max_links=5)
    assert [link.score for link in view.links if not link.asked] == [0.9, 0.9]
    assert view.hidden_text == "+1 relation hidden"


def test_lines_tell_relations_from_scores() -> None:
    links = series(relation_graph(HITS))["links"]
    by_style = {link["lineStyle"]["type"]: link for link in links}
    assert by_style["dotted"]["lineStyle"]["color"] == FRAMES[QUERY]
    assert by_style["solid"]["lines"] == ["SIMILAR_TO 0.850"]
    assert {link["label"]["formatter"] for link in links} == {"0.950", "0.900", "0.500", "0.850"}
    assert all(link["label"]["show"] for link in links)


def test_many_scores_show_under_the_pointer_only() -> None:
    hits = [Hit(f"{number:03}.png", 0.9, None, ()) for number in range(MAX_LINK_LABELS + 1)]
    links = series(relation_graph(hits))["links"]
    assert not any(link["label"]["show"] for link in links)
    assert all(link["emphasis"]["label"]["show"] for link in links)


@pytest.mark.parametrize(
    ("scores", "widths"),
    [([], []), ([0.8], [2.5]), ([0.8, 0.8], [2.5, 2.5]), ([0.8, 0.9, 1.0], [1.0, 2.5, 4.0])],
)
def test_a_line_is_as_wide_as_its_score_is_high(scores: list[float], widths: list[float]) -> None:
    assert line_widths(scores) == widths


def test_node_and_tooltip_name_the_file() -> None:
    nodes = series(relation_graph(HITS), "up load.jpg")["data"]
    assert nodes[0]["name"] == "up load.jpg"
    assert nodes[1]["name"] == "1.png"
    assert nodes[1]["lines"] == ["a/1.png", "similar to the query: 0.950"]
    assert nodes[1]["symbol"] == "image://data:image/jpeg;base64,hit"


def test_no_name_reaches_the_component_as_code() -> None:
    mark = "--x_x--0_0--"
    name = f"{mark}alert(1){mark}.png"
    made = options(relation_graph([hit(name, 0.9, (f"d/{name}", 0.9, True))]), name)
    assert mark not in json.dumps(made, ensure_ascii=False)
    assert made["series"][0]["data"][1]["name"].replace("\u2060", "") == name


def test_pictures_become_smaller_when_there_are_many() -> None:
    assert symbol_px(QUERY, 13) > symbol_px(HIT, 13) > symbol_px(RELATED, 13)
    assert symbol_px(HIT, 150) < symbol_px(HIT, 60) < symbol_px(HIT, 13)


def test_all_positions_lie_on_the_canvas_and_are_the_same_again() -> None:
    view = relation_graph(HITS)
    places = [(node["x"], node["y"]) for node in series(view)["data"]]
    assert all(0 <= x <= CANVAS_PX[0] and 0 <= y <= CANVAS_PX[1] for x, y in places)
    assert len(set(places)) == len(places)
    assert places == [(node["x"], node["y"]) for node in series(view)["data"]]


@pytest.mark.parametrize("count", [2, 3, 13, 60, 150])
@pytest.mark.parametrize("kind", ["star", "clique", "random", "apart"])
def test_no_two_boxes_overlap(count: int, kind: str) -> None:
    chance = random.Random(7)  # noqa: S311 - the same links every time
    sizes = np.full((count, 2), (70.0, 60.0)) * min(1.0, (20 / count) ** 0.5)
    links = {
        "star": [(0, other, 0.9) for other in range(1, count)],
        "clique": [(one, other, 0.9) for one in range(count) for other in range(one)],
        "random": [(chance.randrange(count), chance.randrange(count), chance.random()) for _ in range(3 * count)],
        "apart": [],
    }[kind]
    links = [(one, other, weight) for one, other, weight in links if one != other]
    places = lay_out(sizes, links, box=(880, 485 if count < 60 else 800))
    assert np.isfinite(places).all()
    assert (places >= 0).all()
    assert (places <= (880, 800)).all()
    overlap = (sizes[:, None] + sizes[None, :]) / 2 - np.abs(places[:, None] - places[None, :])
    np.fill_diagonal(overlap[..., 0], -1)
    covered = np.clip(overlap, 0, None).prod(axis=2).max()
    assert covered <= 0.05 * sizes[0].prod()


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one_are_laid_out_too(count: int) -> None:
    assert lay_out(np.full((count, 2), 50.0), [], box=(100, 60)).tolist() == [[50.0, 30.0]] * count


def test_what_is_joined_lies_closer() -> None:
    sizes = np.full((12, 2), 10.0)
    links = [(0, 1, 1.0), *((0, other, 0.05) for other in range(2, 12))]
    places = lay_out(sizes, links, box=(800, 600))
    distances = np.linalg.norm(places - places[0], axis=1)
    assert distances[1] == distances[1:].min()

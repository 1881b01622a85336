"""Which pictures and lines the graph page shows."""

from imgret_assets.app.graph_chart.echarts_options import HIT, QUERY, RELATED
from imgret_assets.app.graph_chart.neighbourhood import neighbourhood, unique_edges
from imgret_assets.domain.graph.relationship_kinds import DUPLICATE_OF, SIMILAR_TO
from imgret_assets.domain.search.relations import NEAREST, Edge


def test_the_start_what_it_is_joined_to_and_the_lines_among_them() -> None:
    edges = [Edge("a", "b", 0.9), Edge("a", "c", 0.8), Edge("b", "c", 0.7), Edge("c", "d", 0.95)]
    view = neighbourhood(["a"], [], edges, least=0.0)
    assert [(node.path, node.kind) for node in view.nodes] == [("a", QUERY), ("b", RELATED), ("c", RELATED)]
    assert {(link.source, link.target) for link in view.links} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert (view.hidden_nodes, view.hidden_links) == (0, 0)


def test_expanding_shows_what_a_picture_is_joined_to() -> None:
    edges = [Edge("a", "b", 0.9), Edge("b", "c", 0.8), Edge("c", "d", 0.7)]
    assert len(neighbourhood(["a"], [], edges, least=0.0).nodes) == 2
    view = neighbourhood(["a"], ["b"], edges, least=0.0)
    assert {node.path: node.kind for node in view.nodes} == {"a": QUERY, "b": HIT, "c": RELATED}


def test_lower_lines_are_left_out_but_copies_stay() -> None:
    edges = [Edge("a", "b", 0.9), Edge("a", "c", 0.3), Edge("d", "a", 0.2, DUPLICATE_OF.name)]
    view = neighbourhood(["a"], [], edges, least=0.5)
    assert {node.path for node in view.nodes} == {"a", "b", "d"}


def test_a_near_picture_is_dotted_only_where_nothing_joins_it() -> None:
    edges = [Edge("a", "b", 0.9), Edge("a", "b", 0.9, NEAREST), Edge("b", "a", 0.9), Edge("a", "c", 0.5, NEAREST)]
    assert unique_edges(edges) == [Edge("a", "b", 0.9), Edge("a", "c", 0.5, NEAREST)]
    view = neighbourhood(["a"], [], edges, least=0.0)
    assert [(link.target, link.asked, link.what) for link in view.links] == [
        ("b", False, SIMILAR_TO.name),
        ("c", True, NEAREST),
    ]


def test_a_group_is_shown_whole_though_nothing_joins_it() -> None:
    view = neighbourhood(["a", "b", "c"], [], [Edge("a", "b", 0.9)], least=0.0)
    assert [node.path for node in view.nodes] == ["a", "b", "c"]
    assert len(view.links) == 1


def test_what_is_too_much_is_counted() -> None:
    edges = [Edge("a", f"n{number:03d}", 0.9 - number / 1000) for number in range(50)]
    view = neighbourhood(["a"], [], edges, least=0.0, max_nodes=11, max_links=5)
    assert [node.path for node in view.nodes] == ["a", *(f"n{number:03d}" for number in range(10))]
    assert len(view.links) == 5
    assert (view.hidden_nodes, view.hidden_links) == (40, 5)
    assert "+40 pictures hidden" in view.hidden_text


def test_a_picture_is_not_joined_to_itself() -> None:
    assert unique_edges([Edge("a", "a", 1.0)]) == []


def test_a_crowd_of_lines_leaves_every_picture_its_best() -> None:
    family = [Edge(f"f{one}", f"f{other}", 0.99) for one in range(8) for other in range(one)]
    edges = [*family, *(Edge("a", f"f{number}", 0.95) for number in range(8)), Edge("a", "w", 0.5), Edge("w", "v", 0.4)]
    view = neighbourhood(["a"], ["w"], edges, least=0.0, max_links=14)
    joined = {frozenset((link.source, link.target)) for link in view.links}
    assert {frozenset(("a", f"f{number}")) for number in range(8)} <= joined
    assert {frozenset(("a", "w")), frozenset(("w", "v"))} <= joined
    assert len(view.links) == 14
    assert view.hidden_links == len(edges) - 14
    assert [link.score for link in view.links] == sorted((link.score for link in view.links), reverse=True)


def test_relations_that_were_not_followed_are_counted() -> None:
    edges = [Edge("a", "b", 0.9), Edge("c", "a", 0.95, DUPLICATE_OF.name), Edge("a", "d", 0.5, NEAREST)]
    view = neighbourhood(["a"], [], edges, least=0.0, totals={"a": 7})
    assert view.hidden_text == "+5 relations hidden"

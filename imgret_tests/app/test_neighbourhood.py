"""Which images and edges the page Graph shows."""

from imgret_assets.app.graph_chart.graph_view import HIT, QUERY, RELATED
from imgret_assets.app.graph_chart.neighbourhood import neighbourhood, unique_edges
from imgret_assets.domain.graph.relationship_kinds import DUPLICATE_OF, SIMILAR_TO
from imgret_assets.domain.search.relations import NEAREST, Edge


def test_the_start_its_related_images_and_the_edges_among_them_are_shown() -> None:
    edges = [Edge("a", "b", 0.9), Edge("a", "c", 0.8), Edge("b", "c", 0.7), Edge("c", "d", 0.95)]
    view = neighbourhood(["a"], [], edges, min_score=0.0)
    assert [(node.path, node.kind) for node in view.nodes] == [("a", QUERY), ("b", RELATED), ("c", RELATED)]
    assert {(edge.source, edge.target) for edge in view.edges} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert (view.hidden_nodes, view.hidden_edges) == (0, 0)


def test_expanding_shows_what_an_image_is_related_to() -> None:
    edges = [Edge("a", "b", 0.9), Edge("b", "c", 0.8), Edge("c", "d", 0.7)]
    assert len(neighbourhood(["a"], [], edges, min_score=0.0).nodes) == 2
    view = neighbourhood(["a"], ["b"], edges, min_score=0.0)
    assert {node.path: node.kind for node in view.nodes} == {"a": QUERY, "b": HIT, "c": RELATED}


def test_edges_with_lower_scores_are_left_out_but_duplicates_stay() -> None:
    edges = [Edge("a", "b", 0.9), Edge("a", "c", 0.3), Edge("d", "a", 0.2, DUPLICATE_OF.name)]
    view = neighbourhood(["a"], [], edges, min_score=0.5)
    assert {node.path for node in view.nodes} == {"a", "b", "d"}


def test_a_near_image_has_an_edge_only_without_a_relationship() -> None:
    edges = [Edge("a", "b", 0.9), Edge("a", "b", 0.9, NEAREST), Edge("b", "a", 0.9), Edge("a", "c", 0.5, NEAREST)]
    assert unique_edges(edges) == [Edge("a", "b", 0.9), Edge("a", "c", 0.5, NEAREST)]
    view = neighbourhood(["a"], [], edges, min_score=0.0)
    assert [(edge.target, edge.kind) for edge in view.edges] == [
        ("b", SIMILAR_TO.name),
        ("c", NEAREST),
    ]


def test_a_group_is_shown_whole_even_without_relationships() -> None:
    view = neighbourhood(["a", "b", "c"], [], [Edge("a", "b", 0.9)], min_score=0.0)
    assert [node.path for node in view.nodes] == ["a", "b", "c"]
    assert len(view.edges) == 1


def test_what_does_not_fit_is_counted() -> None:
    edges = [Edge("a", f"n{number:03d}", 0.9 - number / 1000) for number in range(50)]
    view = neighbourhood(["a"], [], edges, min_score=0.0, max_nodes=11, max_edges=5)
    assert [node.path for node in view.nodes] == ["a", *(f"n{number:03d}" for number in range(10))]
    assert len(view.edges) == 5
    assert (view.hidden_nodes, view.hidden_edges) == (40, 5)
    assert "40 more images hidden" in view.hidden_text


def test_an_image_has_no_edge_to_itself() -> None:
    assert unique_edges([Edge("a", "a", 1.0)]) == []


def test_of_many_edges_every_image_keeps_its_best() -> None:
    dense = [Edge(f"f{one}", f"f{other}", 0.99) for one in range(8) for other in range(one)]
    edges = [*dense, *(Edge("a", f"f{number}", 0.95) for number in range(8)), Edge("a", "w", 0.5), Edge("w", "v", 0.4)]
    view = neighbourhood(["a"], ["w"], edges, min_score=0.0, max_edges=14)
    related = {frozenset((edge.source, edge.target)) for edge in view.edges}
    assert {frozenset(("a", f"f{number}")) for number in range(8)} <= related
    assert {frozenset(("a", "w")), frozenset(("w", "v"))} <= related
    assert len(view.edges) == 14
    assert view.hidden_edges == len(edges) - 14
    assert [edge.score for edge in view.edges] == sorted((edge.score for edge in view.edges), reverse=True)


def test_relationships_that_were_not_followed_are_counted() -> None:
    edges = [Edge("a", "b", 0.9), Edge("c", "a", 0.95, DUPLICATE_OF.name), Edge("a", "d", 0.5, NEAREST)]
    view = neighbourhood(["a"], [], edges, min_score=0.0, totals={"a": 7})
    assert view.hidden_text == "5 more relationships hidden"

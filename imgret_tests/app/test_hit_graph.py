"""The hits of a query as nodes and edges."""

from imgret_assets.app.graph_chart.graph_view import HIT, QUERY, QUERY_SCORE, RELATED
from imgret_assets.app.graph_chart.hit_graph import hit_graph, hit_relationships
from imgret_assets.domain.graph.relationship_kinds import SIMILAR_TO
from imgret_assets.domain.search.relations import Edge
from imgret_tests.support.fake_search import hit

HITS = [
    hit("a/1.png", 0.95, ("a/2.png", 0.9, True), ("z/9.png", 0.85, True)),
    hit("a/2.png", 0.90, ("a/1.png", 0.9, False), ("q/0.png", 0.9, True)),
    hit("b/3.png", 0.50),
]


def test_a_relationship_between_two_hits_is_listed_once_in_its_own_direction() -> None:
    assert hit_relationships(HITS) == [
        Edge("a/1.png", "a/2.png", 0.9),
        Edge("a/2.png", "q/0.png", 0.9),
        Edge("a/1.png", "z/9.png", 0.85),
    ]


def test_an_incoming_relationship_of_a_hit_keeps_its_direction() -> None:
    assert hit_relationships([hit("b.png", 0.9, ("a.png", 0.9, False))]) == [Edge("a.png", "b.png", 0.9)]


def test_an_uploaded_query_image_is_a_node_with_an_edge_to_every_hit() -> None:
    view = hit_graph(HITS, query_name="mine.jpg")
    assert [(node.path, node.name, node.kind) for node in view.nodes] == [
        ("", "mine.jpg", QUERY),
        ("a/1.png", "a/1.png", HIT),
        ("a/2.png", "a/2.png", HIT),
        ("b/3.png", "b/3.png", HIT),
        ("q/0.png", "q/0.png", RELATED),
        ("z/9.png", "z/9.png", RELATED),
    ]
    assert [(edge.target, edge.score) for edge in view.edges if edge.kind == QUERY_SCORE] == [
        ("a/1.png", 0.95),
        ("a/2.png", 0.90),
        ("b/3.png", 0.50),
    ]
    assert view.hidden_text == ""


def test_a_query_image_of_the_library_is_one_node_with_its_own_relationships() -> None:
    view = hit_graph(HITS, ["q/0.png"], query_name="copy of it.png")
    assert [node.name for node in view.nodes if node.kind == QUERY] == ["q/0.png"]
    assert [node.path for node in view.nodes].count("q/0.png") == 1
    # a/2.png has a relationship to it, so there is no second edge between them.
    assert [edge.target for edge in view.edges if edge.kind == QUERY_SCORE] == ["a/1.png", "b/3.png"]


def test_an_included_query_image_has_no_edge_to_itself() -> None:
    view = hit_graph([hit("q.png", 1.0), hit("r.png", 0.7)], ["q.png"])
    assert [(edge.source, edge.target) for edge in view.edges] == [("q.png", "r.png")]


def test_without_hits_only_the_query_image_is_shown() -> None:
    view = hit_graph([])
    assert [node.kind for node in view.nodes] == [QUERY]
    assert view.edges == []


def test_the_best_nodes_are_kept_and_the_others_are_counted() -> None:
    many = [(f"r/{number:04}.png", 0.8 + number / 10_000, True) for number in range(400)]
    view = hit_graph([hit("a.png", 0.9, *many)], max_nodes=150)
    assert len(view.nodes) == 150
    assert view.nodes[2].path == "r/0399.png"
    assert view.hidden_nodes == 402 - 150
    assert view.hidden_text == "252 more images hidden"
    paths = {node.path for node in view.nodes}
    assert all(edge.source in paths and edge.target in paths for edge in view.edges)


def test_the_highest_scores_are_kept_and_the_other_edges_are_counted() -> None:
    view = hit_graph(HITS, max_edges=5)
    assert [edge.score for edge in view.edges if edge.kind == SIMILAR_TO.name] == [0.9, 0.9]
    assert view.hidden_text == "1 more relationship hidden"

"""Statements, commands and values of `imgret db shell`."""

import pytest
from neo4j.graph import Graph, Node
from neo4j.vector import Vector

from imgret_assets.cli.support import cypher_text
from imgret_assets.cli.support.cypher_text import Command, show, split


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("RETURN 1; RETURN 2;", ["RETURN 1", "RETURN 2"], ""),
        ("RETURN 1", [], "RETURN 1"),
        ("RETURN ';' ; RETURN 2", ["RETURN ';'"], "RETURN 2"),
        (r"RETURN 'it\'s; so';", [r"RETURN 'it\'s; so'"], ""),
        ('RETURN "a\\";b";', ['RETURN "a\\";b"'], ""),
        ("MATCH (`a;``b`) RETURN 1;", ["MATCH (`a;``b`) RETURN 1"], ""),
        ("RETURN 1 // one; two\n;RETURN 2;", ["RETURN 1 // one; two", "RETURN 2"], ""),
        ("/* a; b */ RETURN 4/2;", ["/* a; b */ RETURN 4/2"], ""),
        ("// only; a comment", [], ""),
        (";;  ;\n", [], ""),
        ("", [], ""),
        ("RETURN 'open; ", [], "RETURN 'open;"),
        ("RETURN 1 /* open; ", [], "RETURN 1 /* open;"),
        ("RETURN `open; ", [], "RETURN `open;"),
        ("RETURN 'https://x';", ["RETURN 'https://x'"], ""),
        ("RETURN 'a\\", [], "RETURN 'a\\"),
    ],
)
def test_a_script_is_split_at_the_ends_of_statements(text: str, statements: list[str], rest: str) -> None:
    assert split(text) == (statements, rest)


def test_a_command_is_a_line_where_a_statement_could_begin() -> None:
    parts, rest = split("// first\n:param k 3\nRETURN\n:not;\n:HELP;\n:exit")
    assert parts == [Command("param", "k 3"), "RETURN\n:not", Command("help", ""), Command("exit", "")]
    assert rest == ""


@pytest.mark.parametrize(
    ("rest", "name_and_value"),
    [
        ("k 3", ("k", "3")),
        ("k => {a: 1}", ("k", "{a: 1}")),
        ("image my images/a b.jpg", ("image", "my images/a b.jpg")),
        ("k", None),
        ("", None),
    ],
)
def test_a_name_and_its_value(rest: str, name_and_value: tuple[str, str] | None) -> None:
    assert Command("param", rest).name_and_value() == name_and_value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        ("plain", "plain"),
        (["a", None], '["a", null]'),
        ([0.125, 0.25] * 1024, "[0.125, 0.25, … 2048 numbers]"),
        (["a"] * 9, '["a", "a", … 9 items]'),
        ({"b": [1.0] * 2048, "a": {}}, "{a: {}, b: [1, 1, … 2048 numbers]}"),
        (Vector([1.0, 2.0], "f32"), "[1, 2]"),
        (b"abc", "3 bytes"),
        (0.8123456789, "0.8123456789"),
    ],
)
def test_values_are_shown_in_cypher_notation_with_long_lists_cut(value: object, shown: str) -> None:
    assert show(value) == shown


def test_a_node_is_shown_with_its_vector_cut() -> None:
    node = Node(Graph(), "4:0", 0, ["Image"], {"path": "a.jpg", "embeddings": [0.5] * 2048})
    assert show(node) == '(:Image {embeddings: [0.5, 0.5, … 2048 numbers], path: "a.jpg"})'


def test_a_table_is_aligned() -> None:
    assert cypher_text.table(["path", "score"], [["a.jpg", 0.5], ["long.jpg", None]]).splitlines() == [
        "path     | score",
        "---------+------",
        "a.jpg    |   0.5",
        "long.jpg |  null",
    ]
    assert cypher_text.table(["x"], []) == "x\n-"


def test_values_have_no_control_characters_and_one_line_each() -> None:
    odd = "a\x1b[2J\r\n\x9bb"
    assert cypher_text.show(odd) == r"a\x1b[2J\r\n\x9bb"
    shown = cypher_text.table(["x"], [[odd], [[odd]], [{"key": odd}]])
    assert len(shown.splitlines()) == 5
    assert all(line.isprintable() for line in shown.split("\n"))

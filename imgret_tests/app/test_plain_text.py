"""File names and messages are shown as they are."""

import pytest

from imgret_assets.app.plain_text import chart_text, markdown_text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name 1", "plain name 1"),
        ("ünïcödé 日本", "ünïcödé 日本"),
        ("a/b.png", r"a\/b\.png"),
        ("**bold** _x_", r"\*\*bold\*\* \_x\_"),
        ("<b>", r"\<b\>"),
        ("[a](b)", r"\[a\]\(b\)"),
        ("$x$ `y`", r"\$x\$ \`y\`"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_shows_the_text_itself(name: str, shown: str) -> None:
    assert markdown_text(name) == shown


@pytest.mark.parametrize("name", [":smile:.png", ":material/home:", ":red[x]", "a:+1:"])
def test_no_shortcode_is_left(name: str) -> None:
    # Streamlit looks for them in the text after escapes were taken away.
    assert ":\u2060" in markdown_text(name)
    assert markdown_text(name).replace("\\", "").replace("\u2060", "") == name


def test_an_address_keeps_its_colons() -> None:
    assert markdown_text("bolt://127.0.0.1:7687").replace("\\", "") == "bolt://127.0.0.1:7687"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_components_mark_is_broken(count: int) -> None:
    mark = "--x_x--0_0--"
    name = "name".join([mark] * count)
    assert mark not in chart_text(name)
    assert chart_text(name).replace("\u2060", "") == name


def test_overlapping_marks_are_broken_too() -> None:
    assert "--x_x--0_0--" not in chart_text("--x_x--0_0--x_x--0_0--")

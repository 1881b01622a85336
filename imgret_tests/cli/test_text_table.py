"""Columns of text: every row of a table takes the same columns of a terminal, whatever its characters are."""

import subprocess
import sys

import pytest

from imgret_assets.cli.support import cypher_text, output
from imgret_assets.cli.support.text_table import align, display_width
from imgret_assets.locations import PROJECT

# Names and the columns that they take in a terminal: two for each wide character, none for combining ones.
NAMES = {
    "plain.jpg": 9,
    "猫.jpg": 6,
    "한글.jpg": 8,
    "\u1112\u1161\u11ab.jpg": 6,  # one syllable of three letters
    "Ka\u0308se.jpg": 8,  # a, then the two dots above it
    "ก็.jpg": 5,
    "☕.jpg": 6,
    "❤️.jpg": 6,  # a heart, then the sign that asks for its emoji
    "👍🏽.jpg": 6,  # a thumb, then its colour
    "🇯🇵.jpg": 6,  # two letters that make one flag
    "ﾊﾝｶｸ.jpg": 8,  # half-width
}
FAMILY = "👨\u200d👩\u200d👧"


@pytest.mark.parametrize(("name", "columns"), [*NAMES.items(), ("", 0), (FAMILY, 2)])
def test_the_width_of_a_text_is_its_columns_on_a_terminal(name: str, columns: int) -> None:
    assert display_width(name) == columns


def test_every_line_is_as_wide_as_the_first() -> None:
    lines = align([[name, "|"] for name in NAMES], right=[False, False], gap=" ")
    widest = max(NAMES.values())
    assert lines == [name + " " * (widest - columns) + " |" for name, columns in NAMES.items()]


def test_numbers_go_to_the_right_and_lines_have_no_blanks_at_their_end() -> None:
    rows = [["path", "score"], ["猫", "0.5"], ["long name", ""]]
    assert align(rows, right=[False, True]) == ["path       score", "猫           0.5", "long name"]


def test_results_as_a_table() -> None:
    rows = [{"path": name, "label": "|"} for name in NAMES]
    _, *lines = output.table(("path", "label"), rows).splitlines()
    assert lines == [name + " " * (max(NAMES.values()) - columns) + "  |" for name, columns in NAMES.items()]


def test_rows_of_the_database_shell() -> None:
    head, rule, *lines = cypher_text.table(["path", "n"], [[name, 1] for name in NAMES]).splitlines()
    widest = max(NAMES.values())
    assert (head, rule) == ("path" + " " * (widest - 4) + " | n", "-" * widest + "-+--")
    assert lines == [name + " " * (widest - columns) + " | 1" for name, columns in NAMES.items()]


def test_a_table_of_ascii_text_imports_nothing_more() -> None:
    program = (
        "import sys; from imgret_assets.cli.support.output import table; before = set(sys.modules); "
        "print(table(['path'], [{'path': 'a.jpg'}])); assert set(sys.modules) == before"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("path\na.jpg\n", "")

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from imgret_assets.cli.support import output as module
from imgret_assets.cli.support.output import (
    EXIT_FOUND,
    FORMATS,
    Output,
    exit_code,
    fail_on_found,
    output_options,
    printable,
    table,
)
from imgret_assets.errors import ImgretError

# Names that a file may have on Linux: what separates cells or lines, what moves the cursor, what is no UTF-8.
ODD = [
    "plain.jpg",
    "a tab\there.jpg",
    "a line\nbreak.jpg",
    "a return\r.jpg",
    'a "quote", a comma.jpg',
    "back\\slash.jpg",
    "\x1b[2Jclears the screen.jpg",
    "turns round \u202egpj.exe",
    "invalid \udcff\udc80 bytes.jpg",
    "=HYPERLINK(1)",
    "-rf",
    "猫 und Käse.jpg",
]
COLUMNS = ("score", "path", "label")


def rows_of(names: list[str]) -> list[dict[str, Any]]:
    return [{"score": 0.1 + 0.2 * number, "path": name, "label": None} for number, name in enumerate(names)]


@click.command()
@output_options
@fail_on_found
def listing(output: Output, fail_on_found: bool) -> int:
    rows = rows_of(ODD)
    output.emit(COLUMNS, rows, document={"rows": rows})
    return exit_code(found=bool(rows), asked=fail_on_found)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(listing, list(arguments), standalone_mode=False, catch_exceptions=False)


def test_every_format_is_utf_8_and_nothing_else_is_said() -> None:
    for form in FORMATS:
        done = run("--format", form, *(["-0"] if form == "paths" else []))
        assert done.stderr == ""
        if form != "paths":
            assert done.stdout_bytes.decode("utf-8")


def test_tsv_is_what_a_pipe_gets_and_every_line_is_a_row() -> None:
    done = run()
    assert done.stdout == run("--format", "tsv").stdout
    lines = done.stdout_bytes.decode().split("\n")
    assert lines[0] == "score\tpath\tlabel"
    assert lines[-1] == ""
    cells = [line.split("\t") for line in lines[1:-1]]
    assert [len(line) for line in cells] == [3] * len(ODD)
    back = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
    assert cells[1][1] == "a tab\\there.jpg"
    assert cells[2][1] == "a line\\nbreak.jpg"
    assert cells[5][1] == "back\\\\slash.jpg"
    assert cells[8][1] == "invalid \\xff\\x80 bytes.jpg"
    assert back[cells[3][1][8:10]] == "\r"
    assert float(cells[1][0]) == 0.1 + 0.2, "all digits"


def test_csv_reads_back() -> None:
    text = run("--format", "csv").stdout_bytes.decode()
    head, *found = csv.reader(io.StringIO(text, newline=""))
    assert tuple(head) == COLUMNS
    readable = [name for name in ODD if name.isprintable() or "\udcff" not in name]
    assert [line[1] for line in found if "invalid" not in line[1]] == readable
    assert "invalid \\xff\\x80 bytes.jpg" in [line[1] for line in found]
    assert [float(line[0]) for line in found] == [row["score"] for row in rows_of(ODD)]


def test_json_and_its_lines_read_back_with_every_name() -> None:
    assert [row["path"] for row in json.loads(run("--json").stdout_bytes)["rows"]] == ODD
    assert run("--json").stdout == run("--format", "json").stdout
    lines = run("--format", "jsonl").stdout_bytes.decode().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ODD
    assert "猫" in lines[-1]


def test_paths_end_with_nul_and_are_the_file_system_s_bytes() -> None:
    done = run("-0")
    assert done.stdout_bytes == run("--format", "paths", "-0").stdout_bytes
    names = done.stdout_bytes.split(b"\0")
    assert names.pop() == b""
    assert [name.decode("utf-8", "surrogateescape") for name in names] == ODD


def test_paths_by_lines_refuse_a_line_break() -> None:
    with pytest.raises(ImgretError, match=r"1 paths hold a line break, such as a line\\nbreak.jpg.*ask with -0"):
        run("--format", "paths")


def test_a_table_is_aligned_and_moves_no_cursor() -> None:
    shown = table(COLUMNS, rows_of(ODD)).splitlines()
    assert len(shown) == len(ODD) + 1
    assert all(line.isprintable() for line in shown)
    assert shown[0] == " score  path" + " " * (shown[0].index("label") - 12) + "label"
    assert shown[1].startswith("0.1000  plain.jpg ")
    assert shown[3].startswith("0.5000  a line\\nbreak.jpg")
    assert {line[6:8] for line in shown} == {"  "}
    # A wide character takes two columns of the terminal.
    assert shown[-1].index(" -") == shown[1].index(" -") - 1


def test_a_table_shows_none_and_what_is_not_there() -> None:
    shown = table(("a", "b", "n"), [{"a": None, "n": 1234567}, {"a": True, "b": "x", "n": None}])
    assert shown.splitlines() == ["a    b          n", "-       1,234,567", "yes  x          -"]


def test_nothing_found_is_no_table_but_a_head_for_programs(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for form, expected in {"table": b"", "tsv": b"score\tpath\tlabel\n", "paths": b"", "jsonl": b""}.items():
        Output(form).emit(COLUMNS, [], document=[])
        assert capfdbinary.readouterr().out == expected
    Output("json").emit(COLUMNS, [], document=[])
    assert capfdbinary.readouterr().out == b"[]\n"


@pytest.mark.parametrize(
    "arguments", [("--json", "--format", "csv"), ("-0", "--json"), ("-0", "--format", "tsv"), ("--format", "xml")]
)
def test_two_forms_or_an_unknown_one_are_wrong_use(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(listing, arguments).exit_code == 2


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "stdout", type("Terminal", (), {"isatty": lambda _: True})())
    choose: Callable[..., Output] = module._chosen
    assert choose(None, False, False) == Output("table")
    assert choose(None, False, True) == Output("json")
    assert choose(None, True, False) == Output("paths", null=True)


def test_found_is_a_code_only_if_asked_for() -> None:
    assert run("--json").return_value == 0
    assert run("--json", "--fail-on-found").return_value == EXIT_FOUND == 11
    assert exit_code(found=False, asked=True) == 0


def test_what_is_shown_on_a_terminal_has_no_controls() -> None:
    assert printable("fine") == "fine"
    assert printable("\x1b[2J\n\u202e\udcfe") == "\\x1b[2J\\n\\u202e\\xfe"

"""Results on stdout in each format, with file names that could break it."""

import csv
import io
import json
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from imgret_assets.cli.support import output as module
from imgret_assets.cli.support.output import (
    EXIT_FOUND,
    FORMATS,
    Output,
    choose_output,
    exit_code,
    fail_on_found,
    output_options,
    table,
)
from imgret_assets.errors import ImgretError

# Names that a file can have on Linux: with separators of cells and lines, with characters that move the cursor, or not
# in UTF-8.
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
    return exit_code(any_result=bool(rows), fail_on_found=fail_on_found)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(listing, list(arguments), standalone_mode=False, catch_exceptions=False)


def test_every_format_is_utf_8_and_stderr_is_empty() -> None:
    for form in FORMATS:
        done = run("--format", form, *(["-0"] if form == "paths" else []))
        assert done.stderr == ""
        if form != "paths":
            assert done.stdout_bytes.decode("utf-8")


def test_a_pipe_gets_tsv_with_one_row_per_line() -> None:
    done = run()
    assert done.stdout == run("--format", "tsv").stdout
    lines = done.stdout_bytes.decode().split("\n")
    assert lines[0] == "score\tpath\tlabel"
    assert lines[-1] == ""
    cells = [line.split("\t") for line in lines[1:-1]]
    assert [len(line) for line in cells] == [3] * len(ODD)
    unescaped = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
    assert cells[1][1] == "a tab\\there.jpg"
    assert cells[2][1] == "a line\\nbreak.jpg"
    assert cells[5][1] == "back\\\\slash.jpg"
    assert cells[8][1] == "invalid \\xff\\x80 bytes.jpg"
    assert unescaped[cells[3][1][8:10]] == "\r"
    assert float(cells[1][0]) == 0.1 + 0.2, "all digits"


def test_csv_reads_back() -> None:
    text = run("--format", "csv").stdout_bytes.decode()
    header, *csv_rows = csv.reader(io.StringIO(text, newline=""))
    assert tuple(header) == COLUMNS
    readable = [name for name in ODD if name.isprintable() or "\udcff" not in name]
    assert [line[1] for line in csv_rows if "invalid" not in line[1]] == readable
    assert "invalid \\xff\\x80 bytes.jpg" in [line[1] for line in csv_rows]
    assert [float(line[0]) for line in csv_rows] == [row["score"] for row in rows_of(ODD)]


def test_json_and_jsonl_read_back_with_every_name() -> None:
    assert [row["path"] for row in json.loads(run("--json").stdout_bytes)["rows"]] == ODD
    assert run("--json").stdout == run("--format", "json").stdout
    lines = run("--format", "jsonl").stdout_bytes.decode().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ODD
    assert "猫" in lines[-1]


def test_paths_end_with_nul_and_have_the_bytes_of_the_file_system() -> None:
    done = run("-0")
    assert done.stdout_bytes == run("--format", "paths", "-0").stdout_bytes
    names = done.stdout_bytes.split(b"\0")
    assert names.pop() == b""
    assert [name.decode("utf-8", "surrogateescape") for name in names] == ODD


def test_paths_by_lines_refuse_a_line_break() -> None:
    with pytest.raises(ImgretError, match=r"1 paths contain a line break, such as a line\\nbreak.jpg.*use -0"):
        run("--format", "paths")


def test_a_table_is_aligned_and_has_no_control_characters() -> None:
    lines = table(COLUMNS, rows_of(ODD)).splitlines()
    assert len(lines) == len(ODD) + 1
    assert all(line.isprintable() for line in lines)
    assert lines[0] == " score  path" + " " * (lines[0].index("label") - 12) + "label"
    assert lines[1].startswith("0.1000  plain.jpg ")
    assert lines[3].startswith("0.5000  a line\\nbreak.jpg")
    assert {line[6:8] for line in lines} == {"  "}
    # A wide character takes two columns of the terminal.
    assert lines[-1].index(" -") == lines[1].index(" -") - 1


def test_a_table_shows_none_and_missing_keys() -> None:
    shown = table(("a", "b", "n"), [{"a": None, "n": 1234567}, {"a": True, "b": "x", "n": None}])
    assert shown.splitlines() == ["a    b          n", "-       1,234,567", "yes  x          -"]


def test_without_results_there_is_no_table_but_a_header_for_programs(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for form, expected in {"table": b"", "tsv": b"score\tpath\tlabel\n", "paths": b"", "jsonl": b""}.items():
        Output(form).emit(COLUMNS, [], document=[])
        assert capfdbinary.readouterr().out == expected
    Output("json").emit(COLUMNS, [], document=[])
    assert capfdbinary.readouterr().out == b"[]\n"


@pytest.mark.parametrize(
    "arguments", [("--json", "--format", "csv"), ("-0", "--json"), ("-0", "--format", "tsv"), ("--format", "xml")]
)
def test_two_formats_or_an_unknown_one_are_wrong_use(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(listing, arguments).exit_code == 2


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "stdout", type("Terminal", (), {"isatty": lambda _: True})())
    assert choose_output(None, False, False) == Output("table")
    assert choose_output(None, False, True) == Output("json")
    assert choose_output(None, True, False) == Output("paths", null=True)


def test_a_result_has_an_exit_code_only_with_fail_on_found() -> None:
    assert run("--json").return_value == 0
    assert run("--json", "--fail-on-found").return_value == EXIT_FOUND == 11
    assert exit_code(any_result=False, fail_on_found=True) == 0
